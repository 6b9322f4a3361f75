"""What tells good predicted masks of unlabelled images from bad ones: the model's own doubt, or the held-out error?

    python -m benchmarks.accuracy.pseudo_labels --keep DIR [--tasks NAME ...] [--folds 0 1] [--seed 0] [--data DIR]

`--keep` is the folder of runs that `benchmarks.accuracy.all_labels` has made with 10 labels. The model of each fold
predicts masks for the other cases of the train list, whose true masks are known here. A student learns from the fold's
labels and these masks, as in `genseg train --also-images`. At every 20th update, the held-out loss after one more step
is differentiated in the weight of each predicted mask (Ren et al., Learning to Reweight Examples, ICML 2018): its
gradient times the optimiser's step for this mask. Reported are rank correlations with the true Dice of the masks, of
that number (its mean over the training) and of the expected Dice. Writes `benchmarks/results/pseudo_labels/`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

import genseg
from benchmarks.accuracy.run import write_list
from benchmarks.locations import RESULTS, data_root, write_record
from genseg.batches.draw import Batches, cut_patch, joined
from genseg.compute.device import Machine, choose_machine
from genseg.compute.randomness import generator_for
from genseg.config import Plan
from genseg.evaluate.metrics import dice_scores
from genseg.evidence.answers import SURE
from genseg.examine.cases import CaseStore
from genseg.index import index_dataset
from genseg.models.model import Model
from genseg.prepare.preprocess import Prepared, prepare
from genseg.read.case import IGNORE, Case
from genseg.runs.folder import RunFolder
from genseg.segmenters.learner import Learner, begin, make_update
from genseg.segmenters.loss import segmentation_loss

LABELS, EVERY = 10, 20


def main() -> None:
    """Make the records that are missing."""
    asked = _arguments()
    torch.set_num_threads(1)
    for task in asked.tasks:
        run = next(asked.keep.glob(f"{task}-*-{LABELS}-labels-*-seed{asked.seed}"))
        for fold in asked.folds:
            record = RESULTS / "pseudo_labels" / f"{run.name}-fold{fold}.json"
            if not record.exists():
                found = measure(asked.data / task, run / "comparison" / f"strong-augmentation-fold-{fold}", asked.seed)
                command = f"python -m benchmarks.accuracy.pseudo_labels --keep DIR --tasks {task} --folds {fold}"
                write_record(record, {"run": run.name, "fold": fold, **found, "command": command})
                sys.stdout.write(f"{record.stem}: {found['rank_correlation']}\n")
                sys.stdout.flush()


def measure(data: Path, fold: Path, seed: int) -> dict[str, Any]:
    """Rank correlations with the true Dice of the predicted masks."""
    run, teacher = RunFolder(fold), genseg.load(fold, device="cpu")
    train = [files for files in index_dataset(data).entries if files.split == "train"]
    with tempfile.TemporaryDirectory() as folder:
        cases = genseg.check(write_list(Path(folder) / "train.csv", train)).cases
        labelled = cases.select([case.name for case in cases if case.name in run.split().train])
        held_out = cases.select(run.split().validation)
        others = cases.select([files.name for files in train[LABELS:]])
        predicted = [_predicted(case, teacher) for case in others]
        weights = _weights(labelled, held_out, [case for case, _, _ in predicted], run.plan(), seed)
    truth = [dice for _, dice, _ in predicted]
    expected = [one for _, _, one in predicted]
    correlation = {name: round(float(spearmanr(one, truth)[0]), 3) for name, one in _named(weights, expected)}
    return {
        "rank_correlation": correlation,
        "true_dice": [round(one, 4) for one in truth],
        "expected_dice": [round(one, 4) for one in expected],
        "steered": [round(one, 4) for one in weights],
    }


def _named(weights: Sequence[float], expected: Sequence[float]) -> list[tuple[str, Sequence[float]]]:
    return [("steered", weights), ("expected_dice", expected)]


def _predicted(case: Case, teacher: Model) -> tuple[Case, float, float]:
    """A case with its predicted mask, the true Dice of that, and the expected one."""
    found = teacher.examine_case(case)
    true = dice_scores(case.mask, found.mask, teacher.plan.classes) if case.mask is not None else [0.0]
    sure = np.where(found.confidence >= SURE, found.mask, np.uint8(IGNORE))
    return replace(case, mask=sure), float(np.mean(true)), found.expected_dice or 0.0


def _weights(labelled: CaseStore, held_out: CaseStore, others: Sequence[Case], plan: Plan, seed: int) -> list[float]:
    """How much the held-out loss falls where a predicted mask counts more, standardised, the mean over a training."""
    machine = choose_machine("cpu", "float32")
    training, judging, pool = ([prepare(case, plan) for case in some] for some in (labelled, held_out, others))
    learner = begin(plan, seed, machine)
    half = plan.batch_size // 2
    ours = Batches(training, plan, seed, machine, batch_size=plan.batch_size - half)
    theirs = Batches(pool, plan, seed, machine, batch_size=half, purpose="unlabelled")
    found = []
    while learner.update < plan.updates:
        if learner.update and learner.update % EVERY == 0:
            found.append(_falls(learner, judging, pool, plan, machine))
        image, mask = joined(ours[learner.update], theirs[learner.update])
        make_update(learner, image, mask, plan, seed, machine)
    standard = [(one - one.mean()) / max(one.std(), 1e-12) for one in found]
    return np.mean(standard, axis=0).tolist()


def _falls(
    learner: Learner, judging: Sequence[Prepared], pool: Sequence[Prepared], plan: Plan, machine: Machine
) -> Any:
    """Minus the derivative of the held-out loss, after one step of the optimiser, in the weight of each mask."""
    learner.segmenter.eval()
    wanted = _gradient(learner, judging, plan, machine)
    scaled = [_step(learner, weight) * one for weight, one in zip(_trained(learner), wanted, strict=True)]
    falls = []
    for one in pool:
        own = _gradient(learner, [one], plan, machine)
        falls.append(sum(float((a * b).sum()) for a, b in zip(scaled, own, strict=True)))
    learner.segmenter.train()
    return np.array(falls)


def _step(learner: Learner, weight: Tensor) -> Tensor:
    """What Adam multiplies the gradient of a weight with, but for the learning rate."""
    return 1 / (learner.optimiser.state[weight]["exp_avg_sq"].sqrt() + 1e-8)


def _trained(learner: Learner) -> list[Tensor]:
    return [weight for weight in learner.segmenter.parameters() if weight in learner.optimiser.state]


def _gradient(learner: Learner, cases: Sequence[Prepared], plan: Plan, machine: Machine) -> tuple[Tensor, ...]:
    pairs = [cut_patch(case, plan, generator_for(0, "pseudo labels", place)) for place, case in enumerate(cases)]
    image = machine.send(torch.stack([image for image, _ in pairs]))
    loss = segmentation_loss(learner.segmenter(image), torch.stack([mask for _, mask in pairs]))
    return torch.autograd.grad(loss, _trained(learner))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=["polyp_cvc_clinicdb", "foot_ulcer_fuseg"])
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=data_root())
    return parser.parse_args()


if __name__ == "__main__":
    main()
