"""A folder that holds one DICOM series, read as a volume with its slices in the order of their positions."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import Dataset

from genseg.base.files import printable
from genseg.base.free_memory import GIB
from genseg.choices import Tilt
from genseg.errors import DataError, Fault, FaultCode
from genseg.read import dicom
from genseg.read.case import Scan
from genseg.read.dicom_planes import Plane, make_plane, stack_planes, stack_spacing
from genseg.read.formats import SUFFIXES, Format, suffix
from genseg.read.geometry import extent_warnings
from genseg.read.pixels import Pixels
from genseg.read.source import Source, decoding, most_bytes, promise_faults, read_source, too_large


@dataclass(frozen=True)
class _Slice:
    source: Source
    tags: Dataset


def read_series(folder: Path, as_mask: bool, tilt: Tilt = "stop") -> Scan:
    """Read the one series of a folder as `(channel, column, row, slice)`; a series of one file as a picture.

    Localizers and copies of a slice are left out with a warning, and so are objects that hold no image. tilt: see
    `ReadOptions`.

    Raises:
        DataError: every fault of the folder: UNKNOWN_FORMAT (no DICOM file), UNREADABLE and EMPTY_FILE by file,
            SERIES_MIXED, SERIES_DUPLICATE, SERIES_ORIENTATION, SERIES_INCOMPLETE, SERIES_TILTED, BAD_SPACING, ...
    """
    name = printable(folder)
    slices, warnings = _slices_of_one_series(folder, name)
    scan = dicom.read(slices[0].source, as_mask) if len(slices) == 1 else _stack(slices, name, as_mask, tilt)
    return replace(scan, warnings=(*warnings, *scan.warnings))


def series_tags(folder: Path) -> list[Dataset]:
    """All tags of each file that `read_series` reads a folder from, in the order of the scan's slices.

    Raises:
        DataError: as `read_series`, but for pixels, which are not decoded.
    """
    name = printable(folder)
    slices, _ = _slices_of_one_series(folder, name)
    if len(slices) == 1:
        return [slices[0].tags]
    order, _ = stack_planes([_plane(one) for one in slices], name, "straighten")
    return [slices[index].tags for index in order]


def _slices_of_one_series(folder: Path, name: str) -> tuple[list[_Slice], tuple[Fault, ...]]:
    slices, warnings = _without_extras(_parse_all(folder), name)
    _check_one_series(slices, name)
    return slices, warnings


def _parse_all(folder: Path) -> list[_Slice]:
    """All DICOM files of the folder by name; raises the faults of all files that cannot be read, together."""
    slices: list[_Slice] = []
    faults: list[Fault] = []
    paths = _files(folder)
    _check_size(paths, printable(folder))
    for path in paths:
        try:
            source = read_source(path)
            if source.format is Format.DICOM:
                slices.append(_parse(source))
        except DataError as error:
            faults += [fault for fault in error.faults if _belongs(path, fault)]
    if not slices and not faults:
        faults.append(_no_series(printable(folder)))
    if faults:
        raise DataError(faults)
    return slices


def _check_size(paths: Sequence[Path], name: str) -> None:
    """Raise TOO_LARGE for a folder of more bytes than may be in memory at once."""
    held = sum(path.stat().st_size for path in paths if path.is_file())
    if held > most_bytes():
        raise DataError([too_large(name, f"a folder of {held / GIB:.4g} GiB")])


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if _may_be_slice(path))
    except OSError as error:
        found = f"a folder that cannot be listed: {error.strerror}"
        cure = "Check the path, the permission and the disk."
        raise DataError([Fault(FaultCode.UNREADABLE, printable(folder), found, "a readable folder", cure)]) from error


def _may_be_slice(path: Path) -> bool:
    return not path.is_dir() and not path.name.startswith(".") and path.name.upper() != "DICOMDIR"


def _belongs(path: Path, fault: Fault) -> bool:
    """Whether a file that could not be read was a slice: other files, such as notes, may lie in the folder."""
    return fault.code is not FaultCode.UNKNOWN_FORMAT or SUFFIXES.get(suffix(path).lower()) is Format.DICOM


def _parse(source: Source) -> _Slice:
    with decoding(source.name, source.format):
        return _Slice(source, dicom.parse(source))


def _no_series(name: str) -> Fault:
    return Fault(
        FaultCode.UNKNOWN_FORMAT,
        name,
        "a folder without DICOM files",
        "a file, or a folder that holds one DICOM series",
        "Give the path of the image itself.",
    )


def _without_extras(slices: list[_Slice], name: str) -> tuple[list[_Slice], tuple[Fault, ...]]:
    """The slices without objects that are no images, localizers and copies, and a warning for each kind found."""
    pictures = [one for one in slices if "Rows" in one.tags] or slices
    planned = [one for one in pictures if "LOCALIZER" not in _image_type(one)] or pictures
    single = _first_of_each(planned)
    counts = (
        (FaultCode.UNSUPPORTED_PIXELS, len(slices) - len(pictures), "that hold no image"),
        (FaultCode.SERIES_LOCALIZER, len(pictures) - len(planned), "that are localizers"),
        (FaultCode.SERIES_DUPLICATE, len(planned) - len(single), "that are copies of others"),
    )
    return single, tuple(_left_out(code, name, count, what) for code, count, what in counts if count)


def _first_of_each(slices: Sequence[_Slice]) -> list[_Slice]:
    """The slices without copies: files with the identity and the pixels of an earlier one."""
    seen = {(_identity(one), one.tags.get("PixelData")): one for one in reversed(slices)}
    return list(reversed(seen.values()))


def _identity(one: _Slice) -> str:
    return str(one.tags.get("SOPInstanceUID") or one.source.name)


def _image_type(one: _Slice) -> list[str]:
    return [str(value) for value in one.tags.get("ImageType") or ()]


def _left_out(code: FaultCode, name: str, count: int, what: str) -> Fault:
    found = f"{count} files {what}"
    return Fault(code, name, found, "the slices of one series", "They were left out; remove them.", stops=False)


def _check_one_series(slices: Sequence[_Slice], name: str) -> None:
    """Raise SERIES_MIXED or SERIES_DUPLICATE where the slices are not of one series, each there once."""
    faults = []
    series = _examples(slices, [str(one.tags.get("SeriesInstanceUID")) for one in slices])
    if len(series) > 1:
        faults.append(_mixed(name, f"{len(series)} series: {', '.join(series)}", "one series"))
    sizes = [f"{one.tags.get('Columns')} x {one.tags.get('Rows')}" for one in slices]
    if len(set(sizes)) > 1:
        found = ", ".join(_examples(slices, sizes))
        faults.append(_mixed(name, f"slices of {len(set(sizes))} sizes: {found}", "one size"))
    films = [one.source.name for one in slices if int(one.tags.get("NumberOfFrames") or 1) > 1]
    if films and len(slices) > 1:
        faults.append(_mixed(name, f"several files, of which {', '.join(films)} hold many frames", "one kind of file"))
    instances = Counter(map(_identity, slices))
    twice = [one.source.name for one in slices if instances[_identity(one)] > 1]
    if twice:
        found = f"files with one identity but different pixels: {', '.join(twice)}"
        cure = "Export the series again, alone and whole, into one folder."
        faults.append(Fault(FaultCode.SERIES_DUPLICATE, name, found, "each slice once", cure))
    if faults:
        raise DataError(faults)


def _examples(slices: Sequence[_Slice], keys: Sequence[str]) -> list[str]:
    """ "12 files like a.dcm" for each different key; the keys themselves may identify a patient."""
    first = {key: one.source.path for key, one in reversed(list(zip(keys, slices, strict=True)))}
    return sorted(f"{count} files like {printable(Path(first[key].name))}" for key, count in Counter(keys).items())


def _mixed(name: str, found: str, expected: str) -> Fault:
    return Fault(FaultCode.SERIES_MIXED, name, found, expected, "Put each series into a folder of its own.")


def _stack(slices: Sequence[_Slice], name: str, as_mask: bool, tilt: Tilt) -> Scan:
    promised = sum(dicom.promised_bytes(one.tags) for one in slices if "Rows" in one.tags)
    faults = promise_faults(name, promised, sum(len(one.source.data) for one in slices))
    if faults:
        raise DataError(faults)
    planes: list[Plane] = []
    pictures: list[Pixels] = []
    warnings: list[Fault] = []
    for one in slices:
        try:
            with decoding(one.source.name, one.source.format):
                planes.append(_plane(one))
                dicom.check_pixels(one.tags, one.source.name)
                pixels, notes = dicom.picture(one.tags, one.source.name, as_mask)
        except DataError as error:
            faults += error.faults
        else:
            pictures.append(pixels)
            warnings += notes
    if faults:
        raise DataError(faults)
    order, affine = stack_planes(planes, name, tilt)
    pixels = dicom.volume([pictures[index] for index in order])
    spacing, leaning = stack_spacing(affine, pixels.shape[1:], name)
    warnings = warnings[:1]  # each slice of an inverted series says so: once is enough
    digests = "".join(slices[index].source.sha256 for index in order)
    return Scan(
        pixels=pixels,
        spacing=spacing,
        affine=affine,
        modality=dicom.modality(slices[0].tags),
        sha256=hashlib.sha256(digests.encode("ascii")).hexdigest(),
        warnings=(*warnings, *leaning, *extent_warnings(pixels.shape[1:], spacing, name)),
    )


def _plane(one: _Slice) -> Plane:
    tags = one.tags
    return make_plane(
        one.source.name, tags.get("ImagePositionPatient"), tags.get("ImageOrientationPatient"), tags.get("PixelSpacing")
    )
