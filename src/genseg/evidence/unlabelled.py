"""Unlabelled images as further training images, with masks that models predict for them.

Source: Xie et al., Self-training with Noisy Student improves ImageNet classification, CVPR 2020: the teachers segment
images as they are, and the student learns their masks on strongly changed ones. Images that the teachers cannot judge
are left out, as in Yang et al., ST++, CVPR 2022; so are pixels that they are not sure of, as in Sohn et al., FixMatch,
NeurIPS 2020.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from genseg.base.files import atomic_write_csv, csv_text, printable
from genseg.base.progress import Progress, work_through
from genseg.config import Plan
from genseg.errors import RunError
from genseg.evidence.answers import ANSWERS, SEGMENTING, Answer, Answers
from genseg.evidence.pool import Pool, PoolImage, Reason
from genseg.models.model import Model
from genseg.read.case import Case, CaseFiles
from genseg.training.run import Further
from genseg.trust.trust import Trust

SHARE = 0.5
"""Of the real images of an update, how many are unlabelled; fewer where there are fewer of them than labelled ones."""

DRAWN = 12
"""Images that train, and images that do not, in the picture of them."""

TABLE, TRAINS, WITHOUT_GAIN = "images.csv", "trains", "no gain on held-out cases"
"""The list of what each image is used for; the use of those that are not left out, and that of all where they bring
nothing.
"""


@dataclass(frozen=True)
class Unlabelled:
    """Images of a pool with the reason why each is left out by now, and who predicts the masks of the others."""

    images: Sequence[PoolImage]
    answers: Answers

    @property
    def training(self) -> list[PoolImage]:
        """The images that train."""
        return [one for one in self.images if not one.reason]

    def cases(self) -> Iterator[Case]:
        """Those images, each read when it is asked for, with its predicted mask; what is unsure is `IGNORE`."""
        for one in self.training:
            case = self.answers.case(one.files, one.pixels)
            yield replace(case, name=f"{ANSWERS}/{case.name}")

    def joining(self, plan: Plan, labelled: int) -> tuple[Plan, Further]:
        """The plan of a training on so many labelled cases with these images beside them, and what gives them.

        No unlabelled image is drawn more often than a labelled one.
        """
        count = len(self.training)
        share = min(SHARE, count / (count + labelled))
        return plan.model_copy(update={"unlabelled_share": share}), self.cases


def most_drawn(plan: Plan) -> int:
    """Images that a training by this plan can draw from a pool, at most."""
    return max(1, round(SHARE * plan.batch_size * plan.updates))


def segment_pool(
    pool: Pool, teacher: Model, run: Path, progress: Progress, held_out: Collection[str] = ()
) -> Unlabelled:
    """Segment the images of a pool, and say which of them may train by what the teacher says.

    The teacher's masks owe nothing to the masks of the cases that it is judged by: they are neither calibrated nor
    post-processed by these.
    held_out: labelled cases that the teacher is judged by: images of their patients are left out. One image is read at
    a time; what was segmented before, by the same model, is not segmented again. What becomes of each image is listed
    in the run folder. Raises DataError with every image that cannot be segmented.
    """
    teacher = replace(teacher, trust=teacher.trust.of_training_images)
    answers = Answers.within(run, teacher)
    patients = {pool.patients[name] for name in held_out if name in pool.patients}

    def judged(one: PoolImage) -> PoolImage:
        reason: Reason = one.reason or ("of a held-out patient" if one.files.patient in patients else "")
        return replace(one, reason=reason or _judged(answers.ask(one.files, one.pixels), teacher.trust))

    images = work_through(SEGMENTING, pool.images, judged, progress)
    _write_table(run, [(_called(one.files), one.reason or TRAINS) for one in images])
    return Unlabelled(images, answers)


def _judged(answer: Answer, trust: Trust) -> Reason:
    """Why an image is left out, by what the teacher says of it."""
    if trust.ood is not None and answer.ood_score > trust.ood.highest:
        return "unlike the labelled ones"
    return "" if answer.is_found or trust.often_empty else "nothing found"


def draw_unlabelled(unlabelled: Unlabelled, path: Path) -> None:
    """Draw the first images that train, and the first that were segmented and do not, as PNG."""
    seen = [one for one in unlabelled.images if one.pixels]
    training, others = ([one for one in seen if bool(one.reason) == left_out][:DRAWN] for left_out in (False, True))
    chosen = [*training, *others]
    titles = [f"{one.files.name}: {one.reason or TRAINS}" for one in chosen]
    heading = "Unlabelled images, with the masks that the models of all folds predict"
    unlabelled.answers.draw([(one.files, one.pixels) for one in chosen], titles, 6, heading, path)


def check_same_images(entries: Sequence[CaseFiles], run: Path) -> None:
    """Raise RunError where these are not the images, by name, that the run has been given before."""
    now, before = {csv_text(_called(files)) for files in entries}, {row["image"] for row in _table(run)}
    if now != before:
        raise RunError(
            f"{run}: begun with other unlabelled images than are given now ({len(now - before)} new, "
            f"{len(before - now)} missing); restore them, or start a new run"
        )


def has_unlabelled(run: Path) -> bool:
    """Whether a run has been given unlabelled images."""
    return (run / ANSWERS / TABLE).is_file()


def leave_out_all(run: Path) -> None:
    """Write down that not one of the images trains, since they bring nothing."""
    uses = [(row["image"], WITHOUT_GAIN if row["use"] == TRAINS else row["use"]) for row in _table(run)]
    _write_table(run, uses)


def used_images(run: Path) -> str:
    """How many unlabelled images train, and how many are left out for which reason, in words."""
    counts = Counter(row["use"] for row in _table(run))
    total, used = counts.total(), counts.pop(TRAINS, 0)
    said = f"{used} of {total} unlabelled images train"
    left_out = "; ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return f"{said} (left out: {left_out})" if left_out else said


def _write_table(run: Path, uses: Sequence[tuple[str, str]]) -> None:
    atomic_write_csv(run / ANSWERS / TABLE, ("image", "use"), uses)


def _table(run: Path) -> list[dict[str, str]]:
    with (run / ANSWERS / TABLE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _called(files: CaseFiles) -> str:
    return printable(files.images[0].name)
