from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from genseg.evaluate.metrics import CaseScores, SurfaceTolerance
from genseg.evaluate.report import pictured_cases, write_report
from genseg.evaluate.summary import EvaluationSummary, summarise

NAMES = ("background", "liver", "tumour")


def picture(name: str) -> NDArray[np.uint8]:
    return np.random.default_rng(ord(name[-1])).integers(0, 255, (8, 24, 3), dtype=np.uint8)


def many(count: int) -> EvaluationSummary:
    """Cases "c0", "c1" ... of rising Dice, one class."""
    pixels = SurfaceTolerance(2.0, "px")
    cases = [
        CaseScores(f"c{k}", (k / 10,), (k / 20,), (float(k),), (k / 10,), (5,), (5,), pixels) for k in range(count)
    ]
    return summarise(cases, ("background", "lesion"), {})


class Page(HTMLParser):
    """Tags with their attributes, and the text, of a page; fails where tags do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += f" {data}"


def report(summary: EvaluationSummary, folder: Path, title: str = "Report") -> Page:
    write_report(summary, picture, folder / "report.html", title)
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    page.text = re.sub(r"\s+", " ", page.text)
    return page


def test_figures_are_there(summary: EvaluationSummary, tmp_path: Path) -> None:
    text = report(summary, tmp_path, "Livers").text
    dice = summary.overall.dice
    assert "Livers" in text
    assert f"Dice {dice.mean:.3f}" in text
    assert f"95 % interval {dice.low:.3f} to {dice.high:.3f}; mean over 4 cases and 2 classes" in text
    assert "What Dice means." in text
    assert "Look twice." in text
    assert "2 of 4 undefined, left out" in text
    assert "In 1 of 4 cases the model missed at least one class entirely." in text
    assert "b liver 0.900 0.800 1.00 0.900 10 11 tumour 0.000 0.000 undefined 0.000 20 0" in text
    assert "model unet seed 0 Surface tolerance 1 mm" in text


def test_nothing_is_fetched_or_run(summary: EvaluationSummary, tmp_path: Path) -> None:
    page = report(summary, tmp_path)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    links = [value for _, attributes in page.tags for key, value in attributes.items() if key in ("src", "href")]
    assert links
    assert all(str(link).startswith("data:image/png;base64,") for link in links)
    assert not re.search(r"url\(|@import|https?:", (tmp_path / "report.html").read_text(encoding="utf-8"))


def test_pictures_are_kept_exactly(summary: EvaluationSummary, tmp_path: Path) -> None:
    sources = [attributes["src"] for tag, attributes in report(summary, tmp_path).tags if tag == "img"]
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(str(s).split(",")[1])))) for s in sources]
    assert len(shown) == len(pictured_cases(summary))
    for array, name in zip(shown, pictured_cases(summary), strict=True):
        np.testing.assert_array_equal(array, picture(name))


def test_names_from_outside_are_text_alone(cases: list[CaseScores], tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\"' onload='x"
    summary = summarise(
        [replace(case, name=hostile + case.name) for case in cases],
        ("background", hostile + "k", hostile + "m"),
        {hostile: {hostile: 1}},
        (hostile,),
    )
    page = report(summary, tmp_path, title=hostile)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "onload" not in {key for _, attributes in page.tags for key in attributes}
    assert f"{hostile}a" in page.text


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, {"c0": "The only case"}),
        (2, {"c1": "Best case", "c0": "Worst case"}),
        (3, {"c2": "Best case", "c1": "Median case", "c0": "Worst case"}),
        (
            9,
            {
                "c8": "Best case",
                "c4": "Median case",
                "c0": "Worst case",
                "c1": "Among the worst",
                "c2": "Among the worst",
            },
        ),
    ],
)
def test_which_cases_are_pictured(count: int, expected: dict[str, str]) -> None:
    assert list(pictured_cases(many(count)).items()) == list(expected.items())


def test_ties_go_by_name_whatever_the_order(cases: list[CaseScores]) -> None:
    equal = [replace(cases[0], name=name) for name in "dbca"]
    assert pictured_cases(summarise(equal, NAMES, {})) == pictured_cases(summarise(equal[::-1], NAMES, {}))


def test_only_the_pictured_cases_are_asked_for(tmp_path: Path) -> None:
    summary, asked = many(9), []

    def noted(name: str) -> NDArray[np.uint8]:
        asked.append(name)
        return picture(name)

    write_report(summary, noted, tmp_path / "report.html")
    assert asked == list(pictured_cases(summary))
    mapping = {name: picture(name) for name in asked}
    before = (tmp_path / "report.html").read_bytes()
    write_report(summary, mapping, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes() == before


def test_one_case_says_that_no_interval_can_be_given(tmp_path: Path) -> None:
    text = report(many(1), tmp_path).text
    assert "95 % interval not estimable from 1 case; mean over 1 case " in text
    assert "probably too narrow" not in text


@pytest.mark.parametrize(("count", "warned"), [(2, True), (9, True), (10, False)])
def test_few_cases_are_said_to_be_few(count: int, warned: bool, tmp_path: Path) -> None:
    assert ("probably too narrow" in report(many(count), tmp_path).text) is warned


def test_pictures_of_pixels_are_not_called_voxels(tmp_path: Path) -> None:
    text = report(many(4), tmp_path).text
    assert "Expert (pixels)" in text
    assert "HD95 (px)" in text
    assert "voxels" not in text


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_a_wrong_picture_leaves_the_old_report(wrong: NDArray[np.generic], tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(ValueError, match="expected a 2D image"):
        write_report(many(3), dict.fromkeys(("c0", "c1", "c2"), wrong), tmp_path / "report.html")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


def test_a_file_name_that_is_no_text_can_be_reported(cases: list[CaseScores], tmp_path: Path) -> None:
    summary = summarise([replace(cases[0], name="a\udcff")], NAMES, {})
    write_report(summary, {"a\udcff": picture("a")}, tmp_path / "report.html")
    summary.write_json(tmp_path / "evaluation.json")
    summary.write_csv(tmp_path / "cases.csv")
    assert json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))["cases"][0]["case"] == "a\udcff"
    for name in ("report.html", "cases.csv"):
        assert "a\\udcff" in (tmp_path / name).read_text(encoding="utf-8")


@pytest.mark.fault(91)
def test_characters_that_cannot_be_seen_are_escaped_in_report_and_json(cases: list[CaseScores], tmp_path: Path) -> None:
    hostile = "a\x1b[31m\u202egnp\x9b"
    summary = summarise([replace(cases[0], name=hostile), *cases[1:]], NAMES, {"data": hostile})
    write_report(summary, lambda _: picture("a"), tmp_path / "report.html")
    summary.write_json(tmp_path / "scores.json")
    html, scores = (tmp_path / "report.html").read_text("utf-8"), (tmp_path / "scores.json").read_bytes()
    assert not {"\x1b", "\u202e", "\x9b"} & set(html)
    assert html.count("a\\x1b[31m\\u202egnp\\x9b") >= 2
    assert scores.isascii()
    assert b"\x1b" not in scores
    assert json.loads(scores)["cases"][0]["case"] == hostile
