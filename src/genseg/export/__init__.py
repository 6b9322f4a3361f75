"""What leaves the lab with a model."""
