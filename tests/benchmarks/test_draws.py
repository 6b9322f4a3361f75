"""Draws: other cases first, every name kept, test names where they were."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.accuracy.draws import drawn
from genseg.examine.split import labelled_subset
from genseg.index import index_dataset


def test_a_draw_puts_other_cases_first_and_keeps_test_cases(rgb_phantoms: Path, tmp_path: Path) -> None:
    found = [index_dataset(drawn(rgb_phantoms, draw, tmp_path / str(draw))) for draw in range(3)]
    orders = [[case.name for case in labelled_subset(index, None)] for index in found]
    assert len({tuple(order) for order in orders}) == 3
    assert len({tuple(sorted(order)) for order in orders}) == 1
    assert len({tuple(case.name for case in index.entries if case.split == "test") for index in found}) == 1


def test_a_draw_is_the_same_again_and_0_is_the_data_set_itself(rgb_phantoms: Path, tmp_path: Path) -> None:
    texts = []
    for name in ("one", "two"):
        texts.append((drawn(rgb_phantoms, 1, tmp_path / name) / "dataset.json").read_text(encoding="utf-8"))
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["class_names"] == json.loads((rgb_phantoms / "dataset.json").read_text())["class_names"]
    assert drawn(rgb_phantoms, 0, tmp_path / "unused") == rgb_phantoms
