"""The habits by which people name masks, splits and the folders of images and masks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

_IMAGE_FOLDERS = frozenset({"images", "image", "imgs", "img"})
_MASK_FOLDERS = frozenset(
    {"masks", "mask", "labels", "label", "annotations", "annotation", "segmentations", "segmentation", "gt"}
    | {"groundtruth", "groundtruths", "manual", "manual1", "manual2", "1stmanual", "2ndmanual"}
)
_LIKE_MASKS = re.compile(
    r"mask|label|seg|annotat|truth|manual|expert|observer|rater|(?:^|[^a-z])gt(?:[^a-z]|$)|gold|contour", re.IGNORECASE
)
_BY_HAND = re.compile(r"manual|expert|observer|rater|gt|truth|annotat|label|seg|gold", re.IGNORECASE)
_BY_EXPERTS = re.compile(r"manual|expert|observer|rater|vessel", re.IGNORECASE)
_FIELD_OF_VIEW = frozenset({"mask", "masks", "fov", "fovs", "fieldofview", "roi", "rois", "border"})

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


def is_image_folder(name: str) -> bool:
    """Whether a folder of this name usually holds the images."""
    return _folder_key(name) in _IMAGE_FOLDERS


def is_mask_folder(name: str) -> bool:
    """Whether a folder of this name usually holds the masks."""
    return _folder_key(name) in _MASK_FOLDERS


def may_hold_masks(name: str, beside: str) -> bool:
    """Whether a folder may hold the masks though its name is no usual one. beside: the usual name of the folder beside.

    A name that only adds to that one (`labels_multiorgan` to `labels`) is a variant, unless it tells of an expert.
    """
    added = _folder_key(name).removeprefix(_folder_key(beside).removesuffix("s"))
    is_variant = added != _folder_key(name) and not _BY_HAND.search(added)
    return _LIKE_MASKS.search(name) is not None and not is_variant


def may_be_field_of_view(name: str, others: Iterable[str]) -> bool:
    """Whether a folder of this name, beside those others, is likely the field of view and no mask."""
    return _folder_key(name) in _FIELD_OF_VIEW and any(_BY_EXPERTS.search(other) for other in others)


def _folder_key(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


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
