"""One image through a network, whichever runtime computes it, and what a person should know of the mask."""
