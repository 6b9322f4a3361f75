"""Video files: what is a video, its frames in their colours, and files that are whole or refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from videos import ffmpeg, quarters, read_video, write_video

from genseg.errors import DataError, FaultCode, MissingExtraError, RunError
from genseg.models.video_file import VideoFile, frame_writer, open_video, read_frames

SQUARE = Fraction(1)
CLOSE = 6
"""Levels of 255 by which a colour may be off after lossy compression."""


def distance(one: Any, other: Any) -> float:
    """Greatest mean difference of a frame, in levels."""
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean(axis=(1, 2, 3)).max())


def code_of(path: Path) -> FaultCode:
    with pytest.raises(DataError) as caught:
        list(read_frames(open_video(path)))
    assert caught.value.faults[0].file == str(path)
    return caught.value.faults[0].code


def write_all(
    path: Path, frames: Sequence[np.ndarray], rate: Fraction = Fraction(25), shape: Fraction = SQUARE
) -> Path:
    """Write frames with the writer that is tested."""
    with frame_writer(path, frames[0].shape[:2], VideoFile(path, rate, len(frames), shape)) as write:
        for frame in frames:
            write(frame)
    return path


def damaged(path: Path, *options: str, keep: float = 0.6) -> Path:
    """A video of noise of which only the first part is there."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), np.uint8)
    content = write_video(path, noise, 25, *options).read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


# Reading


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv", "mov"])
def test_every_frame_is_read_in_order_and_in_its_colours(tmp_path: Path, suffix: str) -> None:
    frames = quarters()
    video = open_video(write_video(tmp_path / f"a.{suffix}", frames))
    assert (video.frames, video.pixel_shape) == (8, SQUARE)
    assert distance(list(read_frames(video)), frames) < CLOSE


@pytest.mark.parametrize("rate", [5, 25, 12.5, Fraction(30000, 1001), Fraction(24000, 1001), 60])
def test_the_frame_rate_is_known_exactly(tmp_path: Path, rate: float) -> None:
    assert open_video(write_video(tmp_path / "a.mp4", quarters(4), float(rate))).rate == Fraction(rate)


def test_a_rate_that_the_file_does_not_tell_is_found_from_its_length(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "a.mkv", quarters(40), 1000))
    assert float(video.rate) == pytest.approx(1000, rel=0.1)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_frame_that_stays_long_is_one_frame_and_the_mean_rate_is_known(tmp_path: Path, suffix: str) -> None:
    slow = ("-vf", "setpts='if(gt(N,3),N+92,N)/(25*TB)'", "-fps_mode", "vfr")  # 8 frames in 4 seconds
    video = open_video(write_video(tmp_path / f"a.{suffix}", quarters(), 25, *slow))
    assert len(list(read_frames(video))) == video.frames == 8
    assert float(video.rate) == pytest.approx(2, rel=0.1)


def test_frames_are_upright_when_the_file_says_that_they_are_turned(tmp_path: Path) -> None:
    lying = write_video(tmp_path / "a.mp4", quarters(3))
    ffmpeg("-display_rotation", "90", "-i", lying, "-c", "copy", tmp_path / "turned.mp4")
    frames = list(read_frames(open_video(tmp_path / "turned.mp4")))
    assert frames[0].shape == (64, 48, 3)
    assert distance(frames, [np.rot90(frame) for frame in quarters(3)]) < CLOSE


def test_the_shape_of_pixels_is_known(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", quarters(2), 25, "-vf", "setsar=16/15")
    assert open_video(path).pixel_shape == Fraction(16, 15)


def test_nothing_of_a_video_is_held_back_when_it_is_left_early(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "a.mp4", quarters(20, 240, 320)))
    with started_processes() as processes, closing(read_frames(video)) as frames:
        next(frames)
    assert [process.poll() is not None for process in processes] == [True]


@contextmanager
def started_processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes that are started while the body runs."""
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def remember(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(start(*arguments, **options))
        return started[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", remember)
        yield started


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX's")
def test_ctrl_c_does_not_reach_ffmpeg(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "a.mp4", quarters(20, 240, 320)))
    with started_processes() as processes, closing(read_frames(video)) as frames:
        next(frames)
        assert os.getpgid(processes[0].pid) != os.getpgrp()


# Files that are no videos


@pytest.mark.parametrize("name", ["text.mp4", "text.txt", "list.m3u8"])
def test_texts_and_lists_are_no_videos(tmp_path: Path, name: str) -> None:
    video = write_video(tmp_path / "a.mp4", quarters(2))
    (tmp_path / name).write_text(f"#EXTM3U\n#EXTINF:1,\n{video.name}\n" if name == "list.m3u8" else "words\n" * 999)
    assert code_of(tmp_path / name) is FaultCode.UNKNOWN_FORMAT


def test_pictures_and_sounds_are_no_videos(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "picture.png")
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", tmp_path / "sound.mp4")
    for name in ("picture.png", "sound.mp4"):
        assert code_of(tmp_path / name) is FaultCode.UNKNOWN_FORMAT


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert code_of(tmp_path / "a.mp4") is FaultCode.UNREADABLE
    assert code_of(tmp_path) is FaultCode.UNREADABLE


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert code_of(tmp_path / "a.mp4") is FaultCode.EMPTY_FILE


def test_a_video_without_frames_is_named(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.avi", quarters(2))
    ffmpeg("-i", source, "-c", "copy", "-frames:v", "0", tmp_path / "b.avi")
    assert code_of(tmp_path / "b.avi") is FaultCode.EMPTY_FILE


@pytest.mark.parametrize(("name", "options"), [("a.mp4", ("-movflags", "+faststart")), ("a.mkv", ())])
def test_a_video_that_is_cut_off_is_named_before_it_is_decoded(
    tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    with pytest.raises(DataError, match="ends too early") as caught:
        open_video(damaged(tmp_path / name, *options))
    assert caught.value.faults[0].code is FaultCode.UNREADABLE


def test_an_mp4_without_its_end_has_no_table_of_frames(tmp_path: Path) -> None:
    assert code_of(damaged(tmp_path / "a.mp4")) is FaultCode.UNKNOWN_FORMAT


def test_a_video_whose_frames_are_rubbish_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    ffmpeg("-i", write_video(tmp_path / "a.mkv", quarters()), "-c:v", "mpeg2video", path)
    content = bytearray(path.read_bytes())
    start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    content[start:end] = bytes(end - start)
    path.write_bytes(content)
    assert code_of(path) is FaultCode.UNREADABLE


def test_a_video_that_ffmpeg_cannot_decode_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", quarters(2))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"none"))
    assert code_of(path) is FaultCode.UNREADABLE


def test_what_ffmpeg_says_stays_off_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code_of(damaged(tmp_path / "a.mkv"))
    write_all(tmp_path / "b.avi", quarters(2, 4, 4))
    assert capfd.readouterr() == ("", "")


def test_without_the_package_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", quarters(2))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingExtraError, match=r"genseg\[video\]"):
        open_video(path)


# Writing


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
def test_a_written_video_has_the_frames_colours_and_rate_that_were_given(
    tmp_path: Path, suffix: str, rate: Fraction
) -> None:
    path = write_all(tmp_path / f"a.{suffix}", quarters(), rate)
    assert distance(read_video(path).frames, quarters()) < CLOSE
    assert open_video(path).rate == rate


@pytest.mark.parametrize("size", [(47, 64), (48, 63), (47, 63), (1, 1)])
def test_an_odd_row_or_column_is_stored_twice(tmp_path: Path, size: tuple[int, int]) -> None:
    frame = np.full((*size, 3), 40, np.uint8)
    frame[-3:, -3:] = 220
    (seen,) = read_video(write_all(tmp_path / "a.mp4", [frame])).frames
    assert seen.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert seen[-1, -1].min() > 180
    assert distance(seen[None, : size[0], : size[1]], frame[None]) < CLOSE


def test_pixels_keep_their_shape_in_a_written_video(tmp_path: Path) -> None:
    path = write_all(tmp_path / "a.mp4", quarters(1), shape=Fraction(16, 15))
    assert "SAR 16:15" in read_video(path).description


def test_colours_are_marked_for_players_that_would_guess_them(tmp_path: Path) -> None:
    assert "(tv, bt709" in read_video(write_all(tmp_path / "a.mp4", quarters(1))).description


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_signal_in_the_middle_of_a_frame_loses_nothing(tmp_path: Path) -> None:
    frames = quarters(4, 480, 640)
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        path = write_all(tmp_path / "a.mp4", frames)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert distance(read_video(path).frames, frames) < CLOSE


def test_what_has_failed_is_not_encoded_to_its_end(tmp_path: Path) -> None:
    with (
        started_processes() as processes,
        pytest.raises(KeyboardInterrupt),
        frame_writer(tmp_path / "a.mp4", (48, 64), VideoFile(tmp_path, Fraction(25), 1, SQUARE)),
    ):
        raise KeyboardInterrupt
    assert processes[0].returncode not in {0, None}


def test_a_folder_that_is_not_there_is_said_with_ffmpegs_words(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"gone: .*No such file"):
        write_all(tmp_path / "gone" / "a.mp4", quarters(3, 480, 640))


@pytest.mark.skipif(os.name != "posix", reason="limits on files are POSIX's")
@pytest.mark.parametrize("count", [2, 60])
def test_a_full_disk_is_noticed_also_at_the_very_end(tmp_path: Path, count: int) -> None:
    import resource

    noise = np.random.default_rng(0).integers(0, 256, (count, 48, 64, 3), np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        with pytest.raises(RunError, match="disk full"):
            write_all(tmp_path / "a.mp4", noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
