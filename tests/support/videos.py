"""Small videos, written and read by ffmpeg without any of the code that is tested."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

imageio_ffmpeg: Any = pytest.importorskip("imageio_ffmpeg")

COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30))
"""What the quarters of a frame show: upper left, upper right, lower left, lower right."""


class Seen(NamedTuple):
    """What ffmpeg reads from a file: frames `(frame, row, column, 3)`, and its description of the stream."""

    frames: np.ndarray
    description: str

    @property
    def rate(self) -> float:
        return float(re.findall(r", ([0-9.]+) fps", self.description)[0])


def quarters(count: int = 8, rows: int = 48, columns: int = 64) -> list[np.ndarray]:
    """RGB frames whose quarters have the four COLOURS; from frame to frame all get 5 darker."""
    frame = np.empty((rows, columns, 3), np.int16)
    top, left = rows // 2, columns // 2
    for place, colour in zip(np.ndindex(2, 2), COLOURS, strict=True):
        frame[top * place[0] : top * (1 + place[0]) + rows % 2, left * place[1] :] = colour
    return [np.clip(frame - 5 * number, 0, 255).astype(np.uint8) for number in range(count)]


def write_video(path: Path, frames: Iterable[np.ndarray], rate: float = 25.0, *options: str) -> Path:
    """Write RGB frames nearly without loss. options: further arguments for ffmpeg, of the output."""
    frames = list(frames)
    writer = imageio_ffmpeg.write_frames(
        path,
        frames[0].shape[1::-1],
        pix_fmt_out="yuv444p",
        fps=rate,
        quality=10,
        codec="libx264",
        macro_block_size=1,
        ffmpeg_log_level="error",
        output_params=list(options),
    )
    writer.send(None)
    for frame in frames:
        writer.send(frame)
    writer.close()
    return path


def ffmpeg(*arguments: str | Path) -> None:
    """Run ffmpeg, which has to succeed."""
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments], check=True)


def read_video(path: Path) -> Seen:
    """Read a whole video."""
    raw = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", path, *raw], capture_output=True, check=True)
    source, _, output = done.stderr.decode().partition("Output #0")
    columns, rows = map(int, re.findall(r" (\d+)x(\d+)[, ]", output)[0])
    return Seen(np.frombuffer(done.stdout, np.uint8).reshape(-1, rows, columns, 3), source)
