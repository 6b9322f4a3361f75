"""The fuzzing: recipes can be written down and done again, what ends a process is noticed, and counts add up."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.robustness import fuzz
from benchmarks.robustness.fuzz import Inputs, Limits, Recipe, Record, Worker, read_record, write_record
from benchmarks.robustness.fuzz_edits import damage, draw_damage
from benchmarks.robustness.fuzz_samples import Sample, make_samples

WORKER = """
import json, os, signal, sys, time
print("ready", flush=True)
for line in sys.stdin:
    name = json.loads(line)["path"]
    if "abort" in name: os.abort()
    if "sleep" in name: time.sleep(60)
    print(json.dumps({"outcome": "read", "detail": "", "where": "", "seconds": 0, "printed": 0}), flush=True)
"""


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Small valid files of every format."""
    return make_samples(tmp_path_factory.mktemp("samples") / "made")


def test_a_number_gives_a_recipe_that_survives_json(samples: list[Sample]) -> None:
    inputs = Inputs(samples, seed=3)
    formats: Counter[str] = Counter()
    for number in range(200):
        recipe = inputs.recipe(number)
        assert Recipe.from_json(json.loads(json.dumps(asdict(recipe)))) == recipe == Inputs(samples, 3).recipe(number)
        formats[inputs.samples[recipe.sample].format] += 1
    assert len(formats) == len({sample.format for sample in samples})


def test_damage_changes_most_files_and_is_the_same_again(samples: list[Sample]) -> None:
    changed = 0
    for number, sample in enumerate(samples):
        content = (sample.folder / sample.damaged[0]).read_bytes()
        edits, finish = draw_damage(content, random.Random(number), [content])
        changed += damage(content, edits, finish) != content
        assert damage(content, edits, finish) == damage(content, edits, finish)
    assert changed > 0.8 * len(samples)


def test_a_process_that_ends_or_hangs_is_noticed_and_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    monkeypatch.setattr(fuzz, "WORKER", script)
    worker = Worker(Limits(4, seconds=0.2), tmp_path)
    answers = [worker.read(Path(name), "PNG", False) for name in ("fine", "abort", "fine", "sleep", "fine")]
    worker.stop()
    assert [answer["outcome"] for answer in answers] == ["read", "signal", "read", "time", "read"]
    assert answers[1]["detail"] == "SIGABRT"


def test_counts_add_up_and_a_finding_keeps_its_smallest_input(samples: list[Sample], tmp_path: Path) -> None:
    record, recipe = Record(), Inputs(samples, 0).recipe(0)
    crash = {"outcome": "crash", "where": "a.py:b", "detail": "", "seconds": 0.1, "printed": 0}
    record.add(samples[0], recipe, 100, crash)
    write_record(record, tmp_path / "fuzz.json")
    record = read_record(tmp_path / "fuzz.json")
    record.add(samples[0], Inputs(samples, 0).recipe(1), 50, crash)
    record.add(samples[0], recipe, 100, {**crash, "outcome": "refused", "detail": "unreadable too-large"})
    assert (record.inputs, record.by_format[samples[0].format]) == (3, Counter(crash=2, refused=1))
    (finding,) = record.findings
    assert (finding["times"], finding["bytes"]) == (2, 50)
    assert record.refusals == Counter(["unreadable", "too-large"])


def test_a_short_run_reads_damaged_files_and_leaves_the_samples_whole(samples: list[Sample], tmp_path: Path) -> None:
    before = {(sample.name, file): (sample.folder / file).read_bytes() for sample in samples for file in sample.damaged}
    record, worker = Record(), Worker(Limits(4, 20), tmp_path)
    fuzz.fuzz(record, Inputs(samples, 1), worker, 1, 2, tmp_path / "fuzz.json")
    worker.stop()
    assert record.inputs == record.next["1"] > 0
    assert set(sum(record.by_format.values(), Counter())) <= {"read", "refused"}
    assert all(
        (sample.folder / file).read_bytes() == before[sample.name, file]
        for sample in samples
        for file in sample.damaged
    )
