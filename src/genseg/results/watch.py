"""Looking after a folder: each image that comes is handed over once, when it is complete.

The folder is looked at again and again rather than asked to tell, for network drives do not tell.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from genseg.errors import DataError, Fault
from genseg.index import find_images
from genseg.index.findings import Findings
from genseg.index.listing import reading
from genseg.index.names import match_key
from genseg.read.case import CaseFiles
from genseg.results.content import Stamp, sizes, stamp

EMPTY_LOOKS = 10
"""An empty file may be one that is being written, or one that stays empty: for so many looks it is waited for."""

_NAP_SECONDS = 0.2


def watch_folder(
    images: Path,
    handle: Callable[[CaseFiles], None],
    *,
    is_stopped: Callable[[], bool],
    report: Callable[[DataError], None],
    channel_files: bool = False,
    every: float = 1.0,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Hand over each image of a folder, in the order of names, those that are there and those that come.

    What is an image, and which files are one, is as for `index_images`. An image is complete when its files are as they
    were one look earlier, where one is empty `EMPTY_LOOKS` looks earlier; when they change later, it is handed over
    again, whatever time they are said to be from.

    handle: its DataError is reported, and the image is tried again only when it changes; or, where it has changed or
        become unreachable meanwhile, when it can be read again. Whatever else it raises ends the watch.
    is_stopped: asked before each image and several times a second; the watch ends when it is true.
    report: told of each fault once: of images, of names that two images have (none of them is handed over), and of a
        folder that is missing or cannot be read, which is waited for.
    channel_files: each image is several files, one a channel.
    every: seconds from the end of one look to the next. wait: pauses for some seconds.

    A name and a number are kept for each image, also when it has gone: a drive that drops out may look like a folder
    that has been emptied.
    """
    watch = _Watch(images, handle, report, channel_files)
    while not is_stopped():
        watch.look(is_stopped)
        left = every
        while left > 0 and not is_stopped():  # in naps, for Ctrl-C that is only noted does not cut a sleep short
            wait(min(left, _NAP_SECONDS))
            left -= _NAP_SECONDS


@dataclass(frozen=True)
class _State:
    """Of an image: what it was like at the last look, None where it could not be reached; and at how many looks before
    that it was the same; and whether that has been dealt with.
    """

    stamp: Stamp | None
    looks: int = 0
    is_settled: bool = False


@dataclass
class _Watch:
    """What `watch_folder` remembers from one look to the next. told: the faults of the folder at the last look."""

    folder: Path
    handle: Callable[[CaseFiles], None]
    report: Callable[[DataError], None]
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
        now, before = stamp(files), self.seen.get(files.name)
        if before is None or now is None or before.stamp != now:
            self.seen[files.name] = _State(now)
            return False
        if before.is_settled:
            return False
        looks = before.looks + 1
        self.seen[files.name] = _State(now, looks)
        return looks >= (1 if all(sizes(now)) else EMPTY_LOOKS)

    def _attempt(self, files: CaseFiles) -> None:
        before = self.seen[files.name].stamp
        try:
            self.handle(files)
        except DataError as error:
            if stamp(files) != before:  # a drive dropped out, or the file is still being written: no fault of its own
                self.seen[files.name] = _State(None)
                return
            self.report(error)
        self.seen[files.name] = _State(before, is_settled=True)
