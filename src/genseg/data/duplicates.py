"""Near-duplicate images: found by a perceptual hash, so that no copy of a training image judges the model.

The hash is imagehash's `phash` with 16 x 16 bits (Zauner, Implementation and benchmarking of perceptual image hash
functions, 2010): the signs, against their median, of the lowest frequencies of the image shrunk to 64 x 64. A volume
has three, of its middle slices.

Two images count as near-duplicates when at most 1 bit in 8 differs (32 of 256 for a picture). Measured on seven public
sets of pictures, 1,626 in all, and one of 260 volumes:

- the same picture as JPEG of quality 30, halved, with gamma 0.8 or 1.2 times as bright: at most 30 bits; the same
  volume with 2 % noise: at most 62 of 768 bits;
- different patients' chest radiographs, alike as they are: at least 48 bits; skin lesions: at least 56; frames of
  different colonoscopy videos: at least 40; hippocampi of different patients: at least 216 of 768 bits;
- neighbouring frames of one video: 2 to 114 bits, so that most of them are not found. Where frames come from one video
  or patient, say so in the patient column of a CSV list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from genseg.data.case import CaseFiles

HASH_SIZE = 16
MOST_DIFFERING = 1 / 8
"""Largest share of the bits in which near-duplicates differ."""

_PERCENTILES = (1, 99)
Bits = NDArray[np.bool_]


def near_duplicates(images: Mapping[str, NDArray[np.generic]]) -> list[tuple[str, str]]:
    """Pairs of names of nearly equal images, sorted; the names within a pair are sorted too.

    images: name -> `(channel, *spatial)`, 2D or 3D, any values; looked up one after the other. Mirrored, turned or
    cropped copies are not found. Images without contrast match none.
    """
    hashes = {name: fingerprint(images[name]) for name in sorted(images)}
    pairs: list[tuple[str, str]] = []
    for length in sorted({len(bits) for bits in hashes.values() if len(bits)}):
        names = [name for name, bits in hashes.items() if len(bits) == length]
        differing = _distances(np.stack([hashes[name] for name in names]))
        first, second = np.nonzero(np.triu(differing <= MOST_DIFFERING * length, k=1))
        pairs += [(names[a], names[b]) for a, b in zip(first, second, strict=True)]
    return sorted(pairs)


def fingerprint(image: NDArray[np.generic]) -> Bits:
    """Perceptual hash of `(channel, *spatial)`: 256 bits for a picture, 768 for a volume, 0 where there is no contrast.

    Axes of length 1 are dropped: a volume of one slice is a picture. Channels that are no colours weigh alike, whatever
    their values: beside a CT, a PET would count for nothing.
    """
    channels = [channel.astype(np.float32) for channel in image]
    if len(image) > 1 and image.dtype != np.uint8:
        channels = [_unit_range(channel) for channel in channels]
    grey = np.squeeze(np.mean(channels, axis=0))
    planes = [grey] if grey.ndim == 2 else [grey.take(side // 2, axis) for axis, side in enumerate(grey.shape)]
    if grey.ndim not in (2, 3) or any(np.ptp(plane) == 0 for plane in planes):
        return np.zeros(0, dtype=bool)
    return np.concatenate([_hash_plane(plane) for plane in planes])


def group_cases(cases: Iterable[CaseFiles], duplicate_pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Case name -> group: the cases of one patient, and of patients whose images are near-duplicates.

    A group is called by the first, in order of name, of its patients. Pairs of names that are not among the cases are
    passed over.
    """
    patients = {case.name: case.patient for case in cases}
    ordered = sorted(set(patients.values()))
    place = {patient: index for index, patient in enumerate(ordered)}
    joined = [(patients[a], patients[b]) for a, b in duplicate_pairs if a in patients and b in patients]
    rows = np.array([place[a] for a, _ in joined], dtype=np.intp)
    columns = np.array([place[b] for _, b in joined], dtype=np.intp)
    links = coo_array((np.ones(len(joined)), (rows, columns)), shape=(len(ordered), len(ordered)))
    _, component = connected_components(links, directed=False)
    first: dict[int, str] = {}
    for patient in ordered:
        first.setdefault(int(component[place[patient]]), patient)
    return {name: first[int(component[place[patient]])] for name, patient in patients.items()}


def _unit_range(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values between their 1st and 99th percentile, or where these are equal between all, as 0 to 1."""
    low, high = np.percentile(values, _PERCENTILES)
    if low == high:
        low, high = values.min(), values.max()
    scaled: NDArray[np.float32] = np.clip((values - low) / ((high - low) or 1.0), 0, 1).astype(np.float32)
    return scaled


def _hash_plane(plane: NDArray[np.float32]) -> Bits:
    scaled = _unit_range(plane) * 255
    picture = Image.fromarray(scaled.round().astype(np.uint8))
    bits: Bits = imagehash.phash(picture, hash_size=HASH_SIZE).hash.ravel()
    return bits


def _distances(bits: Bits) -> NDArray[np.float32]:
    """Number of bits in which each pair of rows differs, `(n, n)` for `(n, bits)`."""
    signs = np.where(bits, np.float32(1), np.float32(-1))
    distances: NDArray[np.float32] = (bits.shape[1] - signs @ signs.T) / 2
    return distances
