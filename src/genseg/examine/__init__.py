"""A dataset before anything is trained on it: read in one pass, checked, measured, split. No torch."""
