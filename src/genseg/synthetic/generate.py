"""Synthetic pairs from a finished run: made, held against the real images they might be copies of, and written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count as count_up
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from genseg.base.files import FULL_DISK, atomic_folder
from genseg.base.progress import Progress, silent
from genseg.choices import Copies
from genseg.compute.device import Machine, choose_machine
from genseg.config import Plan
from genseg.errors import RunError, SettingsError, unknown
from genseg.generators.copies import describe_images
from genseg.joint.source import PairSource
from genseg.models.load import read_weights
from genseg.prepare.preprocess import unscale_intensity
from genseg.runs.folder import RunFolder
from genseg.synthetic.data_set import SyntheticPair, SyntheticSet

BATCH = 4
"""Pairs made at once: few, for a volume's take much memory. Pair n is the same however many are asked for."""

ATTEMPTS = 5
"""Most pairs that are made for each that is asked for, where copies are left out."""


@dataclass(frozen=True)
class Generated:
    """The synthetic dataset. copies: images marked as copies of training images, left out or kept."""

    folder: Path
    written: int
    copies: int


def generate_pairs(
    run: Path, out: Path, count: int, seed: int, copies: Copies, device: str, progress: Progress = silent
) -> Generated:
    """Make pairs with the generator of a finished run and write them as a dataset; see `genseg.generate`."""
    if count < 1:
        raise SettingsError(f"count: {count} found; expected 1 or more")
    if copies not in get_args(Copies):
        raise SettingsError(f"copies: {unknown('value', copies, get_args(Copies))}")
    plan, source, machine = load_pair_source(run, device)
    _check_empty(out)
    kept = marked = 0
    try:
        with atomic_folder(out) as folder:
            written = SyntheticSet(folder, plan, source.names, source.copies.threshold)
            for pair in islice(make_pairs(source, plan, machine, seed), ATTEMPTS * count):
                marked += pair.is_copy
                if not pair.is_copy or copies == "keep":
                    written.add(pair)
                    kept += 1
                    progress("Generating", kept, count)
                if kept == count:
                    break
            if not kept:
                cure = "train on more cases, or look at them with --copies keep"
                raise RunError(f"{run}: all {marked} images are near-copies of training images; {cure}")
            written.finish()
    except OSError as error:
        if error.errno in FULL_DISK:
            raise
        raise RunError(f"{out}: cannot be written ({error.strerror}); choose another folder with -o") from error
    return Generated(out, kept, marked)


def make_pairs(source: PairSource, plan: Plan, machine: Machine, seed: int) -> Iterator[SyntheticPair]:
    """Pairs without end; each depends on the seed and its number alone. Raises RunError where one is not finite."""
    for number in count_up():
        pairs = source.make(BATCH, plan, machine, seed, number)
        if not bool(pairs.plain.isfinite().all()):
            raise RunError("the generator gives images that are not finite; train again, with another --seed")
        distances, nearest = source.copies.nearest(describe_images(pairs.plain))
        images: NDArray[np.float32] = pairs.plain.float().cpu().numpy()
        masks = pairs.mask.argmax(1).byte().cpu().numpy()
        for place, recipe in enumerate(pairs.recipes):
            yield SyntheticPair(
                image=unscale_intensity(images[place], plan.intensity),
                mask=masks[place],
                mask_from=recipe.mask,
                object_from=None if recipe.graft is None else recipe.graft.mask,
                nearest=int(nearest[place]),
                distance=float(distances[place]),
                is_copy=float(distances[place]) < source.copies.threshold,
            )


def load_pair_source(run: Path, device: str) -> tuple[Plan, PairSource, Machine]:
    """The plan of a finished run, its generator, and the machine that it was put on.

    Raises RunError where `run` is no finished run folder, has no generator, or it is damaged or of another version;
    DeviceError for an absent device.
    """
    folder = RunFolder.open(run)
    delivered = folder.delivery()
    plan, described = delivered.plan, delivered.generator
    machine = choose_machine(device, "float32")
    if described is None or delivered.why_no_generator:
        raise RunError(f"{run}: {_why_none(plan, delivered.why_no_generator)}")
    try:
        tensors = read_weights(folder.generator, described["sha256"])
        return plan, PairSource.restore(tensors, described, plan, machine), machine
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, SettingsError) as error:
        raise RunError(f"{run}: the generator is damaged; train again or restore the folder ({error})") from error


def _why_none(plan: Plan, reason: str) -> str:
    if reason:
        return f"its generator was switched off in training ({reason}); increase --pretraining, or train on more cases"
    if plan.generation is None:
        return f"trained without a generator (method {plan.method}); train with --method joint"
    return "its generator was not kept by the version of genseg that trained it; train again"


def _check_empty(out: Path) -> None:
    try:
        occupied = out.exists() and any(out.iterdir())
    except OSError as error:
        raise RunError(f"{out}: not usable for results ({error.strerror}); choose another folder with -o") from error
    if occupied:
        raise RunError(f"{out}: not empty; choose a new folder with -o")
