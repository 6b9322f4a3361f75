"""Which cases of a data set a model is scored on, and how their masks are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from genseg.choices import Part
from genseg.data.case import CaseFiles
from genseg.data.index import index_dataset
from genseg.data.labels import LabelMap, fit_label_map
from genseg.data.load import CaseStore, LoadOptions, memory_budget, read_raw_case
from genseg.data.reading import Reading, read_all
from genseg.data.split import Split
from genseg.errors import DataError, RunError
from genseg.files import printable
from genseg.progress import Progress


def scored_cases(
    data: Path, part: Part, split: Split, labels: LabelMap, options: LoadOptions, progress: Progress
) -> CaseStore:
    """Read the labelled cases of a part of a data set, masks mapped to the model's classes.

    split: of the model's own training. labels, options: how the model's training data were read.
    Raises DataError with all faults of the cases, RunError where there is no case in that part.
    """
    return labelled_cases(data, lambda labelled: choose_part(labelled, part, split), labels, options, progress)


def labelled_cases(
    data: Path,
    choose: Callable[[list[CaseFiles]], list[CaseFiles]],
    labels: LabelMap,
    options: LoadOptions,
    progress: Progress,
) -> CaseStore:
    """Read those of the labelled cases of a data set that `choose` picks. Raises DataError as `scored_cases`."""
    index = index_dataset(data, unlabelled=options.unlabelled)
    options = options.suited_to(index)
    chosen = choose([files for files in index.entries if files.mask is not None])
    readings, found = read_all(chosen, options, memory_budget(), lambda done, total: progress("Reading", done, total))
    faults = [fault for fault in found if fault.stops]
    store = CaseStore(chosen, _labels_for(readings, labels, options), None, options)
    for reading in readings:
        try:
            store.keep(reading.raw or read_raw_case(reading.files, options))
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(faults)
    return store


def own_cases(data: Path, split: Split, labels: LabelMap, options: LoadOptions, progress: Progress) -> CaseStore:
    """The cases that a model was trained on, and those that were held out. Raises DataError as `scored_cases`."""
    names = {*split.train, *split.validation}
    return labelled_cases(
        data, lambda labelled: [files for files in labelled if files.name in names], labels, options, progress
    )


def choose_part(labelled: Sequence[CaseFiles], part: Part, split: Split) -> list[CaseFiles]:
    """The labelled cases that belong to a part.

    "validation": those that were held out in training. "test": those that the data set declares as test; where it
    declares none, all, unless some were trained on. Raises RunError where there are none.
    """
    own = {*split.train, *split.validation}
    unseen = [] if any(files.name in own for files in labelled) else list(labelled)
    parts = {
        "all": list(labelled),
        "validation": [files for files in labelled if files.name in split.validation],
        "test": [files for files in labelled if files.split == "test"] or unseen,
    }
    if not parts[part]:
        raise RunError(
            f"no {part} case among the {len(labelled)} labelled cases. Use --split validation or --split all, "
            "or give cases that were not trained on"
        )
    return parts[part]


def _labels_for(readings: Sequence[Reading], labels: LabelMap, options: LoadOptions) -> LabelMap:
    """The model's label map or, for two classes, one for other values: 0/255 where the training masks had 0/1."""
    counts = {printable(reading.files.mask or ""): reading.measures.counts or {} for reading in readings}
    is_known = all(value in labels.values for values in counts.values() for value in values)
    if is_known or labels.colours or labels.rule != "values" or len(labels.names) != 2:
        return labels
    try:
        return fit_label_map(counts, labels.names, None, options.mask_repair)
    except DataError:
        return labels  # whose faults name what the model expects
