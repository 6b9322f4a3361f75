"""A dataset of synthetic pairs on disk, with the record of where each comes from and a picture of some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genseg.base.files import atomic_write_csv, printable
from genseg.config import Plan
from genseg.drawing.overlays import marked_slice, overlay, tile, with_heading
from genseg.examine.channels import named_modality
from genseg.write.pairs import write_description, write_pair

SHOWN = 24
"""Pairs in the picture: the first ones."""

COLUMNS = ("name", "mask_from", "object_from", "nearest_case", "distance", "threshold", "copy")


@dataclass(frozen=True)
class SyntheticPair:
    """One pair and what is known of it.

    image: `(channel, *spatial)`, values as they are stored. mask: `(*spatial)` uint8 class indices. mask_from,
    object_from: positions of the real masks that the mask, and an object pasted into it, were made from. nearest,
    distance, is_copy: the nearest training image, how near it is, and whether that is nearer than real images are.
    """

    image: NDArray[np.generic]
    mask: NDArray[np.uint8]
    mask_from: int
    object_from: int | None
    nearest: int
    distance: float
    is_copy: bool


def channel_names(plan: Plan) -> list[str]:
    """Names by which a second training finds the rule of each channel again; none where it does without.

    Window is the rule for CT alone; by the others a second training scales each image by itself anyway.
    """
    names = [rule.channel or f"channel {number}" for number, rule in enumerate(plan.intensity)]
    is_ct = [rule.rule == "window" for rule in plan.intensity]
    is_named = any(rule.channel for rule in plan.intensity)
    if not any(is_ct) and not is_named and (plan.rank == 2 or plan.channels == 1):
        return []
    return [
        f"{name} (CT)" if window and named_modality(name) != "ct" else name
        for name, window in zip(names, is_ct, strict=True)
    ]


class SyntheticSet:
    """Writes pairs into a folder, one after the other; `finish` writes what is about all of them.

    ::

        images/ masks/ dataset.json     a dataset like any other
        pairs.csv                       what each pair was made from, and which real image is nearest
        overview.png                    the first pairs
    """

    def __init__(self, folder: Path, plan: Plan, case_names: Sequence[str], threshold: float) -> None:
        """case_names: of the training cases, whose positions pairs name. threshold: distance below which is a copy."""
        self._folder = folder
        self._plan = plan
        self._cases = list(case_names)
        self._threshold = threshold
        self._paths: list[tuple[Path, Path]] = []
        self._rows: list[tuple[str, ...]] = []
        self._pictures: list[NDArray[np.uint8]] = []
        self._titles: list[str] = []

    def add(self, pair: SyntheticPair) -> None:
        """Write a pair. Raises OSError where the disk is full."""
        name = f"synthetic-{len(self._rows) + 1:04d}"
        self._paths.append(write_pair(self._folder, name, pair.image, pair.mask, self._plan.spacing))
        nearest = self._cases[pair.nearest]
        self._rows.append(
            (
                name,
                self._cases[pair.mask_from],
                "" if pair.object_from is None else self._cases[pair.object_from],
                nearest,
                f"{pair.distance:.4f}",
                f"{self._threshold:.4f}",
                "yes" if pair.is_copy else "no",
            )
        )
        if len(self._rows) <= SHOWN:
            shown = marked_slice(pair.mask)
            self._pictures += [
                overlay(pair.image[..., shown], mask, spacing=self._plan.spacing)
                for mask in (pair.mask[..., shown], None)
            ]
            origin = f"COPY of {nearest}" if pair.is_copy else f"{pair.distance:.2f} from {nearest}"
            self._titles += [name, printable(origin)]

    def finish(self) -> None:
        """Write description, record and picture. Raises OSError where the disk is full."""
        plan = self._plan
        task = "synthetic pairs by genseg, not patients"
        write_description(self._folder, plan.class_names, self._paths, channel_names(plan), task=task)
        atomic_write_csv(self._folder / "pairs.csv", COLUMNS, self._rows)
        heading = f"Synthetic pairs, the first {len(self._pictures) // 2} of {len(self._rows)}"
        sheet = with_heading(tile(self._pictures, self._titles, 8), heading, plan.class_names[1:])
        sheet.save(self._folder / "overview.png", format="PNG")
