"""The verbs of the command line. What is slow to import is imported inside the verb, so that `--help` is instant."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console
from rich.text import Text

from genseg.base.durations import in_words
from genseg.base.files import atomic_write_bytes, inner_folder, printable, stay_inside
from genseg.base.progress import Progress
from genseg.choices import Copies, Part, Precision, Target, Tilt
from genseg.cli import tables
from genseg.cli.options import number_between, settings_from, settings_options, whole_number, whole_numbers
from genseg.cli.progress import progress_bars
from genseg.config import LARGEST_SEED, LARGEST_SIDE, MOST_CASES, Plan, Settings

if TYPE_CHECKING:
    from genseg.errors import DataError
    from genseg.examine.check import Examination
    from genseg.models.model import Model
    from genseg.results.folder import PredictedCase
    from genseg.results.manifest import Extra
    from genseg.synthetic.phantoms import PhantomKind

app = typer.Typer(
    name="genseg",
    help="From a folder of labelled scans to a trained segmentation model and predicted masks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

COMPARING = (
    "Now the same without generated pairs, and both with every other part of the cases held out, to see whether "
    "the pairs help. It can be stopped: the model stays, and --resume goes on. --no-compare leaves it out."
)

MOST_THREADS = 4096
READING = ("mask_repair", "instances", "pages", "nan_to", "tilt", "unlabelled")
Data = Annotated[Path, typer.Argument(metavar="DATA", help="folder of scans and masks, or a CSV list of them")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="run folder of `genseg train`, or a file of `genseg export`")]

Seed = Annotated[
    int,
    typer.Option(
        help=Settings.model_fields["seed"].description, parser=whole_number("seed", 0, LARGEST_SEED), metavar="<int>"
    ),
]
Device = Annotated[str, typer.Option(help=Settings.model_fields["device"].description)]


def _show_version(is_asked_for: bool) -> None:
    if is_asked_for:
        _say(f"genseg {version('genseg')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="print the version and stop")
    ] = False,
) -> None:
    """What comes before the verb."""


@app.command()
@settings_options(READING)
def check(
    data: Data,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="folder for contact sheet and findings")] = None,
    all_pairs: Annotated[bool, typer.Option("--all-pairs", help="print every pair of image and mask")] = False,
    **values: str | None,
) -> None:
    """Read every case just as training does; show pairs, labels, figures and everything that is wrong."""
    import genseg

    settings = settings_from(values)
    with progress_bars() as progress:
        examination = genseg.check(data, **settings.model_dump(include=set(READING)), progress=progress)
    console = Console()
    console.print(tables.pairs_table(examination.index, every=all_pairs))
    console.print(f"{examination.index.patients}.", highlight=False, markup=False)
    console.print(tables.labels_table(examination.labels))
    console.print(tables.statistics_table(examination.statistics))
    if examination.faults:
        console.print(tables.faults_table(examination.faults, "{} warning(s)"))
    if out is not None:
        _write_check(examination, out)
    unlabelled = len(examination.index.without_mask)
    left_out = f"; {unlabelled} images have no mask and are left out" if unlabelled else ""
    _say(f"{len(examination.cases)} cases can be used{left_out}.")


@app.command()
@settings_options()
def plan(
    data: Data,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="YAML file to write the plan to, for editing")] = None,
    **values: str | None,
) -> None:
    """Derive from data and machine how training would go, how long and how much memory it would take, and show it."""
    from genseg.compute.device import choose_machine
    from genseg.training.estimate import estimate_seconds
    from genseg.training.gather import gather
    from genseg.training.memory_forecast import forecast_memory

    settings = settings_from(values)
    machine = choose_machine(settings.device, settings.precision)
    with progress_bars() as progress:
        gathered = gather(data, settings, None, machine, progress)
    made = gathered.plan
    _show_plan(made)
    if out is not None:
        made.to_yaml(out)
    _say(f"Training takes about {in_words(estimate_seconds(made, machine))} on {machine.describe(made.rank)}.")
    _say(f"It takes about {forecast_memory(gathered, machine)}.")
    if made.generation is not None:
        _say("After it, the comparison trains several times more; `genseg train --no-compare` leaves it out.")


@app.command()
@settings_options()
def train(
    data: Data,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="run folder", show_default="runs/DATA")] = None,
    plan_file: Annotated[Path | None, typer.Option("--plan", help="YAML by `genseg plan` to train by")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on where the run in the run folder stopped")] = False,
    accept_changes: Annotated[
        bool,
        typer.Option("--accept-data-change", help="--resume even though images or masks have changed, and note it"),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare/--no-compare",
            help="see by cross-validation whether generated pairs help here, and deliver the better model",
        ),
    ] = True,
    **values: str | None,
) -> None:
    """Train a segmentation model on a data set and keep everything about it in a run folder."""
    import genseg
    from genseg.compute.device import choose_machine

    settings = settings_from(values)
    plan = None if plan_file is None else Plan.from_yaml(plan_file)
    run = Path("runs", _name_of(data)) if out is None else out
    if not resume:
        machine = choose_machine(settings.device, settings.precision)
        _say(f"Training on {machine.describe()}.")
    with progress_bars() as progress:
        shown = _showing_plan(run, progress)
        genseg.fit(
            data, run, settings=settings, plan=plan, resume=resume, accept_changes=accept_changes, progress=shown
        )
    for said in tables.incidents(run):
        _say(said)
    _say(f"The model is in {run}; how it does on the held-out cases, in {run / 'validation'}.")
    if compare and Plan.from_yaml(run / "plan.yaml").generation is not None:
        _say(COMPARING)
        with progress_bars() as progress:
            verdict = genseg.compare(data, run, progress=progress).verdict
        _say(verdict)


@app.command()
@settings_options()
def curve(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for the trainings, the figures and the picture")],
    counts: Annotated[
        str | None, typer.Option(help="numbers of training cases, say 4,8,16,32", metavar="<int>,...")
    ] = None,
    points: Annotated[
        float,
        typer.Option(
            help="the gain that is asked after, in Dice points",
            parser=number_between("points", 0, 100),
            metavar="<float>",
        ),
    ] = 2.0,
    **values: str | None,
) -> None:
    """Train with fewer and with more of the labels, and say how many more a gain would take."""
    import genseg

    settings = settings_from(values)
    numbers = None if counts is None else whole_numbers(counts, "counts")
    with progress_bars() as progress:
        found = genseg.curve(data, out, settings=settings, counts=numbers, gain=points / 100, progress=progress)
    Console().print(tables.curve_table(found))
    _say(found.verdict)
    _say(f"The picture is {out / 'curve.png'}.")


@app.command()
def predict(
    run: Run,
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="an image, a folder of them, or a video")],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for the masks; with --video a file")],
    overlays: Annotated[bool, typer.Option("--overlays", help="also draw each mask on its image")] = False,
    confidence: Annotated[
        bool, typer.Option("--confidence", help="also write how sure each pixel is, in percent")
    ] = False,
    contours: Annotated[bool, typer.Option("--contours", help="also write every outline, as a table")] = False,
    dicom_seg: Annotated[
        bool,
        typer.Option(
            "--dicom-seg",
            help="also write a DICOM segmentation for each DICOM image; it names the patient, as an archive wants it",
        ),
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="go on with images that come, until Ctrl-C")] = False,
    video: Annotated[bool, typer.Option("--video", help="IMAGES is a video; outline what is found in it")] = False,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="average the models of all folds of a run that was compared")
    ] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="look at each image once, not mirrored as well: several times as fast")
    ] = False,
    tilt: Annotated[
        Tilt | None,
        typer.Option(help="DICOM stacks that lean", show_default="as in training"),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            help="of the processor",
            parser=whole_number("threads", 1, MOST_THREADS),
            metavar="<int>",
            show_default="all cores",
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Segment images; each mask comes in the geometry of its own image, with a word where it should be looked at."""
    import genseg

    asked = {"overlays": overlays, "confidence": confidence, "contours": contours, "dicom-seg": dicom_seg}
    extras = [cast("Extra", name) for name, is_asked in asked.items() if is_asked]
    _stop_contradictions(watch, video, extras)
    model = genseg.load(run, device=device, ensemble=ensemble, threads=threads)
    model = model.without_mirroring() if fast else model
    model = model if tilt is None else model.reading_tilted(tilt)
    if video:
        _segment_video(model, images, out)
    elif watch:
        _watch(model, images, out, extras)
    else:
        _predict_folder(model, images, out, extras)


def _predict_folder(model: Model, images: Path, out: Path, extras: list[Extra]) -> None:
    with progress_bars() as progress:
        predicted = model.predict_folder(images, out, extras=extras, progress=progress)
    _say(f"{len(predicted)} masks are in {out}.")
    for line in tables.lines_about(out, predicted):
        _say(line)
    noted = [case for case in predicted if case.notes]
    if noted:
        Console().print(tables.notes_table(noted, len(predicted)))


def _watch(model: Model, images: Path, out: Path, extras: list[Extra]) -> None:
    """Segment what comes until Ctrl-C, one line an image."""
    from genseg.training.interrupt import postponed_interrupt

    errors = Console(stderr=True)

    def tell(case: PredictedCase) -> None:
        _say(tables.one_line(case))

    def report(error: DataError) -> None:
        errors.print(tables.faults_table(error.faults, "Cannot be used"))

    _say(f"Watching {images}; Ctrl-C ends it.")
    with postponed_interrupt() as is_stopped:
        count = model.watch(images, out, extras=extras, is_stopped=is_stopped, tell=tell, report=report)
    _say(f"{count} new masks are in {out}.")
    for line in tables.lines_about(out, ()):
        _say(line)


def _segment_video(model: Model, video: Path, out: Path) -> None:
    with progress_bars() as progress:
        done = model.segment_video(video, out, progress=progress)
    rates = f"{done.frames_per_second:.1f} frames a second, segmenting alone {done.segmenting_per_second:.1f}"
    _say(f"{done.frames} frames are in {out}; {rates}.")


def _stop_contradictions(watch: bool, video: bool, extras: list[Extra]) -> None:
    """Raise SettingsError for options that cannot be meant together."""
    from genseg.errors import SettingsError

    if watch and video:
        raise SettingsError("--watch and --video: a folder is watched or a video is segmented; leave one out")
    if video and extras:
        raise SettingsError(f"--{', --'.join(extras)}: a video gets outlines alone; leave it out")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="run folder that `genseg train` wrote")],
    data: Data,
    to: Annotated[Target, typer.Option(help="for which programs")],
    out: Annotated[Path | None, typer.Option("--out", "-o", show_default="RUN/export/")] = None,
    precision: Annotated[Precision, typer.Option(help="arithmetic; openvino has all three")] = "float32",
) -> None:
    """Write the model for use without PyTorch, or in MONAI, once it is seen to give the same masks."""
    import genseg

    with progress_bars() as progress:
        made = genseg.export_model(run, data, to, out, precision=precision, progress=progress)
    _say(f"The model is {made.path}.")
    _say(f"{made.parity}.")


@app.command()
def evaluate(
    run: Run,
    data: Data,
    split: Annotated[Part, typer.Option(help="cases to score")] = "test",
    out: Annotated[Path | None, typer.Option("--out", "-o", show_default="RUN/evaluation/, or beside a file")] = None,
    device: Device = "auto",
) -> None:
    """Score a model against experts' masks, and write the figures and a report with pictures."""
    import genseg

    model = genseg.load(run, device=device)
    folder = _evaluation_folder(run, data, split) if out is None else out
    with progress_bars() as progress:
        summary = model.evaluate(data, out=folder, split=split, progress=progress)
    console = Console()
    console.print(tables.scores_table(summary))
    for warning in summary.warnings:
        _say(f"Read with care: {warning}")
    _say(f"The report is in {folder}.")


@app.command()
def generate(
    run: Run,
    out: Annotated[Path, typer.Option("--out", "-o", help="new folder for the data set")],
    count: Annotated[
        int,
        typer.Option(
            "--count", "-n", help="how many pairs", parser=whole_number("count", 1, MOST_CASES), metavar="<int>"
        ),
    ] = 200,
    seed: Seed = 0,
    copies: Annotated[
        Copies, typer.Option(help="what to do with images that are nearly training images")
    ] = "leave-out",
    device: Device = "auto",
) -> None:
    """Write synthetic images with their masks, by the generator that was trained with the model."""
    import genseg

    with progress_bars() as progress:
        made = genseg.generate(run, out, count, seed, copies=copies, device=device, progress=progress)
    _say(f"{made.written} pairs are in {out}.")
    if made.copies:
        fate = "left out" if copies == "leave-out" else "kept, and marked in pairs.csv"
        _say(f"{made.copies} images were nearly copies of training images and were {fate}.")
    if made.written < count:
        _say(f"{count - made.written} pairs are missing: too many of the images were copies.")


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="new folder for the data set")],
    kind: Annotated[str, typer.Option(help="rgb, gray or volume")] = "rgb",
    cases: Annotated[
        int, typer.Option(help="how many", parser=whole_number("cases", 1, MOST_CASES), metavar="<int>")
    ] = 40,
    size: Annotated[
        int | None,
        typer.Option(
            help="edge in pixels (voxels)",
            parser=whole_number("size", 1, LARGEST_SIDE),
            metavar="<int>",
            show_default="128, volumes 36",
        ),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Write a data set of synthetic scans with known masks, to try things out on."""
    from genseg.synthetic.phantoms import write_phantoms

    write_phantoms(folder, cast("PhantomKind", kind), cases, seed, size)
    _say(f"{cases} phantoms are in {folder}.")


@app.command()
def segmenters() -> None:
    """List the networks that `--segmenter` takes."""
    Console().print(tables.segmenters_table())


def _say(line: str) -> None:
    """Print a sentence as it is, be it that a path in it looks like markup or holds what steers a terminal."""
    Console().print(Text(printable(line)))


def _evaluation_folder(run: Path, data: Path, split: Part) -> Path:
    """Where the report of an evaluation goes that was given no folder: into the run folder, or beside the file."""
    name = f"{_name_of(data)}-{split}"
    root = run if run.is_dir() else run.parent
    folder = root / "evaluation" / (name if run.is_dir() else f"{run.stem}-{name}")
    stay_inside(root, folder)
    return folder


def _showing_plan(run: Path, progress: Progress) -> Progress:
    """Progress that prints the plan when training begins: it lies in the run folder by then."""
    is_shown = False

    def show(doing: str, done: int, total: int) -> None:
        nonlocal is_shown
        if not is_shown and (run / "environment.json").is_file():
            _show_plan(Plan.from_yaml(run / "plan.yaml"))
            is_shown = True
        progress(doing, done, total)

    return show


def _show_plan(plan: Plan) -> None:
    Console().print(tables.plan_table(plan))
    if plan.size_note:
        _say(f"Size: {plan.size_note}.")


def _name_of(data: Path) -> str:
    """What a data set is called by: its folder, whose name may hold dots, or its CSV list without the suffix."""
    from genseg.index.csv_list import SUFFIXES

    place = data.resolve()
    is_list = place.is_file() and place.suffix.lower() in SUFFIXES
    return place.stem if is_list else place.name


def _write_check(examination: Examination, out: Path) -> None:
    """Write what a person looks at and what a program reads, and the repaired masks where repair was asked for."""
    from genseg.examine.check import contact_sheet, write_repaired_masks
    from genseg.results.outputs import output_folder

    entries = examination.index.entries
    files = [path for entry in entries for path in (*entry.images, entry.mask) if path is not None]
    # Nor in the data set's own folder, where a sheet of pictures might be taken for one of the images.
    folder = output_folder(out, [*files, examination.index.root / "dataset.json"])
    if examination.options.mask_repair == "nearest":
        write_repaired_masks(examination, inner_folder(folder, "repaired-masks"))
    contact_sheet(examination, folder / "contact-sheet.png")
    findings = {
        "pairs": examination.index.table(),
        "patients": examination.index.patients,
        "labels": examination.labels.to_json(),
        "statistics": examination.statistics.to_json(),
        "to_label": [printable(path) for path in examination.index.without_mask],
        "warnings": [asdict(fault) for fault in examination.faults],
    }
    atomic_write_bytes(folder / "check.json", json.dumps(findings, indent=1).encode())
