"""A segmented video: every frame, in its colours, with its classes outlined; whole or not at all."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from videos import COLOURS, quarters, read_video, write_video

from genseg.base.files import atomic_path
from genseg.errors import DataError, RunError
from genseg.models import video
from genseg.models.video import VideoResult, segment_video

PALETTE = [(0, 0, 0), (255, 255, 255), (255, 0, 255)]
CLOSE = 8


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_video(tmp_path / "source.mp4", quarters())


def find_box(pixels: np.ndarray) -> np.ndarray:
    """Find class 1 in a box in the middle, whatever is seen."""
    mask = np.zeros(pixels.shape[1:], np.uint8)
    rows, columns = mask.shape
    mask[rows // 4 : rows // 2, columns // 4 : columns // 2] = 1
    return mask


def find_nothing(pixels: np.ndarray) -> np.ndarray:
    return np.zeros(pixels.shape[1:], np.uint8)


def run(source: Path, out: Path, segment: Callable[..., Any] = find_box, **options: Any) -> VideoResult:
    return segment_video(source, out, segment, PALETTE, **{"show_rate": False, **options})


def test_frames_are_segmented_as_channel_row_column_in_red_green_and_blue(source: Path, tmp_path: Path) -> None:
    seen: list[np.ndarray] = []

    def segment(pixels: np.ndarray) -> np.ndarray:
        assert (pixels.dtype, pixels.flags.c_contiguous, pixels.flags.writeable) == (np.uint8, True, True)
        seen.append(pixels)
        return find_nothing(pixels)

    run(source, tmp_path / "out.mp4", segment)
    assert [pixels.shape for pixels in seen] == [(3, 48, 64)] * 8
    np.testing.assert_allclose(seen[0][:, 12, 16], COLOURS[0], atol=CLOSE)
    np.testing.assert_allclose(seen[0][:, 36, 16], COLOURS[2], atol=CLOSE)


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv", "MP4"])
@pytest.mark.parametrize("rate", [25.0, 12.5])
def test_the_result_has_the_frames_the_rate_the_size_and_the_colours_of_the_source(
    tmp_path: Path, suffix: str, rate: float
) -> None:
    frames = quarters()
    result = run(write_video(tmp_path / "a.mkv", frames, rate), tmp_path / f"out.{suffix}", find_nothing)
    seen = read_video(tmp_path / f"out.{suffix}")
    assert result.frames == len(seen.frames) == 8
    assert seen.rate == rate
    np.testing.assert_allclose(seen.frames.mean(axis=(1, 2)), np.mean(frames, axis=(1, 2)), atol=CLOSE)
    np.testing.assert_allclose(seen.frames[:, 12, 16], np.stack(frames)[:, 12, 16], atol=CLOSE)


def test_classes_are_outlined_in_their_colour_and_seen_through_inside(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "out.mkv")
    seen = read_video(tmp_path / "out.mkv").frames.astype(int)
    assert seen[:, 12, 17:31].mean() > seen[:, 9, 17:31].mean() + 80
    np.testing.assert_allclose(seen[0, 18, 24], COLOURS[0], atol=CLOSE)
    np.testing.assert_allclose(seen[0, 30, 24], COLOURS[2], atol=CLOSE)


def test_lines_are_as_wide_as_the_frame_is_large(tmp_path: Path) -> None:
    run(write_video(tmp_path / "a.mkv", [np.zeros((720, 96, 3), np.uint8)]), tmp_path / "out.mkv")
    bright = read_video(tmp_path / "out.mkv").frames[0, 160:220, 36].max(axis=-1) > 128
    assert bright.sum() == 2


@pytest.mark.parametrize(("rows", "columns"), [(47, 64), (48, 63), (47, 63)])
def test_odd_sizes_grow_by_one_and_nothing_is_moved(tmp_path: Path, rows: int, columns: int) -> None:
    frames = quarters(3, rows, columns)
    run(write_video(tmp_path / "a.mkv", frames), tmp_path / "out.mp4", find_nothing)
    seen = read_video(tmp_path / "out.mp4").frames
    assert seen.shape == (3, 48, 64, 3)
    assert np.abs(seen[:, :rows, :columns].astype(int) - frames).mean() < CLOSE


@pytest.mark.parametrize("show_rate", [True, False])
def test_the_rate_of_segmenting_is_written_into_the_corner_unless_not_wanted(
    tmp_path: Path, show_rate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []
    write = video.write_in_corner
    monkeypatch.setattr(video, "write_in_corner", lambda frame, text: (texts.append(text), write(frame, text)))
    monkeypatch.setattr(video, "perf_counter", itertools.count(0, 0.25).__next__)
    white = [np.full((48, 64, 3), 255, np.uint8)] * 3
    run(write_video(tmp_path / "a.mkv", white), tmp_path / "out.mkv", find_nothing, show_rate=show_rate)
    assert texts == ["4.0 frames/s"] * 3 * show_rate
    assert (read_video(tmp_path / "out.mkv").frames[:, 0, 0].max() < 60) == show_rate


def test_the_shown_rate_is_that_of_the_latest_frames(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts: list[str] = []
    ticks = itertools.chain([0.0], *((10.0 * n, 10.0 * n + (5 if n == 0 else 0.5)) for n in range(40)), [400.0])
    monkeypatch.setattr(video, "write_in_corner", lambda _, text: texts.append(text))
    monkeypatch.setattr(video, "perf_counter", ticks.__next__)
    run(write_video(tmp_path / "a.mkv", quarters(40)), tmp_path / "out.mkv", show_rate=True)
    assert (texts[0], texts[-1]) == ("0.2 frames/s", "2.0 frames/s")


def test_the_whole_chain_and_segmenting_are_timed_apart(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "perf_counter", itertools.count().__next__)  # a second from one look to the next
    assert run(source, tmp_path / "out.mp4") == VideoResult(8, 17, 8 / 17, 1.0)


def test_progress_counts_the_frames_of_all_and_ends_full(source: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    run(source, tmp_path / "out.mp4", progress=lambda *step: told.append(step))
    assert told == [("Segmenting", number, 8) for number in (*range(1, 9), 8)]


def test_one_frame_at_a_time_is_held(source: Path, tmp_path: Path) -> None:
    seen: list[weakref.ref[np.ndarray]] = []
    alive: list[int] = []

    def segment(pixels: np.ndarray) -> np.ndarray:
        alive.append(sum(reference() is not None for reference in seen))
        seen.append(weakref.ref(pixels))
        return find_box(pixels)

    run(source, tmp_path / "out.mp4", segment)
    assert max(alive) == 0


def test_a_video_is_written_into_a_new_folder(source: Path, tmp_path: Path) -> None:
    run(source, tmp_path / "new" / "folder" / "out.mp4")
    assert [path.name for path in (tmp_path / "new").rglob("*.*")] == ["out.mp4"]


# What fails leaves nothing behind


@pytest.mark.parametrize("failure", [KeyboardInterrupt, DataError([]), ValueError("network")])
@pytest.mark.parametrize("at", [1, 5])
def test_when_a_frame_fails_or_ctrl_c_comes_nothing_stays_and_an_older_result_is_kept(
    source: Path, tmp_path: Path, failure: BaseException, at: int
) -> None:
    (tmp_path / "out.mp4").write_text("older")
    numbers = itertools.count(1)

    def segment(pixels: np.ndarray) -> np.ndarray:
        if next(numbers) == at:
            raise failure
        return find_box(pixels)

    with pytest.raises(failure if isinstance(failure, type) else type(failure)):
        run(source, tmp_path / "out.mp4", segment)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "source.mp4"]
    assert (tmp_path / "out.mp4").read_text() == "older"


def test_when_the_disk_is_full_nothing_stays(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "atomic_path", lambda path: atomic_path(path.parent / "gone" / path.name))
    with pytest.raises(RunError, match="cannot be written"):
        run(source, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["source.mp4"]


def test_of_a_source_that_is_no_video_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("words")
    with pytest.raises(DataError):
        run(tmp_path / "a.mp4", tmp_path / "out" / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_result_that_can_be_no_video_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    for name, reason in (("out.gif", r"\.avi, \.mkv, \.mp4"), ("out", r"\.mp4"), ("folder.mp4", "is a folder")):
        with pytest.raises(RunError, match=reason):
            run(source, tmp_path / name)


@pytest.mark.fault(88)
def test_of_a_missing_video_and_an_impossible_result_the_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.mp4"):
        run(tmp_path / "gone.mp4", tmp_path / "out.gif")


@pytest.mark.parametrize("kind", ["same", "link", "hard link", "roundabout"])
def test_the_source_is_never_written_over(source: Path, tmp_path: Path, kind: str) -> None:
    content, out = source.read_bytes(), tmp_path / "other.mp4"
    if kind == "link":
        out.symlink_to(source)
    elif kind == "hard link":
        out.hardlink_to(source)
    else:
        out = source if kind == "same" else tmp_path / "new" / ".." / "source.mp4"
    with pytest.raises(RunError, match="over itself"):
        run(source, out)
    assert source.read_bytes() == content


def test_a_rate_that_no_decimal_tells_is_kept(tmp_path: Path) -> None:
    rate = Fraction(30000, 1001)
    run(write_video(tmp_path / "a.mkv", quarters(), float(rate)), tmp_path / "out.mp4")
    assert video.open_video(tmp_path / "out.mp4").rate == rate
