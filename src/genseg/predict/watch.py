"""Looking after a folder: each image that comes is handed over once, when it is complete.

The folder is looked at again and again rather than asked to tell, for network drives do not tell.
"""

from __future__ import annotations

import glob
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from genseg.data.case import CaseFiles
from genseg.data.index import find_images
from genseg.data.index.listing import reading
from genseg.data.index.names import match_key
from genseg.data.index.record import Findings
from genseg.data.readers.formats import IMAGE_SUFFIXES, stem, suffix
from genseg.errors import DataError, Fault

_NAP_SECONDS = 0.2
_DETACHED = frozenset({".mhd", ".nhdr"})
"""Headers whose pixels lie in another file of the same name."""


def watch_folder(
    images: Path,
    handle: Callable[[CaseFiles], None],
    *,
    is_stopped: Callable[[], bool],
    report: Callable[[DataError], None],
    is_done: Callable[[CaseFiles], bool] | None = None,
    channel_files: bool = False,
    every: float = 1.0,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Hand over each image of a folder, in the order of names, those that are there and those that come.

    What is an image, and which files are one, is as for `index_images`. An image is complete when its files are not
    empty and have the same size and time as one look earlier; when they change later, it is handed over again.

    handle: its DataError is reported, and the image is tried again only when it changes; or, where it has changed or
        become unreachable meanwhile, when it can be read again. Whatever else it raises ends the watch.
    is_stopped: asked before each image and several times a second; the watch ends when it is true.
    report: told of each fault once: of images, of names that two images have (none of them is handed over), and of a
        folder that is missing or cannot be read, which is waited for.
    is_done: asked when an image is first met, whether it was handled by an earlier watch: see `has_mask`.
    channel_files: each image is several files, one a channel.
    every: seconds from the end of one look to the next. wait: pauses for some seconds.

    A name and a number are kept for each image, also when it has gone: a drive that drops out may look like a folder
    that has been emptied.
    """
    watch = _Watch(images, handle, report, is_done or (lambda _: False), channel_files)
    while not is_stopped():
        watch.look(is_stopped)
        left = every
        while left > 0 and not is_stopped():  # in naps, for Ctrl-C that is only noted does not cut a sleep short
            wait(min(left, _NAP_SECONDS))
            left -= _NAP_SECONDS


def has_mask(files: CaseFiles, out: Path) -> bool:
    """Whether the folder `out` holds a mask named after the image, as `write_mask` names it, and no older than it."""
    try:
        newest = max(path.stat().st_mtime_ns for image in files.images for path in _parts(image))
        masks = [out / f"{files.name}{suffix}" for suffix in IMAGE_SUFFIXES]
        return any(mask.stat().st_mtime_ns >= newest for mask in masks if mask.is_file())
    except OSError:
        return False


@dataclass(frozen=True)
class _State:
    """Of an image: what it was like at the last look, None where incomplete; and whether that has been dealt with."""

    stamp: int | None
    is_settled: bool = False


@dataclass
class _Watch:
    """What `watch_folder` remembers from one look to the next. told: the faults of the folder at the last look."""

    folder: Path
    handle: Callable[[CaseFiles], None]
    report: Callable[[DataError], None]
    is_done: Callable[[CaseFiles], bool]
    channel_files: bool
    seen: dict[str, _State] = field(default_factory=dict)
    told: frozenset[Fault] = frozenset()

    def look(self, is_stopped: Callable[[], bool]) -> None:
        for files in self._images():
            if is_stopped():
                return
            if self._is_due(files):
                self._attempt(files)

    def _images(self) -> list[CaseFiles]:
        """The images in the folder now, without those whose name another has."""
        findings, found = Findings(), list[CaseFiles]()
        with reading(self.folder, findings):
            next(self.folder.iterdir(), None)
            found = find_images(self.folder, findings, channel_files=self.channel_files)
        faults = frozenset(findings.faults)
        if faults - self.told:
            self.report(DataError(fault for fault in findings.faults if fault not in self.told))
        self.told = faults
        names = Counter(match_key(files.name) for files in found)
        return [files for files in found if names[match_key(files.name)] == 1]

    def _is_due(self, files: CaseFiles) -> bool:
        stamp, before = _stamp(files), self.seen.get(files.name)
        if before is None:
            self.seen[files.name] = _State(stamp, stamp is not None and self.is_done(files))
            return False
        if before.stamp != stamp:
            self.seen[files.name] = _State(stamp)
            return False
        return stamp is not None and not before.is_settled

    def _attempt(self, files: CaseFiles) -> None:
        stamp = self.seen[files.name].stamp
        try:
            self.handle(files)
        except DataError as error:
            if _stamp(files) != stamp:  # a drive dropped out, or the file is still being written: no fault of its own
                self.seen[files.name] = _State(None)
                return
            self.report(error)
        self.seen[files.name] = _State(stamp, is_settled=True)


def _stamp(files: CaseFiles) -> int | None:
    """A number that changes with any file of an image; None while a file is empty or cannot be reached."""
    try:
        stats = [(path.name, path.stat()) for image in files.images for path in _parts(image)]
    except OSError:
        return None
    if not stats or any(stat.st_size == 0 for _, stat in stats):
        return None
    return hash(tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats))


def _parts(image: Path) -> list[Path]:
    """The files of an image: all in a DICOM series' folder, header and pixels of a file in two, else the file alone."""
    if image.is_dir():
        return sorted(path for path in image.iterdir() if path.is_file() and not path.name.startswith("."))
    if suffix(image).lower() in _DETACHED:
        return sorted(image.parent.glob(f"{glob.escape(stem(image))}.*"))
    return [image]
