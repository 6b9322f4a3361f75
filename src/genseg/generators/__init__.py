"""Mask-to-image generators, their styles, critics and losses; presets in `registry`."""
