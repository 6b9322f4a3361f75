"""What a generator makes of real pictures after its own updates alone, at half and at the whole size, to be looked at.

    python -m benchmarks.accuracy.draw_generated skin_isic2017 [--size 256] [--updates 200] [--cases 16]
        [--threads 1] [--out FOLDER]

Trains stage I on a few training cases, as `genseg train` does before the segmenter's first update, and draws a sheet
at each of the two sizes: real pictures, the same generated, new pairs. Prints the mean L1 error of the last updates.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from benchmarks.locations import data_root
from benchmarks.speed.training import unjudged

if TYPE_CHECKING:
    from genseg.joint.generation import Generation
    from genseg.joint.loop import JointLoop
    from genseg.training.gather import TrainingData

LAST = 8
"""Updates at a size that an L1 error is the mean over."""


def main() -> None:
    """Train, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--cases", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("generated"))
    asked = parser.parse_args()
    gathered, loop, generation = begin(asked)
    errors: defaultdict[tuple[int, ...], list[float]] = defaultdict(list)
    with unjudged():
        for update in range(asked.updates):
            size = gathered.plan.pretraining_size_at(update)
            errors[size].append(loop.pretrain(generation)["l1"])
    draw(gathered, loop, generation, asked.out)
    for size, found in errors.items():
        sys.stdout.write(f"{' x '.join(map(str, size))}: L1 {mean(found[-LAST:]):.4f} after {len(found)} updates\n")


def begin(asked: argparse.Namespace) -> tuple[TrainingData, JointLoop, Generation]:
    """Cases and generator as they are before the first update."""
    import torch

    from genseg.base.progress import silent
    from genseg.compute.device import choose_machine
    from genseg.config import Settings
    from genseg.joint.generation import begin_generation
    from genseg.joint.loop import JointLoop
    from genseg.prepare.preprocess import prepare
    from genseg.training.gather import gather

    torch.set_num_threads(asked.threads)
    machine = choose_machine()
    settings = Settings(method="separate", size=asked.size, training_cases=asked.cases, pretraining=asked.updates)
    gathered = gather(data_root() / asked.task, settings, None, machine, silent)
    plan = gathered.plan
    cases = [prepare(case, plan) for case in gathered.cases(gathered.split.train)]
    loop = JointLoop(cases, gathered.groups(), plan, 0, machine)
    return gathered, loop, begin_generation(plan, len(cases), 0, machine)


def draw(gathered: TrainingData, loop: JointLoop, generation: Generation, folder: Path) -> None:
    """A sheet at the size of the segmenter's first update, and one at that of its last."""
    from genseg.drawing.pairs import draw_pairs

    plan = gathered.plan
    generation.pretrained = 0  # so that the styles are those of each size
    for update in (0, plan.updates - 1):
        size = "x".join(map(str, plan.size_at(update)))
        draw_pairs(loop.examples(generation, update), folder / f"pairs-{size}.png", plan.class_names)


if __name__ == "__main__":
    main()
