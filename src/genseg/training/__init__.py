"""How a segmenter is trained: data gathered, plan and forecast made, updates repeated until the last."""
