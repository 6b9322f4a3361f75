"""The picture of README: what a model of ten labels makes of real test images, good ones and bad ones.

    python -m benchmarks.accuracy.draw_results [--task skin_isic2017] [--labels 10] [--size 192] [--updates 400]
        [--threads 1] [--data DIR] [--run DIR]

Trains with feedback, or goes on with the run that is there, segments all test cases and draws those at the 10th, 30th,
50th, 70th and 90th percentile of Dice: nobody has picked them. Above the expert mask, below the prediction. Writes
docs/images/results.png, and benchmarks/results/picture.json with the Dice of every test case.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.locations import RESULTS, ROOT, data_root, write_record

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
WIDTH = 220


def main() -> None:
    """Train, segment, draw and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="skin_isic2017")
    parser.add_argument("--labels", type=int, default=10)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=data_root())
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "picture")
    asked = parser.parse_args()
    dice = measure(asked)
    shown = sorted(dice, key=dice.__getitem__)
    draw([(name, dice[name]) for name in (shown[round(share * (len(shown) - 1))] for share in SHARES)], asked)
    command = (
        f"python -m benchmarks.accuracy.draw_results --task {asked.task} --labels {asked.labels} --size {asked.size} "
        f"--updates {asked.updates} --threads {asked.threads}"
    )
    record = {"command": command, "mean_dice": round(float(np.mean(list(dice.values()))), 4), "dice": dice}
    write_record(RESULTS / "picture.json", record)


def measure(asked: argparse.Namespace) -> dict[str, float]:
    """Dice of every test case; masks are left in the run folder."""
    import torch

    import genseg
    from genseg.evaluate.metrics import dice_scores
    from genseg.read import read_mask

    torch.set_num_threads(asked.threads)
    data = asked.data / asked.task
    settings = genseg.Settings(labels=asked.labels, method="joint", size=asked.size, updates=asked.updates)
    if not (asked.run / "model").is_dir():
        genseg.fit(data, asked.run, settings=settings, resume=asked.run.is_dir())
    model = genseg.load(asked.run)
    dice = {}
    for name in json.loads((data / "dataset.json").read_text(encoding="utf-8"))["splits"]["test"]:
        truth = read_mask(data / "masks" / f"{name}.png").pixels[0]
        mask = model.predict(_image(data, name))
        dice[name] = round(float(np.mean(dice_scores(truth > 0, mask > 0, 2))), 4)
        target = asked.run / "test" / f"{name}.png"
        target.parent.mkdir(exist_ok=True)
        Image.fromarray(mask).save(target)
    return dice


def draw(shown: list[tuple[str, float]], asked: argparse.Namespace) -> None:
    """A column for each of these test cases."""
    from genseg.drawing.overlays import overlay, tile
    from genseg.read import read_image, read_mask

    data, rows, titles = asked.data / asked.task, [], []
    for folder, kind in ((data / "masks", "expert"), (asked.run / "test", "genseg")):
        for name, score in shown:
            mask = (read_mask(folder / f"{name}.png").pixels[0] > 0).astype(np.uint8)
            rows.append(overlay(read_image(_image(data, name)).pixels, mask, WIDTH))
            titles.append(kind if kind == "expert" else f"{kind}, Dice {score:.2f}")
    sheet = tile(rows, titles, len(shown))
    sheet.quantize(256).save(ROOT / "docs" / "images" / "results.png", optimize=True)


def _image(data: Path, name: str) -> Path:
    return next((data / "images").glob(f"{name}.*"))


if __name__ == "__main__":
    main()
