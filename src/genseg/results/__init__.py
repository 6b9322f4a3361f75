"""A folder of masks that a model has made: written, listed, and gone on with as images come."""
