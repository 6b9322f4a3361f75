"""How a segmenter is trained: plan, batches, updates, checkpoints, run folder."""
