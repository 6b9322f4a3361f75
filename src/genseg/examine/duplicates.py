"""Near-duplicate images: found by what they show, so that no copy of a training image judges the model.

Images are compared as thumbnails of 64 x 64, in two steps. A perceptual hash proposes pairs: imagehash's `phash` with
16 x 16 bits (Zauner, Implementation and benchmarking of perceptual image hash functions, 2010), the signs of the lowest
frequencies against their median. A volume has three, of its middle slices. At most 1 bit in 8 may differ (32 of 256).

What images of one camera share, such as the round frame of a retina photograph, dominates such a hash. So a proposed
pair is accepted only if one of these correlates:

- the detail (what a Gaussian of 2 pixels blurs away) inside the field of view, which is away from where nearly all
  images of the set are black or white: .9 or more; in sets of fewer than 8 images .65 or more;
- in larger sets, the detail without what the mean detail of the set explains of it, .65 or more, or the thumbnails
  without what their mean explains of them, .7 or more.

Measured on eleven public sets of pictures, 2,645 in all, and one of 260 volumes:

- copies of 40 pictures of each set, as JPEG of quality 30, halved, with gamma 0.8 or 1.2 times as bright: all 1,760 are
  found but one, a radiograph clipped by the brightness (34 bits; the others at most 24); of 40 volumes with 2 % noise,
  all (at most 62 of 768 bits);
- of all pairs that the hash alone proposes in these sets, 78 of 79 are accepted: four pictures that are there twice or
  nearly so, else neighbouring frames of one video. Different patients' chest radiographs, alike as they are, differ in
  48 bits or more, skin lesions in 56, hippocampi in 216 of 768;
- 60 synthetic retina photographs, and what fills their round frame ever fainter: the hash alone proposes up to 234
  pairs, none is accepted, and copies are found as above where the vessels are clearly seen; where they are 3 to 10
  times fainter, copies as JPEG of quality 30 begin to be missed;
- neighbouring frames of one video: 2 to 114 bits, so that most of them are not found. Where frames come from one video
  or patient, say so in the patient column of a CSV list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from genseg.read.case import CaseFiles

HASH_SIZE = 16
SIDE = 4 * HASH_SIZE
"""Rows and columns of a thumbnail: imagehash shrinks images to this before it looks at their frequencies."""

MOST_DIFFERING = 1 / 8
"""Largest share of the bits in which near-duplicates differ."""

SAME_DETAIL = 0.9
LEAST_DETAIL = 0.65
LEAST_REMAINDER = 0.7
"""Smallest correlations of near-duplicates; see the docstring of this module."""

_PERCENTILES = (1, 99)
_BLACK, _WHITE = 16, 239
_SEEN_IN = 0.1  # of the images: where fewer show anything but black or white is outside of the field of view
_EDGE = 2  # pixels of the field of view that its edge reaches into
_LEAST_FIELD = 0.1  # of a thumbnail; where less is left, all of it counts
_FINE = 2.0  # standard deviation in pixels
_LEAST_SET = 8
_BLOCK = 256  # images compared with all others at a time: memory grows with their number, not with its square
_BLUR = ndimage.gaussian_filter1d(np.eye(SIDE, dtype=np.float32), _FINE, axis=0, mode="constant")
Bits = NDArray[np.bool_]
Thumbnail = NDArray[np.uint8]
"""`(plane, SIDE, SIDE)`: one plane of a picture, three of a volume, none of an image without contrast."""

Vectors = NDArray[np.float32]


def thumbnail(image: NDArray[np.generic]) -> Thumbnail:
    """What is kept of an image `(channel, *spatial)`, 2D or 3D, of any values, to compare it with others.

    Axes of length 1 are dropped: a volume of one slice is a picture. Channels that are no colours weigh alike, whatever
    their values: beside a CT, a PET would count for nothing.
    """
    channels = [channel.astype(np.float32) for channel in image]
    if len(image) > 1 and image.dtype != np.uint8:
        channels = [_unit_range(channel) for channel in channels]
    grey = np.squeeze(np.mean(channels, axis=0))
    planes = [grey] if grey.ndim == 2 else [grey.take(side // 2, axis) for axis, side in enumerate(grey.shape)]
    if grey.ndim not in (2, 3) or any(np.ptp(plane) == 0 for plane in planes):
        return np.zeros((0, SIDE, SIDE), np.uint8)
    return np.stack([_shrink(plane) for plane in planes])


def fingerprint(small: Thumbnail) -> Bits:
    """Perceptual hash of a thumbnail: 256 bits for a picture, 768 for a volume, 0 where there is no contrast."""
    hashes = [imagehash.phash(Image.fromarray(plane), hash_size=HASH_SIZE).hash.ravel() for plane in small]
    return np.concatenate([np.zeros(0, dtype=bool), *hashes])


def near_duplicates(thumbnails: Mapping[str, Thumbnail]) -> list[tuple[str, str]]:
    """Pairs of names of nearly equal images, sorted; the names within a pair are sorted too.

    Mirrored, turned or cropped copies are not found. Images without contrast match none. Every pair is compared, in
    blocks: the time grows with the square of the number of images, but stays small beside reading them, and the memory
    grows with their number.
    """
    pairs: list[tuple[str, str]] = []
    for planes in sorted({len(small) for small in thumbnails.values() if len(small)}):
        names = sorted(name for name, small in thumbnails.items() if len(small) == planes)
        look = _Look.at([thumbnails[name] for name in names])
        pairs += [(names[a], names[b]) for a, b in look.pairs()]
    return sorted(pairs)


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


@dataclass(frozen=True)
class _Look:
    """The thumbnails of images of one kind, and what they have in common.

    field: `(plane, SIDE, SIDE)`, where the images show something. mean: `(plane, SIDE, SIDE)`.
    """

    thumbnails: Sequence[Thumbnail]
    field: NDArray[np.bool_]
    mean: NDArray[np.float32]

    @classmethod
    def at(cls, thumbnails: Sequence[Thumbnail]) -> _Look:
        total = np.zeros(thumbnails[0].shape)
        for small in thumbnails:
            total += small
        return cls(thumbnails, _field_of_view(thumbnails), (total / len(thumbnails)).astype(np.float32))

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Places of near-duplicates, the first one before the second."""
        signs = np.stack([np.where(fingerprint(small), np.float32(1), np.float32(-1)) for small in self.thumbnails])
        count, bits = signs.shape
        for start in range(0, count, _BLOCK):
            alike = signs[start : start + _BLOCK] @ signs[start:].T  # bits that agree less bits that differ: exact
            proposed = np.triu(alike >= bits * (1 - 2 * MOST_DIFFERING), k=1)
            columns = np.flatnonzero(proposed.any(axis=0))
            for first in range(0, len(columns), _BLOCK):
                yield from self._accepted(start, proposed, columns[first : first + _BLOCK])

    def _accepted(self, start: int, proposed: Bits, columns: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
        """Of the pairs proposed `(row, column)`, counted from `start`, those in `columns` that show the same."""
        rows = np.flatnonzero(proposed[:, columns].any(axis=1))
        some, others = ([self.thumbnails[start + place] for place in places] for places in (rows, columns))
        same = self._same(np.stack(some), np.stack(others))
        first, second = np.nonzero(proposed[np.ix_(rows, columns)] & same)
        yield from zip((start + rows[first]).tolist(), (start + columns[second]).tolist(), strict=True)

    def _same(self, some: NDArray[np.uint8], others: NDArray[np.uint8]) -> Bits:
        """Which of `some` show the same as which of `others`."""
        one, other = self._details(some), self._details(others)
        if len(self.thumbnails) < _LEAST_SET:
            return _correlations(one, other) >= LEAST_DETAIL
        detail = self._details(self.mean[None])[0]
        one_whole, other_whole = (part.reshape(len(part), -1).astype(np.float32) for part in (some, others))
        mean = self.mean.ravel()
        return (
            (_correlations(one, other) >= SAME_DETAIL)
            | (_correlations(_without(one, detail), _without(other, detail)) >= LEAST_DETAIL)
            | (_correlations(_without(one_whole, mean), _without(other_whole, mean)) >= LEAST_REMAINDER)
        )

    def _details(self, thumbnails: NDArray[Any]) -> Vectors:
        """`(image, pixel)`: what is fine in the field of view; only what lies in it is blurred."""
        seen = self.field.astype(np.float32)
        blurred = _blur(thumbnails * seen) / np.maximum(_blur(seen), 1e-6)
        details: Vectors = (thumbnails - blurred)[:, self.field].astype(np.float32)
        return details


def _field_of_view(thumbnails: Sequence[Thumbnail]) -> NDArray[np.bool_]:
    """`(plane, SIDE, SIDE)`: where some images are neither black nor white."""
    seen = np.zeros(thumbnails[0].shape, np.intp)
    for small in thumbnails:
        seen += (small > _BLACK) & (small < _WHITE)
    field = seen >= _SEEN_IN * len(thumbnails)
    inside: NDArray[np.bool_] = ndimage.binary_erosion(field, np.ones((1, 3, 3)), iterations=_EDGE, border_value=1)
    return inside if inside.mean() >= _LEAST_FIELD else np.ones_like(inside)


def _blur(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    blurred: NDArray[np.float32] = _BLUR @ planes @ _BLUR.T
    return blurred


def _without(vectors: Vectors, mean: Vectors) -> Vectors:
    """What is left of each row when the mean, made brighter and more contrasted to fit it best, is taken away."""
    shared = _unit(mean[None])
    centred = _centred(vectors)
    left: Vectors = np.subtract(centred, (centred @ shared.T) @ shared, dtype=np.float32)
    return left


def _correlations(some: Vectors, others: Vectors) -> Vectors:
    """`(row of some, row of others)`."""
    correlations: Vectors = _unit(some) @ _unit(others).T
    return correlations


def _unit(vectors: Vectors) -> Vectors:
    centred = _centred(vectors)
    unit: Vectors = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    return unit


def _centred(vectors: Vectors) -> Vectors:
    centred: Vectors = vectors - vectors.mean(axis=1, keepdims=True)
    return centred


def _unit_range(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values between their 1st and 99th percentile, or where these are equal between all, as 0 to 1."""
    low, high = np.percentile(values, _PERCENTILES)
    if low == high:
        low, high = values.min(), values.max()
    scaled: NDArray[np.float32] = np.clip((values - low) / ((high - low) or 1.0), 0, 1).astype(np.float32)
    return scaled


def _shrink(plane: NDArray[np.float32]) -> NDArray[np.uint8]:
    picture = Image.fromarray((_unit_range(plane) * 255).round().astype(np.uint8))
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
