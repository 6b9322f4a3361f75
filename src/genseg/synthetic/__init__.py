"""Data sets that nobody has scanned: phantoms, and pairs from a trained generator."""
