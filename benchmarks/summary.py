#!/usr/bin/env python3
"""Put the kept results of the suites into Markdown tables, and these into README.

    benchmarks/summary.py            print the tables
    benchmarks/summary.py --write    put them between the markers in README.md

Dice is the mean over test cases and seeds. Differences are in Dice points, paired case by case, averaged over the seeds
that both arms have, with a 95 % bootstrap interval over cases; over several tasks each task counts alike. A dash stands
for what was not run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from locations import RESULTS

from genseg.config import Arm
from genseg.evaluate import PairedDifference, paired_bootstrap_over_strata

README = Path(__file__).parents[1] / "README.md"
WAYS: tuple[str, ...] = get_args(Arm)
BASELINE = "strong-augmentation"
GAINS = (("separate", BASELINE), ("joint", BASELINE), ("joint", "joint-cut"))
SEGMENTERS = ("unet-small", "unet-pretrained")

Record = dict[str, Any]
Arms = dict[str, dict[int, Record]]
"""The records of one task: arm -> seed -> record."""


def read_results(suite: str) -> dict[str, Arms]:
    """Every kept record of a suite, by task."""
    results: dict[str, Arms] = defaultdict(lambda: defaultdict(dict))
    for path in sorted((RESULTS / suite).glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        results[record["dataset"]][record["arm"]][record["seed"]] = record
    return results


def foundation_table() -> str:
    """Both networks on real pairs alone."""
    lines = [
        "| task | labels | seeds | U-Net from random weights | U-Net, pretrained encoder | gain, Dice points (95 %) |",
        "|---|---|---|---|---|---|",
    ]
    for task, arms in sorted(read_results("foundation").items()):
        labels = next(iter(arms[BASELINE].values()))["labels"]
        networks = [f"{mean([arms], arm)}{cost(arms, arm)}" for arm in (BASELINE, "pretrained-encoder")]
        gain = show(difference([arms], "pretrained-encoder", BASELINE))
        lines.append(line([task, str(labels), seeds(arms, (BASELINE,)), *networks, gain]))
    return "\n".join(lines)


def joint_table(segmenter: str) -> str:
    """Five ways of training one network, and what the last three bring."""
    results = {task: of_segmenter(arms, segmenter) for task, arms in sorted(read_results("joint").items())}
    results = {task: arms for task, arms in results.items() if set(arms) - {BASELINE}}
    if not results:
        return "Not run yet."
    gains = [f"{first} - {second}" for first, second in GAINS]
    lines = [line(["task", "labels", "seeds", *WAYS, *gains]), "|" + "---|" * (3 + len(WAYS) + len(gains))]
    for task, arms in results.items():
        labels = next(record for found in arms.values() for record in found.values())["labels"]
        lines.append(line([task, str(labels), seeds(arms, WAYS), *joint_cells([arms])]))
    if len(results) > 1:
        lines.append(line([f"mean of {len(results)}", "", "", *joint_cells(list(results.values()))]))
    return "\n".join(lines)


def joint_cells(tasks: Sequence[Arms]) -> list[str]:
    """Mean Dice of every way of training, and the gains."""
    return [*(mean(tasks, way) for way in WAYS), *(show(difference(tasks, *gain)) for gain in GAINS)]


def of_segmenter(arms: Arms, segmenter: str) -> Arms:
    """The arms of one segmenter by their way of training."""
    ending = f"-{segmenter}"
    return {arm.removesuffix(ending): found for arm, found in arms.items() if arm.endswith(ending)}


def line(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def seeds(arms: Arms, names: Sequence[str]) -> str:
    """How many seeds the arms were run with."""
    counts = sorted({len(arms[name]) for name in names if name in arms})
    return " to ".join(str(count) for count in sorted({counts[0], counts[-1]}))


def mean(tasks: Sequence[Arms], arm: str) -> str:
    """Mean Dice of an arm over its seeds, then over tasks; a dash where one was not run."""
    if not all(arms.get(arm) for arms in tasks):
        return "-"
    return f"{np.mean([np.mean([record['dice'] for record in arms[arm].values()]) for arms in tasks]):.3f}"


def cost(arms: Arms, arm: str) -> str:
    """How many updates a run made, and how long it took on average."""
    records = list(arms.get(arm, {}).values())
    if not records:
        return ""
    return f" ({records[0]['updates']} updates, {np.mean([record['seconds'] for record in records]) / 60:.1f} min)"


def differences(arms: Arms, first: str, second: str) -> list[float]:
    """First minus second, case by case, averaged over the seeds that both have; empty where they share none."""
    shared = sorted(set(arms.get(first, {})) & set(arms.get(second, {})))
    if not shared:
        return []
    one, other = (average_by_case([arms[arm][seed] for seed in shared]) for arm in (first, second))
    return [one[name] - other[name] for name in one]


def average_by_case(records: Sequence[Record]) -> dict[str, float]:
    """Each case's Dice, averaged over records."""
    return {name: float(np.mean([r["dice_by_case"][name] for r in records])) for name in records[0]["dice_by_case"]}


def difference(tasks: Sequence[Arms], first: str, second: str) -> PairedDifference | None:
    """What the first arm brings over the second on the mean of the tasks; None where they share no seed on one."""
    found = [differences(arms, first, second) for arms in tasks]
    return paired_bootstrap_over_strata(found) if all(found) else None


def show(found: PairedDifference | None) -> str:
    """Dice points with interval."""
    if found is None or found.difference is None or found.low is None or found.high is None:
        return "-"
    return f"{100 * found.difference:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def main() -> None:
    """Print the tables, or write them into README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    tables = {"results": foundation_table(), **{f"joint {name}": joint_table(name) for name in SEGMENTERS}}
    if not parser.parse_args().write:
        sys.stdout.write("\n\n".join(tables.values()) + "\n")
        return
    text = README.read_text(encoding="utf-8")
    for name, table in tables.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}\n{table}\n{end}{after}"
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
