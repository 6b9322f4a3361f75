"""What a run leaves on disk: its folder, checkpoints, events and the delivered model."""
