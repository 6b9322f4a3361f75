"""The tables that commands print. Nothing is truncated: long names wrap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel
from rich.table import Table
from rich.text import Text

from genseg.base.files import printable
from genseg.config import Plan
from genseg.errors import Fault, listed, merge_faults

if TYPE_CHECKING:  # these take seconds to import, and here only their names are needed
    from genseg.evaluate import EvaluationSummary
    from genseg.evidence.learning_curve import LearningCurve
    from genseg.evidence.next_labels import NextImage
    from genseg.examine.statistics import Statistics
    from genseg.generators.registry import GeneratorSpec
    from genseg.index import Index
    from genseg.labels import LabelMap
    from genseg.results.folder import PredictedCase
    from genseg.segmenters.registry import SegmenterSpec

SHOWN_PAIRS = 20
"""Most rows of the table of pairs that are printed unless all are asked for."""

INCIDENTS = {
    "smaller-batch": "out of memory; continued with {batch_size} images per update",
    "went-back": "{reason}; rolled back to the last checkpoint and continued at a lower learning rate",
    "generator-off": "{reason}; continued without generated pairs",
    "checkpoint-damaged": "{problem}; used the previous checkpoint",
    "machine-changed": "resumed with a different machine, thread count or PyTorch version ({changes}); "
    "the result differs slightly from an uninterrupted run",
    "data-changed": "images or masks changed since the run began, and were accepted: {cases}",
}
"""Events of a run's record, and the sentence for each."""

SHOWN_NOTES = 20
"""Most notes on predicted cases that are printed."""


def pairs_table(index: Index, every: bool = False) -> Table:
    """Image and mask of each case; the first `SHOWN_PAIRS` unless `every`."""
    rows = index.table()
    shown = rows if every else rows[:SHOWN_PAIRS]
    notes = [f"{len(rows) - len(shown)} more; --all-pairs shows them all"] if len(shown) < len(rows) else []
    if index.ignored:
        notes.append(f"{index.ignored} hidden or unrelated file(s) ignored")
    caption = "\n".join(notes)
    return _table(f"Pairs ({index.layout})", ("case", "image", "mask", "patient", "split"), shown, caption)


def labels_table(labels: LabelMap) -> Table:
    """The class of each stored mask value."""
    return _table("Labels", ("mask value", "class", "name"), labels.rows())


def statistics_table(statistics: Statistics) -> Table:
    """Statistics of the dataset."""
    return _table("Dataset", ("", ""), statistics.rows())


def faults_table(faults: Sequence[Fault], title: str) -> Table:
    """Each problem with its files, what was found, what was expected, and the fix. title: `{}` in it counts them."""
    merged = merge_faults(faults)
    rows = [(fault.file, f"{fault.found} [{fault.code}]", fault.expected, fault.cure) for fault in merged]
    return _table(title.format(len(merged)), ("file", "found", "expected", "fix"), rows)


def plan_table(plan: Plan) -> Table:
    """Each value of a plan with its meaning."""
    shown = {name: _say(getattr(plan, name)) for name in Plan.model_fields} | {"intensity": _rules(plan)}
    rows = [(name, shown[name], field.description) for name, field in Plan.model_fields.items()]
    return _table("Training plan", ("setting", "value", "meaning"), rows)


def scores_table(summary: EvaluationSummary) -> Table:
    """Mean scores of each class with their 95 % intervals."""
    parts = summary.by_class if len(summary.by_class) == 1 else (*summary.by_class, summary.overall)
    columns = ("class", "Dice", "IoU", f"HD95 in {summary.tolerance.unit}", "surface Dice")
    rows = [(p.name, *(one.text() for one in (p.dice, p.iou, p.hd95, p.surface_dice))) for p in parts]
    return _table(f"Scores on {len(summary.cases)} cases, mean and 95 % interval", columns, rows)


def notes_table(predicted: Sequence[PredictedCase], of: int) -> Table:
    """Predicted cases that need review, and why. of: number of all predicted cases."""
    rows = [(case.name, note) for case in predicted for note in case.notes]
    shown = rows[:SHOWN_NOTES]
    caption = "" if len(shown) == len(rows) else f"{len(rows) - len(shown)} more in predictions.csv"
    return _table(f"Needs review: {len(predicted)} of {of}", ("case", "reason"), shown, caption)


def next_table(found: Sequence[NextImage]) -> Table:
    """Images to label next, best first, and why."""
    rows = [(str(rank), printable(one.path.name), one.reason) for rank, one in enumerate(found, 1)]
    return _table("To label next", ("", "image", "reason"), rows)


def lines_about(out: Path, predicted: Sequence[PredictedCase]) -> Iterator[str]:
    """Sentences about the masks in a folder and about other files there."""
    from genseg.results.mask_folder import unrecorded

    kept, edited = ([case.name for case in predicted if case.state == state] for state in ("kept", "edited"))
    moved = [str(case.set_aside.relative_to(out)) for case in predicted if case.set_aside is not None]
    strangers = unrecorded(out)
    if kept:
        yield f"{len(kept)} of them already existed, from the same images and model."
    if edited:
        yield f"Edited masks were kept as they are, outside the tables: {printable(listed(edited))}."
    if moved:
        yield f"Earlier masks from other images or models were moved: {printable(listed(moved))}."
    if strangers:
        yield f"Not written by genseg, so not in the tables: {printable(listed(strangers))}."


def one_line(case: PredictedCase) -> str:
    """A predicted case, with the reasons for review."""
    moved = () if case.set_aside is None else (f"earlier mask moved to {printable(case.set_aside)}",)
    return ": ".join([printable(case.name), *case.notes, *moved])


def incidents(run: Path) -> Iterator[str]:
    """Sentences about incidents in a training, from its record."""
    from genseg.runs.events import read_events

    for event in read_events(run):
        said = INCIDENTS.get(event["event"])
        if said is not None:
            yield f"Update {event['step']}: {said.format(**event)}."


def curve_table(curve: LearningCurve) -> Table:
    """Mean Dice on held-out cases for each number of labels."""
    rows = [(p.labels, f"{p.dice:.3f} ({p.low:.3f} to {p.high:.3f})") for p in curve.points]
    return _table("Dice by number of training cases, mean and 95 % interval", ("training cases", "Dice"), rows)


def networks_table(title: str, specs: Iterable[SegmenterSpec | GeneratorSpec]) -> Table:
    """Every network that `--segmenter` or `--generator` takes."""
    rows = [(spec.name, ", ".join(f"{rank}D" for rank in spec.ranks), spec.summary) for spec in specs]
    return _table(title, ("name", "data", "description"), rows)


def _rules(plan: Plan) -> str:
    """The intensity rule of each channel, or one for all unnamed channels."""
    from genseg.examine.channels import called

    if len({str(rule) for rule in plan.intensity}) == 1 and not any(rule.channel for rule in plan.intensity):
        return str(plan.intensity[0])
    return "; ".join(f"{called(number, rule.channel)}: {rule}" for number, rule in enumerate(plan.intensity))


def _say(value: object) -> str:
    """A value of a plan in a few words; of a record, the values that are not defaults."""
    if isinstance(value, BaseModel):
        return ", ".join(f"{name} {_say(part)}" for name, part in value.model_dump(exclude_defaults=True).items())
    if isinstance(value, tuple):
        return ", ".join(_say(part) for part in value) or "none"
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> Table:
    table = Table(title=Text(printable(title)), title_justify="left", caption_justify="left")
    table.caption = Text(caption) if caption else None
    table.show_header = any(columns)
    for column in columns:
        table.add_column(Text(printable(column)), overflow="fold")
    for row in rows:
        # Text, since file names may hold what looks like markup; escaped, since they may hold a line break.
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    return table
