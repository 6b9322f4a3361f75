"""What is wrong with a dataset as a whole, though each of its files can be read: cases that do not fit together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genseg.base.files import printable
from genseg.config import COLOURS
from genseg.errors import NAMED, Fault, FaultCode, listed
from genseg.examine.cases import LoadOptions, channel_mismatch
from genseg.examine.one_pass import Reading
from genseg.examine.statistics import class_counts
from genseg.labels import Colour, LabelMap, by_class, nearest_classes, value_text
from genseg.read.case import CaseFiles

_NEARLY_ALL = 0.8
_KINDS = {2: "a 2D image", 3: "a volume"}


def mixed_dimensions(readings: Sequence[Reading]) -> list[Fault]:
    """One fault for each case of the rarer number of spatial axes."""
    usual = _most_common([len(reading.measures.spatial) for reading in readings])
    return [
        Fault(
            FaultCode.MIXED_DIMENSIONS,
            printable(reading.files.images[0]),
            _KINDS[len(reading.measures.spatial)],
            f"{_KINDS[usual]}, as the other images are",
            "Keep 2D images and volumes in separate datasets.",
        )
        for reading in readings
        if len(reading.measures.spatial) != usual
    ]


def common_channels(
    root: Path, readings: Sequence[Reading], channel_names: Sequence[str] = ()
) -> tuple[int, list[Fault]]:
    """The number of channels that all images are brought to, and what is to be said about those that have another.

    Grey pictures among RGB ones become RGB, with one warning for all; any other mixture stops, one fault a case: of
    three channels that are no colours (`channel_names`, or a file each), a grey picture is one, and does for no other.
    """
    counted = Counter(reading.measures.channels for reading in readings)
    pictures = all(len(reading.measures.spatial) == 2 and len(reading.files.images) == 1 for reading in readings)
    colours = COLOURS.issuperset(name.lower() for name in channel_names)
    if pictures and colours and set(counted) == {1, 3}:
        found = f"{counted[1]} grey and {counted[3]} RGB images"
        cure = "All are treated as RGB; a grey image gets three equal channels."
        return 3, [_warning(FaultCode.MIXED_CHANNELS, root, found, "one kind of image", cure)]
    usual = _most_common([reading.measures.channels for reading in readings])
    odd = [reading for reading in readings if reading.measures.channels != usual]
    return usual, [channel_mismatch(reading.files, reading.measures.channels, usual) for reading in odd]


def spacing_faults(root: Path, readings: Sequence[Reading]) -> list[Fault]:
    """What is to be said of images that do not state the size of their voxels, one fault for all.

    Volumes of which some state it cannot be brought to one voxel size: a stop. Of 2D images no size is needed, and most
    have none: a warning where some have.
    """
    unknown = [reading.files.name for reading in readings if reading.measures.spacing_unit == "px"]
    volumes = any(len(reading.measures.spatial) == 3 for reading in readings)
    mixed = 0 < len(unknown) < len(readings)
    if not unknown or not (mixed or volumes):
        return []
    element = "voxel" if volumes else "pixel"
    found = f"{len(unknown)} of {len(readings)} images do not state their {element} size ({printable(listed(unknown))})"
    expected = f"a {element} size in every image" + (" or in none" if mixed else "")
    cure = f"Their lengths are reported in {element}s."
    if volumes:
        cure = "Write it into copies of these files if it is known (in ImageJ: Image > Properties)."
        cure += "" if mixed else " Until then lengths are in voxels."
    return [Fault(FaultCode.BAD_SPACING, printable(root), found, expected, cure, stops=mixed and volumes)]


def class_faults(root: Path, readings: Sequence[Reading], labels: LabelMap) -> list[Fault]:
    """Masks without foreground, classes that no mask has, and classes that test cases alone have.

    That some mask has foreground was made sure of when the label map was fitted. A class that no mask has only warns
    where all cases are test cases, for then nothing is learned from them.
    """
    labelled = [reading.files for reading in readings if reading.measures.counts is not None]
    counts = [class_counts(r.measures.counts, labels) for r in readings if r.measures.counts is not None]
    voxels = np.array(counts).reshape(len(counts), len(labels.names))
    empty = [files.name for files, row in zip(labelled, voxels, strict=True) if not row[1:].any()]
    faults = []
    if empty:
        found = f"{len(empty)} of {len(labelled)} masks are empty ({printable(listed(empty))})"
        cure = "They count as cases without the structure; remove them if they were never labelled."
        faults.append(_warning(FaultCode.EMPTY_MASK, root, found, "foreground", cure))
    for name, column in zip(labels.names[1:], voxels.T[1:], strict=True):
        faults += _class_fault(root, name, labelled, column.tolist())
    return faults


def _class_fault(root: Path, name: str, labelled: Sequence[CaseFiles], voxels: Sequence[int]) -> list[Fault]:
    """The fault of one class. voxels: how many each labelled case has of it."""
    learned = any(files.split != "test" for files in labelled)
    present = [files for files, count in zip(labelled, voxels, strict=True) if count > 0]
    cure = "Label it in cases to learn from, or take it out of the class names."
    if not present:
        found = f"the class {name!r} is in no mask"
        return [Fault(FaultCode.CLASS_MISSING, printable(root), found, "every class in some mask", cure, stops=learned)]
    if learned and all(files.split == "test" for files in present):
        cases = printable(listed([files.name for files in present]))
        found = f"the class {name!r} ({sum(voxels)} voxels) in test cases alone ({cases})"
        file = printable(present[0].mask or root)
        return [Fault(FaultCode.CLASS_MISSING, file, found, "every class in cases to learn from", cure)]
    return []


def doubtful_masks(root: Path, readings: Sequence[Reading], labels: LabelMap) -> list[Fault]:
    """Warnings of masks that can be used but may not mean what they seem to.

    Classes whose masks are thin closed lines (`outline_of`), around the background or around other classes; and a class
    that covers nearly all there is.
    """
    faults = []
    for index, name in enumerate(labels.names[1:], 1):
        drawn = {reading.files.name: _outlines(reading, labels, index) for reading in readings}
        present = sum(bool(kinds) for kinds in drawn.values())
        for kind in ("hollow", "rim"):
            cases = [case for case, kinds in drawn.items() if kind in kinds]
            if cases and (kind == "hollow" or len(cases) > present / 2):
                faults.append(_outline(root, kind, name, cases, present))
    return faults + _nearly_everywhere(root, readings, labels)


def _outlines(reading: Reading, labels: LabelMap, index: int) -> set[str]:
    """How the regions of a class in one mask look; an empty set where there are none."""
    values = list(reading.regions)
    if labels.rule == "names":
        named: dict[Any, int] = {**by_class(reading.segments, labels.names)}
        classes = [named.get(value) for value in values]
    else:
        classes = nearest_classes(values, labels).tolist()
    return {reading.regions[value].outline for value, own in zip(values, classes, strict=True) if own == index}


def _outline(root: Path, kind: str, name: str, cases: Sequence[str], present: int) -> Fault:
    where = f"{len(cases)} of the {present} masks of {name!r} ({printable(listed(cases))})"
    if kind == "hollow":
        found = f"hollow masks: only a thin closed outline, in {where}"
        cure = (
            "If the outline encloses the structure, fill it in (ImageJ: Process > Binary > Fill Holes) and check "
            "again. Leave it if the structure is a thin wall."
        )
        return _warning(FaultCode.OUTLINE_MASK, root, found, "masks that cover the whole structure", cure)
    found = f"a thin rim around other classes, in {where}"
    cure = "If it marks a border to ignore, give these pixels the class that they belong to."
    return _warning(FaultCode.OUTLINE_MASK, root, found, "classes that cover structures", cure)


def _nearly_everywhere(root: Path, readings: Sequence[Reading], labels: LabelMap) -> list[Fault]:
    """The warning of a class on nearly all voxels: masks that are inverted, or a field of view."""
    counts = [class_counts(r.measures.counts, labels) for r in readings if r.measures.counts is not None]
    shares = np.array(counts).sum(axis=0) / max(1, np.sum(counts))
    most = int(shares.argmax())
    if most == 0 or shares[most] < _NEARLY_ALL:
        return []
    found = f"the class {labels.names[most]!r} on {shares[most]:.1%} of all voxels"
    cure = "Check whether the masks are inverted, or show the field of view instead of a structure."
    return [_warning(FaultCode.UNEXPECTED_LABEL, root, found, "more background than foreground", cure)]


def other_palettes(readings: Sequence[Reading], declared: bool) -> list[Fault]:
    """Palette masks that show the same index in different colours.

    Where a colour changes its index from file to file, colours seem to carry the meaning: it stops, unless classes are
    declared for the indices. Where only colours differ, it warns.
    """
    colours, indices = defaultdict[int, set[Colour]](set), defaultdict[Colour, set[int]](set)
    for reading in readings:
        for index, colour in reading.palette.items():
            colours[index].add(colour)
            indices[colour].add(index)
    changing = sorted(index for index, shown in colours.items() if len(shown) > 1)
    if not changing:
        return []
    moved = any(len(indices[colour]) > 1 for index in changing for colour in colours[index])
    shown = "; ".join(f"{index} is {', '.join(sorted(map(value_text, colours[index])))}" for index in changing[:NAMED])
    found = f"palettes that differ between masks: index {shown}"
    cure = "If the colour tells the class, convert the masks to RGB; if the index does, save all with one palette."
    files = [reading.files.mask for reading in readings if reading.palette and reading.files.mask]
    expected = "one colour for each index"
    stops = moved and not declared
    return [Fault(FaultCode.PALETTE_MISMATCH, printable(file), found, expected, cure, stops) for file in files]


def same_images(readings: Sequence[Reading], options: LoadOptions) -> list[Fault]:
    """Images that are equal to the byte: a stop where their masks differ, else a warning.

    Two test cases with different masks only warn too: nothing is learned from them, and a fixed test set is as it is.
    """
    first: dict[str, Reading] = {}
    faults = []
    for reading in readings:
        original = first.setdefault(reading.image_hash, reading)
        if original is not reading:
            faults.append(_same_image(original, reading, options))
    return faults


def _same_image(original: Reading, copy: Reading, options: LoadOptions) -> Fault:
    found = f"the same image as {printable(original.files.images[0])}"
    file = printable(copy.files.images[0])
    one, other = original.mask(options), copy.mask(options)
    if one is not None and other is not None and not np.array_equal(one, other):
        cure = "Keep the pair whose mask is right."
        learned = original.files.split != "test" or copy.files.split != "test"
        found += ", with another mask"
        return Fault(FaultCode.DUPLICATE_IMAGE, file, found, "one mask for an image", cure, stops=learned)
    return _warning(
        FaultCode.DUPLICATE_IMAGE, copy.files.images[0], found, "each image once", "Better keep one of them."
    )


def nearly_same_images(root: Path, readings: Sequence[Reading], pairs: Sequence[tuple[str, str]]) -> list[Fault]:
    """One warning for all pairs of nearly equal images, and one for those of a test case and another.

    pairs: names, as `near_duplicates` gives them; pairs that are equal to the byte are left to `same_images`.
    """
    known = {reading.files.name: reading for reading in readings}
    near = [(a, b) for a, b in pairs if known[a].image_hash != known[b].image_hash]
    apart = [(a, b) for a, b in pairs if (known[a].files.split == "test") != (known[b].files.split == "test")]
    faults = []
    if near:
        found = f"{len(near)} pairs of nearly equal images ({_listed_pairs(near)})"
        cure = "Cross-validation keeps them in one part."
        faults.append(_warning(FaultCode.DUPLICATE_IMAGE, root, found, "independent images", cure))
    if apart:
        found = (
            f"{len(apart)} pairs of equal or nearly equal images, only one of them for testing ({_listed_pairs(apart)})"
        )
        cure = "Test scores will be too high; leave one of each pair out."
        faults.append(_warning(FaultCode.DUPLICATE_IMAGE, root, found, "test images that were never seen", cure))
    return faults


def _listed_pairs(pairs: Sequence[tuple[str, str]]) -> str:
    return printable(listed([f"{one} and {other}" for one, other in pairs]))


def _most_common(values: Collection[int]) -> int:
    return Counter(values).most_common(1)[0][0] if values else 0


def _warning(code: FaultCode, file: Path, found: str, expected: str, cure: str) -> Fault:
    return Fault(code, printable(file), found, expected, cure, stops=False)
