"""The habits by which people name masks, splits and the folders of images and masks."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

IMAGE_FOLDERS = frozenset({"images", "image", "imgs", "img"})
MASK_FOLDERS = frozenset(
    {"masks", "mask", "labels", "label", "annotations", "annotation", "segmentations", "segmentation", "gt"}
    | {"groundtruth", "ground_truth"}
)

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_MASK_WORD = r"(?:masks?|seg|segmentation|labels?|gt|ground_?truth|annotation|manual)"
_IMAGE_WORD = r"(?:image|img|scan|training|test)"
_FLAGS = re.IGNORECASE | re.DOTALL  # names may hold a newline
_MASK_END = re.compile(rf"(?P<base>.+)[-_. ]{_MASK_WORD}[-_]?\d*", _FLAGS)
_MASK_START = re.compile(rf"{_MASK_WORD}[-_. ](?P<base>.+)", _FLAGS)
_IMAGE_END = re.compile(rf"(?P<base>.+)[-_. ]{_IMAGE_WORD}", _FLAGS)
_IMAGE_START = re.compile(rf"{_IMAGE_WORD}[-_. ](?P<base>.+)", _FLAGS)


def match_key(name: str) -> str:
    """The form in which names are compared: letter case and the two ways to encode an accented letter are one.

    Names that differ in these alone cannot be told apart on other systems.
    """
    return unicodedata.normalize("NFC", name).casefold()


def mask_base(stem: str) -> str | None:
    """`x` for the stem of a mask of `x`: `x_mask`, `x-seg`, `mask_x`, `x_manual1`, `x_mask_2` ...; else None."""
    return _base(stem, _MASK_END, _MASK_START)


def image_base(stem: str) -> str | None:
    """`x` for `x_image`, `img_x`, `x_training` ..., image names that have a mark of their own; else None."""
    return _base(stem, _IMAGE_END, _IMAGE_START)


def split_name(text: str) -> str | None:
    """ "train", "val" or "test" for the usual words (training, valid, validation, testing ...), else None."""
    return _SPLITS.get(text.strip().lower())


def split_of(relative: Path) -> str | None:
    """The split that the first folder of a path stands for (`train/x.png`), else None."""
    return split_name(relative.parts[0]) if len(relative.parts) > 1 else None


def _base(stem: str, end: re.Pattern[str], start: re.Pattern[str]) -> str | None:
    match = end.fullmatch(stem) or start.fullmatch(stem)
    return match["base"] if match else None
