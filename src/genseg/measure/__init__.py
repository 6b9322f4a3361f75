"""Objects in a label map: told apart, measured and outlined. No torch."""
