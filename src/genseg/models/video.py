"""Segmenting a video frame by frame, and seeing how fast that goes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from genseg.base.files import atomic_path
from genseg.base.progress import Progress, silent
from genseg.drawing.overlays import Colour, outline, write_in_corner
from genseg.errors import RunError
from genseg.models.video_file import WRITTEN_SUFFIXES, Frame, frame_writer, open_video, read_frames
from genseg.results.outputs import output_folder

Segment = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Pixels `(3, row, column)` 0..255 -> class indices `(row, column)`."""

_ROWS_PER_LINE_WIDTH = 360
_FRAMES_OF_RATE = 25


@dataclass(frozen=True)
class VideoResult:
    """Length and speed of a segmented video.

    frames: number written. seconds: from the first frame read to the finished file. frames_per_second: of the whole:
    reading, segmenting, drawing and writing. segmenting_per_second: of segmenting alone, including the slower first
    frame.
    """

    frames: int
    seconds: float
    frames_per_second: float
    segmenting_per_second: float


def segment_video(
    source: Path,
    out: Path,
    segment: Segment,
    colours: Sequence[Colour],
    progress: Progress = silent,
    *,
    show_rate: bool = True,
) -> VideoResult:
    """Write a video of every frame of `source`, with the classes that are seen in it outlined.

    out: .mp4, .avi or .mkv, written as H.264 without sound, at the frame rate and in the (upright) size of the source;
        an odd number of rows or columns grows by one. It appears when it is complete; nothing stays of one that failed.
    segment: called for each frame in turn, in this thread; ffmpeg decodes and encodes beside it.
    colours: of classes 0, 1, ...; the background's is not drawn.
    show_rate: write into each frame's corner how many frames a second `segment` takes, over the latest 25 of them.
    progress: is told the frames done and how many there are by the file.

    One frame at a time is held in memory. Raises RunError where `out` cannot be written or is `source`, DataError where
    `source` is no whole video, MissingExtraError without imageio-ffmpeg; and what `segment` raises.
    """
    video = open_video(source)
    _stop_unless_possible(out, source)
    output_folder(out.parent)
    clock = _Clock(segment)
    began = perf_counter()
    with closing(read_frames(video)) as frames, atomic_path(out) as unfinished:
        first = next(frames)
        with frame_writer(unfinished, first.shape[:2], video) as write:
            for number, frame in enumerate(chain([first], frames), 1):
                mask = clock.segment(frame)
                write(_drawn(frame, mask, colours, clock.recent_rate if show_rate else None))
                progress("Segmenting", number, max(number, video.frames))
    progress("Segmenting", number, number)
    seconds = perf_counter() - began
    return VideoResult(number, seconds, number / seconds, number / clock.seconds)


class _Clock:
    """Calls `segment` and keeps how long it took, in all and for the latest frames."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._latest: deque[float] = deque(maxlen=_FRAMES_OF_RATE)
        self.seconds = 0.0

    def segment(self, frame: Frame) -> NDArray[np.uint8]:
        began = perf_counter()
        mask = self._segment(np.ascontiguousarray(np.moveaxis(frame, -1, 0)))
        self._latest.append(perf_counter() - began)
        self.seconds += self._latest[-1]
        return mask

    @property
    def recent_rate(self) -> float:
        return len(self._latest) / sum(self._latest)


def _drawn(frame: Frame, mask: NDArray[np.uint8], colours: Sequence[Colour], rate: float | None) -> Frame:
    drawn = outline(frame, mask, colours, width=max(1, len(frame) // _ROWS_PER_LINE_WIDTH))
    if rate is not None:
        write_in_corner(drawn, f"{rate:.1f} frames/s")
    return drawn


def _stop_unless_possible(out: Path, source: Path) -> None:
    """Raise RunError for a result that no video can be written to, before any work is done."""
    if out.suffix.lower() not in WRITTEN_SUFFIXES:
        raise RunError(
            f"{out}: videos are written as {', '.join(sorted(WRITTEN_SUFFIXES))}; choose such a name with -o"
        )
    if out.resolve() == source.resolve() or (out.exists() and source.exists() and out.samefile(source)):
        raise RunError(f"{out}: the video would be written over itself; choose another name with -o")
    if out.is_dir():
        raise RunError(f"{out}: is a folder; choose the name of a file with -o")
