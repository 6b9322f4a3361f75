"""Training batches: which cases, which patch of each, and how it is changed."""
