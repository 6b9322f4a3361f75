#!/usr/bin/env python3
"""Draws docs/images/demo.png from what `scripts/demo` leaves behind: phantoms, the expert's mask, the prediction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from genseg.drawing.overlays import overlay, tile
from genseg.read import read_image, read_mask

DEMO = Path(__file__).parents[2] / "demo" / "rgb"
SHOWN = 5


def main() -> None:
    """Draw the first test cases, one a column: above with the expert's mask, below with the prediction."""
    names = json.loads((DEMO / "scans" / "dataset.json").read_text(encoding="utf-8"))["splits"]["test"][:SHOWN]
    images = [read_image(DEMO / "scans" / "images" / f"{name}.png").pixels for name in names]
    rows = []
    for folder in ("scans/masks", "masks"):
        masks = [read_mask(DEMO / folder / f"{name}.png").pixels[0] for name in names]
        rows += [overlay(image, mask, 160) for image, mask in zip(images, masks, strict=True)]
    titles = [f"{name}, {kind}" for kind in ("expert", "predicted") for name in names]
    sheet = np.asarray(tile(rows, titles, SHOWN))
    Image.fromarray(sheet).save(Path(__file__).with_name("demo.png"), optimize=True)


if __name__ == "__main__":
    main()
