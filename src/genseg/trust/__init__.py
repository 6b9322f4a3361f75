"""When to trust a model, learned on its held-out cases: calibration, out-of-distribution scores, post-processing."""
