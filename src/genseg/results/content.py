"""Which files an image is, and what tells whether they still hold the same."""

from __future__ import annotations

import glob
from pathlib import Path

from genseg.base.files import combined_sha256, file_sha256
from genseg.read.case import CaseFiles
from genseg.read.formats import HEAD_BYTES, Format, identify, stem, suffix
from genseg.read.itk_files import named_pixel_files

Stamp = tuple[tuple[str, int, int, int, int], ...]
"""Of each file: name, bytes, time of its last change, the same of its entry in the folder (ns), number on its disk."""

_DETACHED = frozenset({".mhd", ".nhdr"})


def stamp(files: CaseFiles) -> Stamp | None:
    """What the system says of an image's files, without reading them; None while one cannot be reached.

    A file that takes another's place has another number or time of its entry, however old its content is said to be.
    """
    try:
        stats = [(path.name, path.stat()) for image in files.images for path in image_parts(image)]
    except OSError:
        return None
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for name, stat in stats) or None


def sizes(stamp: Stamp) -> list[int]:
    """Bytes of each file, in ascending order."""
    return sorted(size for _, size, *_ in stamp)


def content_sha256(files: CaseFiles) -> str:
    """Hash of what an image's files hold: of a single file its SHA-256, whatever its name.

    The files of a DICOM series, or of a header and its pixels, count in no order; those of channels in theirs.
    Raises OSError where one cannot be read.
    """
    parts = ([file_sha256(path) for path in image_parts(image)] for image in files.images)
    return combined_sha256([combined_sha256(sorted(hashes)) for hashes in parts])


def image_parts(image: Path) -> list[Path]:
    """The files of an image: all in a DICOM series' folder, header and pixels of a file in two, else the file alone.

    Raises OSError where they cannot be listed.
    """
    if image.is_dir():
        return sorted(path for path in image.iterdir() if path.is_file() and not path.name.startswith("."))
    if suffix(image).lower() in _DETACHED:
        beside = (path for path in image.parent.glob(f"{glob.escape(stem(image))}.*") if not suffix(path))
        named = (image.with_name(name) for name in _named_files(image))
        return sorted({image, *beside, *(path for path in named if path.is_file())})
    return [image]


def _named_files(header: Path) -> list[str]:
    """Names of the files that a header says hold its pixels, whatever they are called."""
    with header.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    format = identify(head)
    return named_pixel_files(head, format) if format in (Format.NRRD, Format.META) else []
