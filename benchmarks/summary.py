#!/usr/bin/env python3
"""Put the kept results of the foundation suite into one Markdown table, and that table into README.

    benchmarks/summary.py            print the table
    benchmarks/summary.py --write    put it between the markers in README.md

Each cell is the mean test Dice over the seeds. The gain is paired case by case, averaged over the seeds that both arms
have, with a 95 % bootstrap interval over cases. A dash stands for what was not run; the pretrained encoder is for
pictures alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from locations import RESULTS

from genseg.evaluate import paired_bootstrap

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
BASELINE, PRETRAINED = "strong-augmentation", "pretrained-encoder"
HEAD = (
    "| task | labels | seeds | U-Net from random weights | U-Net, pretrained encoder | gain, Dice points (95 %) |\n"
    "|---|---|---|---|---|---|\n"
)
Results = dict[str, dict[str, dict[int, dict[str, Any]]]]


def read_results() -> Results:
    """Every kept record: task -> arm -> seed -> record."""
    results: Results = defaultdict(lambda: defaultdict(dict))
    for path in sorted((RESULTS / "foundation").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        results[record["dataset"]][record["arm"]][record["seed"]] = record
    return results


def row(task: str, arms: dict[str, dict[int, dict[str, Any]]]) -> str:
    """One line of the table."""
    records = [record for seeds in arms.values() for record in seeds.values()]
    seeds = " and ".join(sorted({str(len(seeds)) for seeds in arms.values()}))
    cells = [task, str(records[0]["labels"]), seeds, mean(arms, BASELINE), mean(arms, PRETRAINED), gain(arms)]
    return "| " + " | ".join(cells) + " |\n"


def mean(arms: dict[str, dict[int, dict[str, Any]]], arm: str) -> str:
    """Mean Dice over the seeds and what a run cost."""
    records = list(arms.get(arm, {}).values())
    if not records:
        return "-"
    minutes = np.mean([record["seconds"] for record in records]) / 60
    dice = np.mean([record["dice"] for record in records])
    return f"{dice:.3f} ({records[0]['updates']} updates, {minutes:.1f} min)"


def gain(arms: dict[str, dict[int, dict[str, Any]]]) -> str:
    """Difference of the arms in Dice points, paired by case."""
    shared = sorted(set(arms.get(BASELINE, {})) & set(arms.get(PRETRAINED, {})))
    if not shared:
        return "-"
    first, second = (average_by_case([arms[arm][seed] for seed in shared]) for arm in (PRETRAINED, BASELINE))
    found = paired_bootstrap([first[name] for name in first], [second[name] for name in first])
    return f"{100 * found.difference:+.1f} ({100 * (found.low or 0):+.1f} to {100 * (found.high or 0):+.1f})"


def average_by_case(records: list[dict[str, Any]]) -> dict[str, float]:
    """Each case's Dice, averaged over records."""
    return {name: float(np.mean([r["dice_by_case"][name] for r in records])) for name in records[0]["dice_by_case"]}


def main() -> None:
    """Print the table, or write it into README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    results = read_results()
    table = HEAD + "".join(row(task, results[task]) for task in sorted(results))
    if not parser.parse_args().write:
        sys.stdout.write(table)
        return
    text = README.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{table}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
