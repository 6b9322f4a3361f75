"""The layout of the Medical Segmentation Decathlon: a `dataset.json` that lists image and label of each case.

Source: Antonelli et al., The Medical Segmentation Decathlon, Nat Commun 13:4128 (2022), and its `dataset.json` files.
"""

from __future__ import annotations

import reprlib
from pathlib import Path

from genseg.index.description import stop_broken
from genseg.index.findings import Contents, Description, Findings
from genseg.index.listed import ListedPaths
from genseg.index.mask_folders import warn_unused
from genseg.index.pairing import entry
from genseg.read.case import CaseFiles


def read_decathlon(root: Path, description: Description, findings: Findings) -> Contents:
    """`training: [{image, label}]` with paths relative to `root`; `test` lists images without labels.

    Several modalities lie along the last axis of 4D volumes.
    """
    # The Decathlon writes no absolute paths, so that one is kept in the folder too.
    paths = ListedPaths(description.path, root, findings, absolute=False)
    training = _list(description, "training", findings)
    cases = [_case(item, number, paths) for number, item in enumerate(training, start=1)]
    test = [paths.find(item, "test") for item in _list(description, "test", findings) if isinstance(item, str)]
    paths.stop_missing()
    used = [path for case in cases if case is not None for path in (*case.images, case.mask) if path is not None]
    warn_unused(root, {root / path.relative_to(root).parts[0] for path in (*used, *filter(None, test))}, root, findings)
    without_mask = [case for case in cases if case is not None and case.mask is None]
    return Contents(
        "Medical Segmentation Decathlon",
        [case for case in cases if case is not None and case.mask is not None],
        without_mask,
        [path for path in test if path is not None],
        channels_last_axis=len(description.channel_names) > 1,
    )


def _list(description: Description, key: str, findings: Findings) -> list[object]:
    value = description.content.get(key, [])
    if isinstance(value, list):
        return value
    stop_broken(description.path, f"{key}: {type(value).__name__}", "a list", findings)
    return []


def _case(item: object, number: int, paths: ListedPaths) -> CaseFiles | None:
    place = f"case {number} of training"
    image, label = (item.get("image"), item.get("label")) if isinstance(item, dict) else (None, None)
    if not isinstance(image, str) or not isinstance(label, str | None):
        expected = '{"image": "path", "label": "path"}'
        stop_broken(paths.source, f"{place} is {reprlib.repr(item)}", expected, paths.findings)
        return None
    image_path = paths.find(image, place)
    mask_path = None if label is None else paths.find(label, place)
    if image_path is None or (label is not None and mask_path is None):
        return None
    return entry(image_path, mask_path)
