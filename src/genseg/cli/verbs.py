"""The verbs of the command line; what each does is said in `overview`. Slow imports are inside the verbs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console
from rich.text import Text

from genseg.base.durations import in_words
from genseg.base.files import atomic_write_bytes, inner_folder, printable, stay_inside
from genseg.base.progress import Progress
from genseg.choices import Copies, Effort, Part, Precision, Target, Tilt
from genseg.cli import tables
from genseg.cli.options import number_between, one_of, settings_from, settings_options, whole_number, whole_numbers
from genseg.cli.overview import HELP, new_app
from genseg.cli.progress import progress_bars
from genseg.config import LARGEST_SEED, LARGEST_SIDE, MOST_CASES, Plan, Settings

if TYPE_CHECKING:
    from genseg.errors import DataError
    from genseg.examine.check import Examination
    from genseg.models.model import Model
    from genseg.results.folder import PredictedCase
    from genseg.results.manifest import Extra
    from genseg.synthetic.phantoms import PhantomKind

app = new_app()

COMPARING = (
    "Comparing training with and without generated pairs on every fold. "
    "Safe to stop: the model is saved, and --resume continues. --no-compare skips this step."
)

REFITTING = (
    "Training the model of every fold, then the final model on all labels. "
    "Safe to stop: the model is saved, and --resume continues. --effort quick skips this step."
)

MOST_THREADS = 4096
READING = ("mask_repair", "instances", "pages", "nan_to", "tilt", "unlabelled")
Data = Annotated[Path, typer.Argument(metavar="DATA", help="folder of scans and masks, or a CSV list of them")]
Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="run folder from `genseg train`, or model file from `genseg export`")
]

Seed = Annotated[
    int,
    typer.Option(
        help=Settings.model_fields["seed"].description, parser=whole_number("seed", 0, LARGEST_SEED), metavar="<int>"
    ),
]
Device = Annotated[str, typer.Option(help=Settings.model_fields["device"].description)]


@app.command(help=HELP["check"])
@settings_options(READING)
def check(
    data: Data,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="folder for the contact sheet and the findings")
    ] = None,
    all_pairs: Annotated[bool, typer.Option("--all-pairs", help="list every image-mask pair")] = False,
    **values: str | None,
) -> None:
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
    used = len(examination.index.usable) if settings.unlabelled == "use" else 0
    left_out = len(examination.index.without_mask) - used
    uses = [f"{used} for the final model to learn from"] if used else []
    uses += [f"{left_out} left out"] if left_out else []
    unlabelled = f"; images without a mask: {', '.join(uses)}" if uses else ""
    _say(f"{len(examination.cases)} cases are ready for training{unlabelled}.")


@app.command(help=HELP["plan"])
@settings_options()
def plan(
    data: Data,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="YAML file for the plan, for editing")] = None,
    **values: str | None,
) -> None:
    from genseg.compute.device import choose_machine
    from genseg.training.estimate import estimate_seconds
    from genseg.training.gather import gather
    from genseg.training.memory_forecast import needed_memory

    settings = settings_from(values)
    machine = choose_machine(settings.device, settings.precision)
    with progress_bars() as progress:
        gathered = gather(data, settings, None, machine, progress)
    made = gathered.plan
    _show_plan(made)
    if out is not None:
        made.to_yaml(out)
    _say(f"Estimated time: {in_words(estimate_seconds(made, machine))} on {machine.describe(made.rank)}.")
    _say(f"Estimated memory: {needed_memory(gathered, machine)}.")
    if made.generation is not None or gathered.split.folds > 1:
        _say(
            "That is one training. What follows it (comparison, other folds, final model on all labels) takes several "
            "times as long; `genseg train --effort quick` skips it."
        )


@app.command(help=HELP["train"])
@settings_options()
def train(
    data: Data,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="run folder", show_default="runs/DATA")] = None,
    plan_file: Annotated[Path | None, typer.Option("--plan", help="training plan (YAML from `genseg plan`)")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue an interrupted run")] = False,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-data-change",
            help="with --resume: continue although images or masks changed; the change is logged",
        ),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare/--no-compare",
            help="cross-validate with and without generated pairs, and keep the better method",
        ),
    ] = True,
    also_images: Annotated[
        Path | None,
        typer.Option(
            "--also-images",
            help="folder of unlabelled images; the final model also learns from them, with masks predicted by the "
            "models of all folds, if that helps on held-out cases",
        ),
    ] = None,
    effort: Annotated[
        Effort,
        typer.Option(
            help="quick: one fold alone; full: also the other folds, then the final model on all labels. "
            "Validation cases that the dataset declares stay held out",
            **one_of("effort", Effort),
        ),
    ] = "full",
    **values: str | None,
) -> None:
    import genseg
    from genseg.compute.device import choose_machine

    settings = settings_from(values)
    plan = None if plan_file is None else Plan.from_yaml(plan_file)
    run = Path("runs", _name_of(data)) if out is None else out
    if also_images is not None or settings.unlabelled == "use":
        _stop_images_in_vain(also_images, data, None if resume else settings, effort)
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
    _say(f"Model saved to {run}. Validation report: {run / 'validation' / 'report.html'}.")
    if effort == "quick":
        return
    if compare and Plan.from_yaml(run / "plan.yaml").generation is not None:
        _say(COMPARING)
        with progress_bars() as progress:
            verdict = genseg.compare(data, run, progress=progress).verdict
        _say(verdict)
    _refit(data, run, also_images)


def _stop_images_in_vain(images: Path | None, data: Path, settings: Settings | None, effort: Effort) -> None:
    """Raise before hours of training where unlabelled images are of no use: none there, or no final model to come.

    images: None for those of the dataset alone. settings: None for a run that is resumed, whose folds are those that it
    began with.
    """
    from genseg.errors import SettingsError
    from genseg.index import index_dataset, index_images
    from genseg.segmenters.registry import segmenters
    from genseg.training.gather import own_split

    option = "--unlabelled use" if images is None else "--also-images"
    if effort == "quick":
        raise SettingsError(f"{option}: the final model learns from them; leave out --effort quick")
    spec = segmenters().get(settings.segmenter or "") if settings else None
    if settings and spec and spec.is_frozen:
        raise SettingsError(f"{option}: segmenter {settings.segmenter} learns from labelled images alone")
    if settings and (
        settings.fold == "all" or own_split(index_dataset(data, unlabelled=settings.unlabelled).entries, settings)
    ):
        raise SettingsError(
            f"{option}: the models of several folds segment them, and there is one; --folds 5 makes five of all "
            "labelled cases"
        )
    if images is not None:
        index_images(images)


def _refit(data: Path, run: Path, also_images: Path | None) -> None:
    """Train the final model on all labels, where there are folds to judge it by."""
    import genseg
    from genseg.evaluate import Estimate
    from genseg.evidence.students import read_gain
    from genseg.evidence.unlabelled import used_images
    from genseg.runs.folder import SCORES, RunFolder

    folder = RunFolder.open(run)
    if folder.split().folds < 2 and also_images is None:
        return
    _say(REFITTING)
    with progress_bars() as progress:
        genseg.refit(data, run, also_images=also_images, progress=progress)
    if gain := read_gain(folder, folder.delivery().plan.method):
        _say(gain.verdict)
        _say(f"{used_images(run)}.")
    dice = Estimate(**folder.read_json(SCORES)["overall"]["dice"])
    _say(
        f"The final model, trained on all {len(folder.delivered_from.split().train)} labelled cases, is saved to {run}."
    )
    _say(f"Dice of the folds' models on the cases that they held out: {dice.text()}.")


@app.command(help=HELP["curve"])
@settings_options()
def curve(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for the trainings, the table and the plot")],
    counts: Annotated[
        str | None, typer.Option(help="numbers of training cases, such as 4,8,16,32", metavar="<int>,...")
    ] = None,
    points: Annotated[
        float,
        typer.Option(
            help="target gain in Dice points",
            parser=number_between("points", 0, 100),
            metavar="<float>",
        ),
    ] = 2.0,
    **values: str | None,
) -> None:
    import genseg

    settings = settings_from(values)
    numbers = None if counts is None else whole_numbers(counts, "counts")
    with progress_bars() as progress:
        found = genseg.curve(data, out, settings=settings, counts=numbers, gain=points / 100, progress=progress)
    Console().print(tables.curve_table(found))
    _say(found.verdict)
    _say(f"Plot saved to {out / 'curve.png'}.")


@app.command(help=HELP["predict"])
def predict(
    run: Run,
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="image, folder of images, or video")],
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for the masks; with --video, an output file")],
    overlays: Annotated[
        bool, typer.Option("--overlays", help="also write each image with its mask drawn over it")
    ] = False,
    confidence: Annotated[bool, typer.Option("--confidence", help="also write a confidence map in percent")] = False,
    contours: Annotated[bool, typer.Option("--contours", help="also write a table of contours")] = False,
    dicom_seg: Annotated[
        bool,
        typer.Option(
            "--dicom-seg",
            help="also write DICOM SEG for DICOM images; it contains the patient's identity",
        ),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="keep segmenting new images as they arrive (Ctrl-C to stop)")
    ] = False,
    video: Annotated[bool, typer.Option("--video", help="segment a video and draw the contours on it")] = False,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="average the models of all folds (after the comparison)")
    ] = False,
    fast: Annotated[bool, typer.Option("--fast", help="skip test-time mirroring: several times faster")] = False,
    tilt: Annotated[
        Tilt | None,
        typer.Option(
            help=Settings.model_fields["tilt"].description, show_default="as in training", **one_of("tilt", Tilt)
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            help="number of CPU threads",
            parser=whole_number("threads", 1, MOST_THREADS),
            metavar="<int>",
            show_default="all cores",
        ),
    ] = None,
    device: Device = "auto",
) -> None:
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
    _say(f"{len(predicted)} masks saved to {out}.")
    for line in tables.lines_about(out, predicted):
        _say(line)
    noted = [case for case in predicted if case.notes]
    if noted:
        Console().print(tables.notes_table(noted, len(predicted)))


def _watch(model: Model, images: Path, out: Path, extras: list[Extra]) -> None:
    """Segment new images until Ctrl-C, one line per image."""
    from genseg.training.interrupt import postponed_interrupt

    errors = Console(stderr=True)

    def tell(case: PredictedCase) -> None:
        _say(tables.one_line(case))

    def report(error: DataError) -> None:
        errors.print(tables.faults_table(error.faults, "Cannot be segmented"))

    _say(f"Watching {images}. Press Ctrl-C to stop.")
    with postponed_interrupt() as is_stopped:
        count = model.watch(images, out, extras=extras, is_stopped=is_stopped, tell=tell, report=report)
    _say(f"{count} new masks saved to {out}.")
    for line in tables.lines_about(out, ()):
        _say(line)


def _segment_video(model: Model, video: Path, out: Path) -> None:
    with progress_bars() as progress:
        done = model.segment_video(video, out, progress=progress)
    rates = f"{done.frames_per_second:.1f} frames per second (segmentation alone: {done.segmenting_per_second:.1f})"
    _say(f"{done.frames} frames saved to {out}; {rates}.")


def _stop_contradictions(watch: bool, video: bool, extras: list[Extra]) -> None:
    """Raise SettingsError for options that exclude each other."""
    from genseg.errors import SettingsError

    if watch and video:
        raise SettingsError("--watch and --video: these options exclude each other; leave one out")
    if video and extras:
        raise SettingsError(f"--{', --'.join(extras)}: not available for a video; leave it out")


@app.command("next", help=HELP["next"])
def choose_next(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="run folder from `genseg train`")],
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="folder of images; labelled ones are passed over")],
    count: Annotated[
        int,
        typer.Option(
            "--count", "-n", help="number of images", parser=whole_number("count", 1, MOST_CASES), metavar="<int>"
        ),
    ] = 5,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="folder for the list and the contact sheet", show_default="RUN/next"),
    ] = None,
    device: Device = "auto",
) -> None:
    import genseg
    from genseg.evidence.next_labels import FOLDER

    with progress_bars() as progress:
        found = genseg.next_images(run, images, count, out, device=device, progress=progress)
    Console().print(tables.next_table(found))
    _say(f"List and contact sheet saved to {run / FOLDER if out is None else out}.")


@app.command(help=HELP["export"])
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="run folder from `genseg train`")],
    data: Data,
    to: Annotated[Target, typer.Option(help="target format", **one_of("to", Target))],
    out: Annotated[Path | None, typer.Option("--out", "-o", show_default="RUN/export/")] = None,
    precision: Annotated[
        Precision,
        typer.Option(help="arithmetic; bfloat16 and int8 for openvino only", **one_of("precision", Precision)),
    ] = "float32",
) -> None:
    import genseg

    with progress_bars() as progress:
        made = genseg.export_model(run, data, to, out, precision=precision, progress=progress)
    _say(f"Model saved to {made.path}.")
    _say(f"{made.parity}.")


@app.command(help=HELP["evaluate"])
def evaluate(
    run: Run,
    data: Data,
    split: Annotated[Part, typer.Option(help="cases to score", **one_of("split", Part))] = "test",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="folder for the report", show_default="RUN/evaluation/, or beside a file"),
    ] = None,
    device: Device = "auto",
) -> None:
    import genseg

    model = genseg.load(run, device=device)
    folder = _evaluation_folder(run, data, split) if out is None else out
    with progress_bars() as progress:
        summary = model.evaluate(data, out=folder, split=split, progress=progress)
    console = Console()
    console.print(tables.scores_table(summary))
    for warning in summary.warnings:
        _say(f"Warning: {warning}")
    _say(f"Report saved to {folder}.")


@app.command(help=HELP["generate"])
def generate(
    run: Run,
    out: Annotated[Path, typer.Option("--out", "-o", help="new folder for the dataset")],
    count: Annotated[
        int,
        typer.Option(
            "--count", "-n", help="number of pairs", parser=whole_number("count", 1, MOST_CASES), metavar="<int>"
        ),
    ] = 200,
    seed: Seed = 0,
    copies: Annotated[
        Copies, typer.Option(help="handling of near-copies of training images", **one_of("copies", Copies))
    ] = "leave-out",
    device: Device = "auto",
) -> None:
    import genseg

    with progress_bars() as progress:
        made = genseg.generate(run, out, count, seed, copies=copies, device=device, progress=progress)
    _say(f"{made.written} pairs saved to {out}.")
    if made.copies:
        fate = "left out" if copies == "leave-out" else "kept, and marked in pairs.csv"
        _say(f"{made.copies} near-copies of training images were {fate}.")
    if made.written < count:
        _say(f"{count - made.written} pairs are missing: too many images were near-copies.")


@app.command(help=HELP["phantom"])
def phantom(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="new folder for the dataset")],
    kind: Annotated[str, typer.Option(help="rgb, gray or volume")] = "rgb",
    cases: Annotated[
        int, typer.Option(help="number of cases", parser=whole_number("cases", 1, MOST_CASES), metavar="<int>")
    ] = 40,
    size: Annotated[
        int | None,
        typer.Option(
            help="side in pixels or voxels",
            parser=whole_number("size", 1, LARGEST_SIDE),
            metavar="<int>",
            show_default="128, volumes 36",
        ),
    ] = None,
    seed: Seed = 0,
) -> None:
    from genseg.synthetic.phantoms import write_phantoms

    write_phantoms(folder, cast("PhantomKind", kind), cases, seed, size)
    _say(f"{cases} phantoms saved to {folder}.")


@app.command(help=HELP["segmenters"])
def segmenters() -> None:
    from genseg.segmenters.registry import segmenters as known

    Console().print(tables.networks_table("Segmenters", known().values()))


@app.command(help=HELP["generators"])
def generators() -> None:
    from genseg.generators.registry import generators as known

    Console().print(tables.networks_table("Generators", known().values()))


def _say(line: str) -> None:
    """Print a sentence literally, even if a path in it looks like markup or holds control characters."""
    Console().print(Text(printable(line)))


def _evaluation_folder(run: Path, data: Path, split: Part) -> Path:
    """Default folder of an evaluation: in the run folder, or beside the model file."""
    name = f"{_name_of(data)}-{split}"
    root = run if run.is_dir() else run.parent
    folder = root / "evaluation" / (name if run.is_dir() else f"{run.stem}-{name}")
    stay_inside(root, folder)
    return folder


def _showing_plan(run: Path, progress: Progress) -> Progress:
    """Progress that prints the plan once training begins; by then it is in the run folder."""
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
        _say(f"Image size: {plan.size_note}.")


def _name_of(data: Path) -> str:
    """Name of a dataset: its folder, which may contain dots, or its CSV list without the suffix."""
    from genseg.index.csv_list import SUFFIXES

    place = data.resolve()
    is_list = place.is_file() and place.suffix.lower() in SUFFIXES
    return place.stem if is_list else place.name


def _write_check(examination: Examination, out: Path) -> None:
    """Write the contact sheet, the findings as JSON, and the repaired masks if asked for."""
    from genseg.examine.check import contact_sheet, write_repaired_masks
    from genseg.results.outputs import output_folder

    entries = examination.index.entries
    files = [path for entry in entries for path in (*entry.images, entry.mask) if path is not None]
    # Nor in the dataset's own folder, where a contact sheet might be taken for one of the images.
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
