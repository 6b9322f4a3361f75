"""Which cases of a dataset a model is scored on, and how their masks are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from genseg.base.files import printable
from genseg.base.free_memory import memory_budget
from genseg.base.progress import Progress
from genseg.choices import Part
from genseg.errors import DataError, RunError, SettingsError, unknown
from genseg.examine.cases import CaseStore, LoadOptions, RawCase, read_raw_case
from genseg.examine.one_pass import Reading, read_all
from genseg.examine.split import Split
from genseg.index import index_dataset
from genseg.labels import LabelMap, fit_label_map
from genseg.read.case import CaseFiles
from genseg.read.identity import SeenImages, Use, pixels_hash

_Choice = Callable[[Sequence[CaseFiles], Split], list[CaseFiles]]
"""From the labelled cases and the split of the training to some of the cases."""


@dataclass(frozen=True)
class Scored:
    """Cases to score. uses: of those that the model's training has seen, what for. left_out: labelled cases of the part
    that are not scored, for the training has seen them. is_known: whether it is known what the training has seen.
    """

    cases: CaseStore
    uses: Mapping[str, Use]
    left_out: tuple[str, ...]
    is_known: bool


def scored_cases(
    data: Path,
    part: Part,
    split: Split,
    seen: Sequence[SeenImages],
    labels: LabelMap,
    options: LoadOptions,
    progress: Progress,
) -> Scored:
    """Read the labelled cases of a part of a dataset, masks mapped to the model's classes.

    Which of them training has seen is told by their pixels: names are no evidence.

    split: of the model's own training; it tells by names what need not be read. seen: what each training of the model
    has seen; empty where that is not known, and then the names must do. labels, options: how the model's training data
    were read. Raises DataError with all faults of the cases, RunError where there is no case in that part.
    """
    if not seen:
        store = labelled_cases(data, lambda found: choose_part(found, part, split), labels, options, progress)
        return Scored(store, {}, (), is_known=False)
    for candidates in _CANDIDATES[part]:
        sorting = _Sorting(part, seen, split, candidates)
        store = labelled_cases(data, sorting.choose, labels, options, progress, sorting.belongs)
        if len(store) and (candidates is _CANDIDATES[part][-1] or len(store) == len(sorting.uses)):
            return sorting.scored(store)
    raise RunError(_none_in(part, sorting.labelled))


@dataclass
class _Sorting:
    """What becomes of the labelled cases of a dataset. labelled: how many there are. uses: of those that were read."""

    part: Part
    seen: Sequence[SeenImages]
    split: Split
    candidates: _Choice
    labelled: int = 0
    uses: dict[str, Use | None] = field(default_factory=dict)

    def choose(self, labelled: list[CaseFiles]) -> list[CaseFiles]:
        """Those that are read."""
        self.labelled = len(labelled)
        return self.candidates(labelled, self.split)

    def belongs(self, raw: RawCase) -> bool:
        """Whether one that was read is scored."""
        use = self.uses[raw.files.name] = use_by(self.seen, pixels_hash(raw.image))
        return self.part == "all" or use == ("held out" if self.part == "validation" else None)

    def scored(self, store: CaseStore) -> Scored:
        """The result, with the cases that belong."""
        met = {name: use for name, use in self.uses.items() if use is not None}
        left_out = sorted(met.keys() - set(store.names)) if self.part == "test" else ()
        kept = {name: met[name] for name in store.names if name in met}
        return Scored(store, kept, tuple(left_out), is_known=True)


def use_by(seen: Sequence[SeenImages], found: str) -> Use | None:
    """What an image, by its `pixels_hash`, was used for: to train, if any of the trainings was on it."""
    uses = {one.use_of(found) for one in seen}
    return "trained on" if "trained on" in uses else "held out" if "held out" in uses else None


def _all(labelled: Sequence[CaseFiles], _: Split) -> list[CaseFiles]:
    return list(labelled)


def _called_held_out(labelled: Sequence[CaseFiles], split: Split) -> list[CaseFiles]:
    return [files for files in labelled if files.name in split.validation]


def _declared_test(labelled: Sequence[CaseFiles], _: Split) -> list[CaseFiles]:
    return [files for files in labelled if files.split == "test"] or list(labelled)


_CANDIDATES: dict[Part, tuple[_Choice, ...]] = {
    "all": (_all,),
    "test": (_declared_test,),
    "validation": (_called_held_out, _all),
}
"""Which cases are read for a part; the next ones where some of them do not belong to it. Reading takes time."""


def labelled_cases(
    data: Path,
    choose: Callable[[list[CaseFiles]], list[CaseFiles]],
    labels: LabelMap,
    options: LoadOptions,
    progress: Progress,
    belongs: Callable[[RawCase], bool] = lambda _: True,
) -> CaseStore:
    """Read those of the labelled cases of a dataset that `choose` picks and of which, once read, `belongs` is true.

    Raises DataError as `scored_cases`.
    """
    index = index_dataset(data, unlabelled=options.unlabelled)
    options = options.suited_to(index)
    chosen = choose([files for files in index.entries if files.mask is not None])
    readings, found = read_all(chosen, options, memory_budget(), lambda done, total: progress("Reading", done, total))
    faults = [fault for fault in found if fault.stops]
    store = CaseStore(chosen, _labels_for(readings, labels, options), None, options)
    kept: set[str] = set()
    for reading in readings:
        try:
            raw = reading.raw or read_raw_case(reading.files, options)
            if belongs(raw):
                kept.add(store.keep(raw).name)
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(faults)
    return store.select([files.name for files in chosen if files.name in kept])


def own_cases(data: Path, split: Split, labels: LabelMap, options: LoadOptions, progress: Progress) -> CaseStore:
    """The cases that a model was trained on, and those that were held out. Raises DataError as `scored_cases`."""
    names = {*split.train, *split.validation}
    return labelled_cases(
        data, lambda labelled: [files for files in labelled if files.name in names], labels, options, progress
    )


def choose_part(labelled: Sequence[CaseFiles], part: Part, split: Split) -> list[CaseFiles]:
    """The labelled cases that belong to a part.

    "validation": held out in training. "test": declared as test by the dataset; if it declares none, all, unless some
    were trained on. Raises SettingsError for an unknown part, RunError if it has no cases.
    """
    own = {*split.train, *split.validation}
    unseen = [] if any(files.name in own for files in labelled) else list(labelled)
    parts = {
        "all": list(labelled),
        "validation": [files for files in labelled if files.name in split.validation],
        "test": [files for files in labelled if files.split == "test"] or unseen,
    }
    if part not in parts:
        raise SettingsError(unknown("split", part, parts))
    if not parts[part]:
        raise RunError(_none_in(part, len(labelled)))
    return parts[part]


def _none_in(part: Part, labelled: int) -> str:
    cure = "use --split validation or --split all, or give cases that were not trained on"
    if part == "validation":
        cure = "use --split all; of a model trained on every label, validation/ in its run folder tells of the folds"
    return f"no {part} case among the {labelled} labelled cases; {cure}"


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
