"""Every picture that genseg draws: cases with their masks, generated pairs, curves."""
