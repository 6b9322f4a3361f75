"""Segmenters behind one contract and one registry; see `registry`."""
