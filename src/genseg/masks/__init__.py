"""New masks from real ones, differentiable in how far they may be from them; see `make`."""
