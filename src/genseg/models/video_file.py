"""Video files, one frame at a time, by the ffmpeg that the package imageio-ffmpeg brings along.

ffmpeg is started here rather than by imageio-ffmpeg's own reader and writer: those leave its messages on the terminal
and do not say how it ended, so that a full disk would pass for a written video.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from genseg.base.files import printable
from genseg.errors import DataError, Fault, FaultCode, MissingExtraError, RunError
from genseg.index.findings import Findings
from genseg.index.listing import reading

Frame = NDArray[np.uint8]
"""RGB `(row, column, 3)`, 0..255."""

WRITTEN_SUFFIXES = frozenset({".mp4", ".avi", ".mkv"})

# All else that ffmpeg takes for a video is none: texts, pictures, and lists of addresses that it would go and fetch.
_CONTAINERS = "mov,matroska,avi,mpeg,mpegts,asf,flv,ogg,mxf,dv,h264,hevc"
_CUT_OFF = re.compile(r"partial file|File ended prematurely")
_USUAL_RATE = Fraction(25)
_LEEWAY_SECONDS = 1  # the first frame may come late, and the last one's length is not counted
_NTSC = Fraction(1000, 1001)  # SMPTE 170M: 29.97 frames/s are 30000/1001
# Quick enough to keep up with a network, without visible loss. AVI cannot store frames out of order, hence no B-frames.
_H264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-bf", "0", "-pix_fmt", "yuv420p")
# Converts so and marks the video so: players guess the colours of a file that does not tell, by its size.
_COLOURS = "scale=out_color_matrix=bt709:out_range=tv"


@dataclass(frozen=True)
class VideoFile:
    """A video whose file was looked through from end to end.

    rate: frames a second; their mean where it varies. frames: about how many there are. pixel_shape: width to height of
    a pixel; older recorders write pixels that are not square.
    """

    path: Path
    rate: Fraction
    frames: int
    pixel_shape: Fraction


def open_video(path: Path) -> VideoFile:
    """Look through a video file without decoding it, which takes as long as reading the file.

    Raises DataError: UNREADABLE for a file that is missing or cut off, EMPTY_FILE for one without a byte or a frame,
    UNKNOWN_FORMAT for one that is no video or an mp4 whose end is missing; MissingExtraError without imageio-ffmpeg.
    That an AVI is cut off cannot be told: what there is of it is a video.
    """
    _stop_unless_readable(path)
    arguments = ("-nostats", "-progress", "pipe:1", *_source(path), "-c", "copy", "-f", "null", "-")
    with _messages() as messages:
        with _started(arguments, messages, level="info") as (process, pipe):
            counts = pipe.read().decode()
        words = _text(messages)
    if process.returncode != 0:
        found, cure = "no video, or not all of one", "Choose another file, copy it again, or convert it to mp4."
        raise _unusable(FaultCode.UNKNOWN_FORMAT, path, found, "a whole mp4, avi, mkv, mov or the like", cure)
    if _CUT_OFF.search(words):
        cure = "Copy it again, or save what there is of it: ffmpeg -i FILE -c copy NEW."
        raise _unusable(FaultCode.UNREADABLE, path, "a video that ends too early", "the whole file", cure)
    frames, microseconds = _last_number("frame", counts), _last_number("out_time_us", counts)
    if frames == 0:
        cure = "Copy or record it again."
        raise _unusable(FaultCode.EMPTY_FILE, path, "a video without a frame", "a video with frames", cure)
    stream = words.partition("Output #0")[2]
    return VideoFile(path, _rate(stream, frames, microseconds), frames, _pixel_shape(stream))


def read_frames(video: VideoFile) -> Generator[Frame, None, None]:
    """Decode frame after frame, upright as the file's rotation says, each frame of the file once, all of one size.

    Close the iterator (`contextlib.closing`) when leaving it early, or ffmpeg stays about. The frames are read-only.

    Raises DataError: UNREADABLE where ffmpeg gives up on the file, at its beginning or later.
    """
    arguments = (*_source(video.path), "-fps_mode", "passthrough", "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt")
    frames = 0
    with _messages() as messages, _started((*arguments, "rgb24", "-"), messages) as (process, pipe):
        while (frame := _next_frame(pipe)) is not None:
            frames += 1
            yield frame
    if process.returncode != 0 or frames == 0:
        found = f"a video that cannot be decoded beyond frame {frames}"
        cure = "Convert it to mp4 with a program that plays it."
        raise _unusable(FaultCode.UNREADABLE, video.path, found, "a video that ffmpeg can decode", cure)


@contextmanager
def frame_writer(path: Path, size: tuple[int, int], like: VideoFile) -> Iterator[Callable[[Frame], None]]:
    """Yield a function that adds a frame to a new H.264 video; on leaving, the file is complete.

    path: its suffix, one of WRITTEN_SUFFIXES, decides the container. size: rows and columns of the frames. H.264 wants
    even numbers: where one is odd, the last row or column is stored twice. like: gives frame rate and pixel shape.
    There is no sound, and nothing else of the source's file is copied.

    Raises RunError where the file cannot be written, OSError where the disk is full. When the body fails, what was
    written is left for it to remove.
    """
    rows, columns = (length + length % 2 for length in size)
    pixels = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{columns}x{rows}", "-framerate", str(like.rate))
    filters = f"{_COLOURS},setsar={like.pixel_shape}"
    arguments = (*pixels, "-i", "-", "-vf", filters, *_H264, "-y", f"file:{path.absolute()}")
    with _messages() as messages:
        with _started(arguments, messages, is_fed=True) as (process, pipe):

            def write(frame: Frame) -> None:
                try:
                    _send(pipe, _even(frame))
                except OSError:
                    process.wait()
                    raise _unwritten(path, messages) from None

            yield write
        if process.returncode != 0:
            raise _unwritten(path, messages)


def _ffmpeg() -> str:
    """The program. Raises MissingExtraError where it or the package that brings it is not installed."""
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # RuntimeError: the package is there, but no ffmpeg for this machine
        raise MissingExtraError("imageio-ffmpeg", "video", "reading and writing videos") from None


@contextmanager
def _started(
    arguments: Sequence[str], messages: IO[bytes], *, is_fed: bool = False, level: str = "error"
) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Run ffmpeg while the body runs, and wait for its end; it is killed when the body fails.

    Yields the process and the pipe that it is fed through (`is_fed`), else the one that it answers through.

    It is kept out of this terminal's reach: Ctrl-C is for us alone, or a video would seem to end where it was pressed.
    """
    command = [_ffmpeg(), "-hide_banner", *(() if is_fed else ("-nostdin",)), "-v", level, *arguments]
    with subprocess.Popen(
        command,
        bufsize=0 if is_fed else -1,  # of what is not sent at once, nothing is left to send when the pipe is closed
        stdin=subprocess.PIPE if is_fed else subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if is_fed else subprocess.PIPE,
        stderr=messages,
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    ) as process:
        try:
            yield process, cast("IO[bytes]", process.stdin if is_fed else process.stdout)
        except BaseException:
            process.kill()
            raise


def _messages() -> IO[bytes]:
    """A file for what ffmpeg says: a pipe that nobody empties would stop it."""
    return tempfile.TemporaryFile()


def _text(messages: IO[bytes]) -> str:
    messages.seek(0)
    return messages.read().decode(errors="replace")


def _source(path: Path) -> tuple[str, ...]:
    """Arguments that name the first video stream of a file; covers of films (`v`) are none (`V`)."""
    return "-format_whitelist", _CONTAINERS, "-i", f"file:{path.absolute()}", "-map", "0:V:0"


def _next_frame(stream: IO[bytes]) -> Frame | None:
    """The next picture of a stream of PPM pictures (Netpbm's format: a header of three lines, then RGB)."""
    if not stream.readline():
        return None
    columns, rows = map(int, stream.readline().split())
    stream.readline()
    pixels = stream.read(rows * columns * 3)
    is_whole = len(pixels) == rows * columns * 3
    return np.frombuffer(pixels, np.uint8).reshape(rows, columns, 3) if is_whole else None


def _even(frame: Frame) -> Frame:
    rows, columns, _ = frame.shape
    padding = ((0, rows % 2), (0, columns % 2), (0, 0))
    return np.pad(frame, padding, mode="edge") if rows % 2 or columns % 2 else frame


def _send(stream: IO[bytes], frame: Frame) -> None:
    """Write all of a frame; a signal may interrupt the system in the middle."""
    rest = np.ascontiguousarray(frame).data.cast("B")
    while rest:
        rest = rest[stream.write(rest) :]


def _rate(stream: str, frames: int, microseconds: int) -> Fraction:
    """Frames a second by ffmpeg's description of a stream, which rounds them, else by the file's length.

    Of a video whose rate varies, some containers tell the rate in its quick parts, which its length gives away.
    """
    by_length = Fraction(frames * 10**6, microseconds).limit_denominator(1000) if microseconds > 0 else _USUAL_RATE
    found = re.search(r", ([0-9.]+) fps", stream)
    if found is None or frames < Fraction(found[1]) * (Fraction(microseconds, 10**6) - _LEEWAY_SECONDS):
        return by_length
    exact = round(float(found[1])) * _NTSC
    return exact if f"{float(exact):.2f}" == found[1] else Fraction(found[1])


def _pixel_shape(stream: str) -> Fraction:
    found = re.search(r"\bSAR ([1-9]\d*):([1-9]\d*)", stream)
    return Fraction(int(found[1]), int(found[2])) if found else Fraction(1)


def _last_number(name: str, counts: str) -> int:
    found = re.findall(rf"^{name}=(\d+)", counts, flags=re.MULTILINE)
    return int(found[-1]) if found else 0


def _stop_unless_readable(path: Path) -> None:
    findings = Findings()
    with reading(path, findings), path.open("rb") as stream:
        if not stream.read(1):
            raise _unusable(FaultCode.EMPTY_FILE, path, "an empty file", "a video", "Copy or record it again.")
    if findings.faults:
        raise DataError(findings.faults)


def _unusable(code: FaultCode, path: Path, found: str, expected: str, cure: str) -> DataError:
    return DataError([Fault(code, printable(path), found, expected, cure)])


def _unwritten(path: Path, messages: IO[bytes]) -> RunError | OSError:
    words = _text(messages).strip().splitlines()
    if any(os.strerror(errno.ENOSPC) in line for line in words):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path.parent))
    said = printable(words[-1]) if words else "ffmpeg gave no reason"
    return RunError(f"{path.parent}: the video cannot be written there; is the disk full? ({said})")
