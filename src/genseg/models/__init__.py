"""Trained models put to use: loaded, asked, evaluated, shown a video."""
