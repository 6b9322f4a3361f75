"""The verbs of genseg as functions: `check`, `plan`, `fit`, `compare`, `refit`, `next_images`, `curve`, `load`,
`export_model` and `generate`.

Torch is imported inside the functions that need it, so that checking data is quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genseg.base.callers import callers_state_kept
from genseg.base.free_memory import memory_budget
from genseg.base.progress import Progress, silent
from genseg.choices import Copies, Instances, MaskRepair, NanTo, Pages, Precision, Target, Tilt, Unlabelled
from genseg.config import Plan, Settings
from genseg.errors import SettingsError
from genseg.examine.cases import KEPT_FOR_A_LOOK, LoadOptions
from genseg.examine.check import Examination, examine
from genseg.index import index_dataset
from genseg.read import ReadOptions

if TYPE_CHECKING:
    from genseg.evidence.comparison import Comparison
    from genseg.evidence.learning_curve import LearningCurve
    from genseg.evidence.next_labels import NextImage
    from genseg.export.exporting import Exported
    from genseg.models.model import Model
    from genseg.synthetic.generate import Generated


def check(
    data: Path | str,
    *,
    mask_repair: MaskRepair = "stop",
    pages: Pages = "stop",
    nan_to: NanTo = "stop",
    unlabelled: Unlabelled = "stop",
    tilt: Tilt = "stop",
    instances: Instances = "stop",
    progress: Progress = silent,
) -> Examination:
    """Check a dataset exactly as training will read it.

    data: folder of scans and masks in any known layout, or a CSV list. The other settings are those of `Settings`.
    Returns statistics, label map and warnings. Raises DataError with every problem that prevents training.
    """
    index = index_dataset(Path(data), unlabelled=unlabelled)
    options = LoadOptions(ReadOptions(pages, nan_to, tilt=tilt), mask_repair, unlabelled, instances)
    budget = min(KEPT_FOR_A_LOOK, memory_budget())
    return examine(index, options, progress=lambda done, total: progress("Reading", done, total), budget=budget)


def plan(data: Path | str, settings: Settings | None = None, *, progress: Progress = silent) -> Plan:
    """Derive the training plan for a dataset and this machine.

    Returns a plan that can be saved with `to_yaml`, edited, and passed to `fit`. Raises DataError, SettingsError.
    """
    from genseg.compute.device import choose_machine
    from genseg.training.gather import gather

    settings = settings or Settings()
    machine = choose_machine(settings.device, settings.precision)
    return gather(Path(data), settings, None, machine, progress).plan


@callers_state_kept()
def fit(
    data: Path | str,
    out: Path | str,
    *,
    settings: Settings | None = None,
    plan: Plan | None = None,
    resume: bool = False,
    accept_changes: bool = False,
    progress: Progress = silent,
) -> Model:
    """Train a segmenter on a dataset and save it, with its full record, in the run folder `out`.

    data: folder of scans and masks in any known layout, or a CSV list. settings: see `Settings`. plan: as from
    `genseg.plan` if None. resume: continue the run in `out` with its own settings and plan; only `device` may differ.
    accept_changes: resume although images or masks changed; the change is logged.

    Returns the model. Raises DataError for problems in the data; SettingsError for settings or a plan that do not fit
    the data, each other or the resumed run; DeviceError; RunError if `out` cannot be used or is not empty (when
    resuming: if it is not a run folder or the data have changed); TrainingError if the loss is not finite. After
    KeyboardInterrupt a run can be resumed.
    """
    from genseg.fitting import finish_run
    from genseg.training.run import run_training

    if plan is not None and settings is not None and settings.time is not None:
        raise SettingsError("time: the plan already fixes image size and updates; leave out time or the plan")
    data, wanted = Path(data), settings or Settings()
    folder = run_training(
        data, Path(out), wanted, plan, resume=resume, accept_changes=accept_changes, progress=progress
    )
    return finish_run(folder, data, progress)


@callers_state_kept()
def compare(data: Path | str, run: Path | str, *, progress: Progress = silent) -> Comparison:
    """Test whether generated pairs help on this dataset, and keep the better model in the run folder.

    data: the dataset of the finished run in `run`. Strong augmentation alone and the run's own training method are
    trained on every fold, with the same number of updates and images per update, so that each labelled case is held out
    once. The run itself is one of these trainings. Finished trainings of an interrupted comparison are reused.

    Returns the comparison: `verdict` in words, `difference` with its interval over patients (over images, if patients
    are unknown), `cases`, and `delivered`, the training method of the model now in the run folder. All of it is saved
    in `run/comparison/`, with a plot. Raises SettingsError if the run has no generated pairs, RunError if it has not
    finished or the data have changed, and as `fit`.
    """
    from genseg.evidence.comparison import compare_with_baseline
    from genseg.runs.folder import RunFolder

    return compare_with_baseline(Path(data), RunFolder.open(Path(run)), progress)


@callers_state_kept()
def refit(
    data: Path | str, run: Path | str, *, also_images: Path | str | None = None, progress: Progress = silent
) -> Model:
    """Train the final model on every label, and deliver it in the run folder.

    data: the dataset of the finished run in `run`. A model is trained for every fold (those of a comparison are
    reused), so that each labelled case is held out once. Then one model is trained on all labelled cases, with the
    run's plan and the training method of its model. Its calibration, OOD limits, post-processing and the report in
    `run/validation` come from the folds' predictions of the cases that they held out. An interrupted call continues
    where it stopped.

    also_images: folder of unlabelled images, in any format that is read. Every fold is trained once more with them, on
    masks that its own model predicts, and judged on the cases that it held out. If the mean does not fall, the final
    model learns from them too, with masks that these models predict together. Left out are copies of labelled or test
    images, other images of test patients, repeated images, those unlike the labelled images (by the OOD score) and
    those in which nothing is found. `run/unlabelled/images.csv` lists the use of each, `overview.png` shows some, and
    `run/comparison/unlabelled.json` and `.png` say what they bring.

    Returns the model. The models of the folds stay available: `genseg.load(run, ensemble=True)`. Raises SettingsError
    if the dataset declares its own validation cases, or the segmenter cannot learn from unlabelled images; RunError if
    the run has not finished or the data have changed; DataError if unlabelled images cannot be read; and as `fit`.
    """
    from genseg.evidence.refit import refit_on_all_labels
    from genseg.runs.folder import RunFolder

    images = None if also_images is None else Path(also_images)
    return refit_on_all_labels(Path(data), RunFolder.open(Path(run)), images, progress)


@callers_state_kept()
def next_images(
    run: Path | str,
    images: Path | str,
    count: int = 5,
    out: Path | str | None = None,
    *,
    device: str = "auto",
    progress: Progress = silent,
) -> list[NextImage]:
    """Choose the unlabelled images that a person should label next, best first.

    run: a finished run; if the models of all folds are there, they judge together. images: folder of images; those that
    the run has labels for are passed over. An image is worth labelling if the model is unsure of it and it is like many
    others of which it is unsure; see `genseg.evidence.next_labels`. out: folder for `next.csv` (with reasons) and
    `next.png`; `run/next` if None. What was segmented before is not segmented again.

    Raises RunError if the run has not finished or `out` cannot be written, SettingsError for an impossible count,
    DataError with every image that cannot be read, or if none is left; DeviceError for an absent device.
    """
    from genseg.evidence.next_labels import choose_next
    from genseg.runs.folder import RunFolder

    folder = RunFolder.open(Path(run))
    return choose_next(folder, Path(images), count, Path(out) if out is not None else None, device, progress)


@callers_state_kept()
def curve(
    data: Path | str,
    out: Path | str,
    *,
    settings: Settings | None = None,
    counts: Sequence[int] | None = None,
    gain: float = 0.02,
    progress: Progress = silent,
) -> LearningCurve:
    """Measure a learning curve and estimate how many more labels a given gain needs.

    counts: three or more numbers of training cases; None takes all that a fold leaves, half, a quarter and an eighth.
    gain: in Dice. For each count, one model is trained per fold, so that each labelled case is held out once. out:
    folder for `curve.json`, `curve.png` and the trainings; finished trainings there are reused.

    Returns the curve: `points` with intervals, `needed` labels in total with their interval, `verdict` in words. Raises
    SettingsError for impossible counts, RunError if `out` holds trainings with other settings or data, and as `fit`.
    """
    from genseg.evidence.learning_curve import measure_curve

    return measure_curve(Path(data), Path(out), settings or Settings(), counts, gain, progress)


def load(run: Path | str, *, device: str = "auto", ensemble: bool = False, threads: int | None = None) -> Model:
    """Load the model of a finished run folder, or an exported one (`.onnx`, `.xml`).

    ensemble: average the models of all folds of a compared run: slower by their number, and more stable. threads:
    number of CPU threads; None uses all cores. For a run folder it sets PyTorch's number of threads, which the whole
    process shares.

    Raises RunError if the model is missing or damaged, DeviceError for an absent device, MissingExtraError if the
    runtime of an exported model is not installed.
    """
    from genseg.models.load import load_model

    return load_model(run, device, ensemble=ensemble, threads=threads)


@callers_state_kept()
def export_model(
    run: Path | str,
    data: Path | str,
    to: Target,
    out: Path | str | None = None,
    *,
    precision: Precision = "float32",
    progress: Progress = silent,
) -> Exported:
    """Export the model of a finished run, after verifying that it reproduces the original masks.

    data: the dataset of the run; its held-out cases are the test. to: "onnx" or "openvino", a file that `genseg.load`
    reads without PyTorch, or "bundle", a folder for MONAI. out: the file or folder; in the run folder if None.
    precision: OpenVINO also supports bfloat16 and int8, which are faster and less exact.

    Returns the `path` and the `parity`: agreement of masks, difference of logits, Dice before and after. Raises
    RunError if the run has not finished, the data differ, or the masks differ (with bfloat16 or int8: are worse);
    SettingsError for an unknown format or precision; MissingExtraError if packages are missing.
    """
    from genseg.export.exporting import export_run

    return export_run(Path(run), Path(data), to, None if out is None else Path(out), precision, progress)


@callers_state_kept()
def generate(
    run: Path | str,
    out: Path | str,
    count: int = 200,
    seed: int = 0,
    *,
    copies: Copies = "leave-out",
    device: str = "auto",
    progress: Progress = silent,
) -> Generated:
    """Make synthetic pairs with the generator of a finished run and write them as a dataset for training.

    out: a new or empty folder for images, masks, `dataset.json`, `pairs.csv` (the source of each pair and its nearest
    real image) and `overview.png`; written all at once or not at all. copies: an image closer to a training image than
    real images are to each other is replaced ("leave-out"), or kept and marked ("keep"); see `genseg.generators.copies`
    for what that shows.

    Returns the numbers of pairs `written` and of `copies` found; fewer than `count` are written if most images are
    copies. Raises RunError if the run has no generator or is damaged, if `out` is not empty or cannot be written, or if
    every image is a copy; SettingsError for an impossible count; DeviceError for an absent device.
    """
    from genseg.synthetic.generate import generate_pairs

    return generate_pairs(Path(run), Path(out), count, seed, copies, device, progress)
