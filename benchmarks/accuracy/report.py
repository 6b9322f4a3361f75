"""What the kept records of a suite say: tables as Markdown, and with the pictures as HTML.

    python -m benchmarks.accuracy.report SUITE                  print the tables
    python -m benchmarks.accuracy.report SUITE --development    the ways on the labelled cases left over, by which
                                                                choices may be made
    python -m benchmarks.accuracy.report SUITE -o DIR           write DIR/report.md, DIR/report.html and the pictures
    python -m benchmarks.accuracy.report --pages                put the tables of README and docs/results.md between
                                                                their markers, and draw the curves in docs/images

Dice is the mean over test cases, seeds and draws of the labelled cases, in brackets over how many runs. Differences are
in Dice points with 95 % intervals over cases and, where there are several, runs, paired case by case over the runs that
both have; on the mean each task counts alike. A dash stands for what was not run; p-values are two-sided, of the same
bootstrap.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import jinja2
import numpy as np

from benchmarks.accuracy.kept import kept_tables
from benchmarks.accuracy.pictures import draw_label_curves
from benchmarks.accuracy.records import (
    Cell,
    Record,
    difference,
    difference_across,
    mean_dice,
    of_segmenter,
    read_cells,
    shared_repeats,
)
from benchmarks.accuracy.suite import RECIPE, Suite, suite_names
from benchmarks.accuracy.tables import Table, show_difference
from benchmarks.accuracy.worth import BASELINE, worth_table
from benchmarks.locations import ROOT

PAGES = [ROOT / page for page in ("README.md", "docs/results.md")]
IMAGES = ROOT / "docs" / "images"
TEMPLATE = Path(__file__).parent / "templates" / "report.html.j2"
DEFAULT = "unet-pretrained"
"""Network that is trained on 2D images unless another is asked for."""

TASKS = {
    "polyp_cvc_clinicdb": "polyps, colonoscopy",
    "foot_ulcer_fuseg": "foot ulcers, photographs",
    "skin_isic2017": "skin lesions, dermoscopy",
    "breast_us_busi": "breast tumours, ultrasound",
    "lung_heart_jsrt_multiclass": "lungs and heart, radiographs",
}
"""Tasks as readers know them."""

EXPLAINED = " ".join((__doc__ or "").split("\n\n")[-1].split())


def ways_table(suite: Suite, cells: Sequence[Cell], title: str) -> Table:
    """Every way of training, and what one brings over another.

    cells: of one segmenter and number of labels asked for. The mean of a difference is over the tasks that both were
    run on.
    """
    gains = tuple(f"{first} - {second}" for first, second in suite.compared)
    best = ("joint - best other",) if _has_joint(suite) else ()
    rows = [(cell.task, str(cell.labels), *_numbers(suite, [cell])) for cell in cells]
    if len(cells) > 1:
        rows.append((f"mean of {len(cells)}", "", *_numbers(suite, cells)))
    return _without_empty(Table(title, ("task", "labels", *suite.ways, *gains, *best), tuple(rows)))


def _numbers(suite: Suite, cells: Sequence[Cell]) -> list[str]:
    gains = [_gain(cells, first, second) for first, second in suite.compared]
    if _has_joint(suite):
        gains.append(_gain_over_best(suite, cells))
    return [_mean(cells, way) for way in suite.ways] + gains


def _mean(cells: Sequence[Cell], way: str) -> str:
    """Mean Dice; of a single cell with the number of runs."""
    mean = mean_dice(cells, way)
    if mean is None:
        return "-"
    return f"{mean:.3f} ({len(cells[0].records(way))})" if len(cells) == 1 else f"{mean:.3f}"


def _without_empty(table: Table) -> Table:
    """The table without the columns of what was run nowhere."""
    kept = [place for place in range(len(table.columns)) if any(row[place] != "-" for row in table.rows)]
    columns = tuple(table.columns[place] for place in kept)
    return Table(table.title, columns, tuple(tuple(row[place] for place in kept) for row in table.rows))


def _has_joint(suite: Suite) -> bool:
    return "joint" in suite.ways and len(suite.compared) > 0


def _gain_over_best(suite: Suite, cells: Sequence[Cell]) -> str:
    """What joint brings over the way that is best without it, over those cells that joint was run on."""
    with_joint = [cell for cell in cells if cell.records("joint")]
    means = {way: mean_dice(with_joint, way) for way in suite.ways if way != "joint"} if with_joint else {}
    others = {way: mean for way, mean in means.items() if mean is not None}
    if not others:
        return "-"
    return _over_some(with_joint, cells, "joint", max(others, key=others.__getitem__))


def _gain(cells: Sequence[Cell], first: str, second: str) -> str:
    """The difference over those cells that both ways were run on, and over how many where that is not all."""
    return _over_some([cell for cell in cells if shared_repeats(cell, first, second)], cells, first, second)


def _over_some(some: Sequence[Cell], cells: Sequence[Cell], first: str, second: str) -> str:
    """The difference over some of the cells; of several cells also its p-value, and how many they are if not all."""
    found = difference(some, first, second)
    shown = show_difference(found)
    if found is not None and found.p_value is not None and len(cells) > 1:
        shown += f", p = {found.p_value:.3f}" if found.p_value >= 0.001 else ", p < 0.001"
    return shown + (f", {len(some)} tasks" if 0 < len(some) < len(cells) else "")


def cost_table(cells: Sequence[Cell], ways: Sequence[str]) -> Table:
    """Minutes and memory of a run, and where it was made; over all tasks that a way was run on."""
    rows = []
    for segmenter in sorted({cell.segmenter for cell in cells}):
        for way in ways:
            records = [record for cell in of_segmenter(cells, segmenter) for record in cell.records(way)]
            if records:
                memory = max(record["peak_memory_mib"] for record in records)
                places = sorted({record["device"] for record in records})
                effort = f"{records[0]['updates']} x {records[0]['images_per_update']}"
                rows.append((segmenter, way, effort, f"{_minutes(records):.1f}", f"{memory}", "; ".join(places)))
    columns = ("segmenter", "training method", "updates x images", "minutes a run", "peak memory, MiB", "machine")
    return Table("Cost", columns, tuple(rows))


def foundation_table() -> Table:
    """Both networks on real pairs alone, with strong augmentation."""
    cells = {(cell.task, cell.segmenter): cell for cell in read_cells(Suite.read("foundation"))}
    rows = []
    for task in sorted({task for task, _ in cells}):
        small, pretrained, recipe = (cells.get((task, name)) for name in ("unet-small", "unet-pretrained", RECIPE))
        if small is not None:
            others = "-" if recipe is None else _with_cost(recipe)
            rows.append((task, str(small.labels), others, *_networks(small, pretrained)))
    networks = ("nnU-Net's recipe", "U-Net from random weights", "U-Net, pretrained encoder")
    columns = (*networks, "gain of the last over the one before, Dice points (95 %)")
    return Table("Baselines", ("task", "labels", *columns), tuple(rows))


def _networks(small: Cell, pretrained: Cell | None) -> tuple[str, str, str]:
    if pretrained is None:
        return _with_cost(small), "-", "-"
    gain = difference_across(pretrained, BASELINE, small, BASELINE)
    return _with_cost(small), _with_cost(pretrained), show_difference(gain)


def _with_cost(cell: Cell) -> str:
    records = cell.records(BASELINE)
    runs = f"{len(records)} runs of" if len(records) > 1 else "1 run of"
    return f"{mean_dice([cell], BASELINE):.3f} ({runs} {records[0]['updates']} updates, {_minutes(records):.1f} min)"


def _minutes(records: Sequence[Record]) -> float:
    """Of a run, on average."""
    return float(np.mean([record["seconds"] for record in records])) / 60


def tables_of(suite: Suite) -> list[Table]:
    """All tables of a suite: by segmenter and number of labels, on other places' data, what labels are worth, cost."""
    cells = read_cells(suite)
    tables = []
    for title, chosen in _by_count(suite, cells):
        tables.append(ways_table(suite, chosen, title))
        tables += _elsewhere(suite, chosen, f"{title}, scored in another place")
    for segmenter in suite.segmenters:
        tables += _worth(suite, of_segmenter(cells, segmenter))
    return [*tables, cost_table(cells, suite.ways)] if cells else []


def development_tables(suite: Suite) -> list[Table]:
    """The ways of training on the labelled cases that were left over: choices are made by these, not by test cases."""
    cells = [cell for cell in map(Cell.on_development_cases, read_cells(suite)) if any(cell.by_way.values())]
    return [ways_table(suite, chosen, f"{title}, development cases") for title, chosen in _by_count(suite, cells)]


def _by_count(suite: Suite, cells: Sequence[Cell]) -> Iterator[tuple[str, list[Cell]]]:
    """The cells of each segmenter and number of labels asked for, with a title."""
    for segmenter in suite.segmenters:
        for asked in sorted({cell.asked for cell in cells}):
            chosen = [cell for cell in of_segmenter(cells, segmenter) if cell.asked == asked]
            if chosen:
                yield f"{segmenter}, {asked} labels", chosen


def _worth(suite: Suite, cells: Sequence[Cell]) -> list[Table]:
    table = worth_table(cells, "joint") if "joint" in suite.ways else None
    return [] if table is None else [table]


def _elsewhere(suite: Suite, cells: Sequence[Cell], title: str) -> list[Table]:
    scored = [cell.elsewhere(place) for cell in cells for place in suite.tasks[cell.task].also]
    scored = [cell for cell in scored if any(cell.records(way) for way in suite.ways)]
    return [_places_table(suite, scored, title)] if scored else []


def _places_table(suite: Suite, cells: Sequence[Cell], title: str) -> Table:
    gains = tuple(f"{first} - {second}" for first, second in suite.compared)
    rows = []
    for cell in cells:
        shown = [_mean([cell], way) for way in suite.ways]
        rows.append((cell.task, *shown, *(show_difference(difference([cell], *pair)) for pair in suite.compared)))
    return _without_empty(Table(title, ("trained on, scored on", *suite.ways, *gains), tuple(rows)))


def headline_table(ten: Sequence[Cell], forty: Sequence[Cell]) -> Table:
    """What generated pairs bring, in short: real pairs alone to all of the method, with ten labels and with forty."""
    rows = [
        (TASKS.get(task, task), *_in_short([cell for cell in ten if cell.task == task]), *_in_short([cell]))
        for task, cell in {cell.task: cell for cell in forty}.items()
    ]
    rows.append(("**mean**", *_in_short(ten), *_in_short(forty)))
    columns = ("task", "Dice, 10 labels", "gain in points (95 %)", "Dice, 40 labels", "gain in points (95 %)")
    return Table("Headline", columns, tuple(rows))


def _in_short(cells: Sequence[Cell]) -> tuple[str, str]:
    """Mean Dice before and after, and the difference of the runs that both have."""
    before, after = (mean_dice(cells, way) if cells else None for way in (BASELINE, "joint"))
    if before is None or after is None:
        return "-", "-"
    return f"{before:.2f} → {after:.2f}", show_difference(difference(cells, "joint", BASELINE))


def write_report(suite: Suite, folder: Path) -> None:
    """Write the report of a suite, with learning curves where tasks were run with several numbers of labels."""
    folder.mkdir(parents=True, exist_ok=True)
    tables, pictures = tables_of(suite), _draw_curves(suite, folder)
    sections = [f"## {table.title}\n\n{table.markdown()}" for table in tables]
    sections += [f"![{path.stem}]({path.name})" for path in pictures]
    text = "\n\n".join([f"# Suite {suite.name}", EXPLAINED, *sections])
    (folder / "report.md").write_text(text + "\n", encoding="utf-8")
    template = jinja2.Template(TEMPLATE.read_text(encoding="utf-8"), autoescape=True, undefined=jinja2.StrictUndefined)
    html = template.render(
        suite=suite.name, explained=EXPLAINED, tables=tables, pictures=[path.name for path in pictures]
    )
    (folder / "report.html").write_text(html, encoding="utf-8")


def _draw_curves(suite: Suite, folder: Path) -> list[Path]:
    """A picture for each segmenter that was run with several numbers of labels."""
    cells = read_cells(suite)
    pictures = [
        draw_label_curves(of_segmenter(cells, name), suite.ways, folder / f"{suite.name}-{name}.png")
        for name in suite.segmenters
    ]
    return [path for path in pictures if path is not None]


def page_tables() -> dict[str, str]:
    """Every table that a page may hold, as Markdown, by the name that its markers have.

    "joint SEGMENTER" is the suite of that name and "cost SEGMENTER" what its runs took, "elsewhere SEGMENTER" the suite
    of domains on other places' data, "N labels SEGMENTER" the suite of numbers of labels, "N labels elsewhere
    SEGMENTER" that on other places' data, and "worth SEGMENTER" what they are worth. "headline" is the default network
    in short.
    """
    joint, domains, labels = Suite.read("joint"), Suite.read("domains"), Suite.read("labels")
    of_joint, of_domains, of_labels = (read_cells(suite) for suite in (joint, domains, labels))
    found: dict[str, list[Table]] = {"results": [foundation_table()]}
    found |= {name: [table] for name, table in kept_tables().items()}
    for segmenter in joint.segmenters:
        in_joint, in_domains = (_compared(of_segmenter(cells, segmenter)) for cells in (of_joint, of_domains))
        in_labels = of_segmenter(of_labels, segmenter)
        found[f"joint {segmenter}"] = _ways_tables(joint, in_joint, segmenter)
        found[f"elsewhere {segmenter}"] = _elsewhere(domains, in_domains, segmenter)
        found[f"cost {segmenter}"] = [cost_table(in_joint, joint.ways)]
        found[f"worth {segmenter}"] = _worth(labels, in_labels)
        for asked in labels.labels:
            of_count = _compared([cell for cell in in_labels if cell.asked == asked])
            found[f"{asked} labels {segmenter}"] = _ways_tables(labels, of_count, segmenter)
            found[f"{asked} labels elsewhere {segmenter}"] = _elsewhere(labels, of_count, segmenter)
    of_default = [_compared(of_segmenter(cells, DEFAULT)) for cells in (of_labels, of_joint)]
    found["headline"] = [headline_table([cell for cell in of_default[0] if cell.asked == 10], of_default[1])]
    return {name: tables[0].markdown() if tables else "Not run yet." for name, tables in found.items()}


def _ways_tables(suite: Suite, cells: Sequence[Cell], title: str) -> list[Table]:
    return [ways_table(suite, cells, title)] if cells else []


def _compared(cells: Sequence[Cell]) -> list[Cell]:
    """Those of which more was run than the baseline."""
    return [cell for cell in cells if set(cell.by_way) - {BASELINE}]


def write_pages() -> None:
    """Put the tables of each page between their markers."""
    tables = page_tables()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name, table in tables.items():
            begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
            if begin in text:
                text = f"{text.split(begin)[0]}{begin}\n{table}\n{end}{text.split(end)[1]}"
        page.write_text(text, encoding="utf-8")


def main() -> None:
    """Print, write, or put into the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="?", choices=suite_names())
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--out", "-o", type=Path)
    what.add_argument("--development", action="store_true")
    what.add_argument("--pages", action="store_true")
    asked = parser.parse_args()
    if asked.pages:
        write_pages()
        _draw_curves(Suite.read("labels"), IMAGES)
    elif asked.suite is None:
        parser.error("name a suite, or give --pages")
    elif asked.out is not None:
        write_report(Suite.read(asked.suite), asked.out)
    else:
        suite = Suite.read(asked.suite)
        tables = development_tables(suite) if asked.development else tables_of(suite)
        sys.stdout.write("\n\n".join(f"## {table.title}\n\n{table.markdown()}" for table in tables) + "\n")


if __name__ == "__main__":
    main()
