"""Which cases and which patches make a batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from genseg.batches.draw import Batches, cut_patch
from genseg.compute.device import Machine
from genseg.compute.randomness import generator_for
from genseg.config import Plan
from genseg.prepare.preprocess import Prepared
from genseg.prepare.storage import prepare_all
from genseg.read.case import IGNORE, Case

MakePlan = Callable[..., Plan]
MakeCase = Callable[..., Prepared]


@pytest.mark.parametrize(("cases", "batch_size"), [(5, 2), (4, 4), (3, 8)])
def test_every_case_is_seen_once_before_any_is_seen_again(
    make_plan: MakePlan, make_case: MakeCase, machine: Machine, cases: int, batch_size: int
) -> None:
    batches = Batches([make_case(n) for n in range(cases)], make_plan(batch_size=batch_size), 0, machine)
    seen = [index for update in range(3 * cases) for index in batches.indices(update)]
    rounds = [tuple(seen[start : start + cases]) for start in range(0, len(seen), cases)]
    assert all(sorted(one) == list(range(cases)) for one in rounds)
    assert len(set(rounds)) > 1


def test_the_order_depends_on_the_seed(make_plan: MakePlan, make_case: MakeCase, machine: Machine) -> None:
    cases = [make_case(n) for n in range(9)]
    orders = {tuple(Batches(cases, make_plan(batch_size=9), seed, machine).indices(0)) for seed in range(3)}
    assert len(orders) == 3


def test_an_update_has_the_same_batch_whatever_came_before(
    make_plan: MakePlan, make_case: MakeCase, machine: Machine
) -> None:
    cases = [make_case(n) for n in range(4)]
    long, fresh = (Batches(cases, make_plan(), 0, machine) for _ in range(2))
    earlier = [long[update] for update in range(6)]
    torch.manual_seed(99)
    image, mask = fresh[5]
    assert torch.equal(image, earlier[5][0])
    assert torch.equal(mask, earlier[5][1])
    assert not torch.equal(image, earlier[4][0])


def test_a_case_is_changed_anew_each_time_it_is_seen(
    make_plan: MakePlan, make_case: MakeCase, machine: Machine
) -> None:
    batches = Batches([make_case(0)], make_plan(batch_size=1), 0, machine)
    seen = {batches[update][0].numpy().tobytes() for update in range(12)}
    assert len(seen) > 6


def test_without_augmentation_a_batch_holds_the_cases_as_they_are(
    make_plan: MakePlan, make_case: MakeCase, machine: Machine
) -> None:
    cases = [make_case(n) for n in range(4)]
    batches = Batches(cases, make_plan(augmentation="none"), 0, machine)
    image, mask = batches[1]
    chosen = [cases[index] for index in batches.indices(1)]
    assert np.array_equal(image, np.stack([case.image for case in chosen]))
    assert np.array_equal(mask, np.stack([case.mask for case in chosen]))
    assert image.is_contiguous(memory_format=torch.channels_last)


def test_augmented_masks_hold_classes_and_what_is_to_be_ignored(
    make_plan: MakePlan, make_case: MakeCase, machine: Machine
) -> None:
    case = make_case(0)
    case.mask[:, 12:] = IGNORE
    batches = Batches([case], make_plan(batch_size=32), 0, machine)
    mask = batches[0][1]
    assert set(mask.unique().tolist()) == {0, 1, IGNORE}
    assert mask.dtype == torch.uint8


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_the_plan_s_share_of_patches_is_centred_on_foreground(
    make_plan: MakePlan, make_case: MakeCase, share: float, expected: float
) -> None:
    case = make_case(0, spatial=(64, 64, 64), box=slice(20, 21), channels=1)
    plan = make_plan(rank=3, patch_size=(8, 8, 8), foreground_share=share)
    masks = [cut_patch(case, plan, generator_for(0, "batch", n))[1] for n in range(200)]
    centred = np.mean([bool(mask[4, 4, 4]) for mask in masks])
    assert centred == pytest.approx(expected, abs=0.1)
    assert all(mask.shape == (8, 8, 8) for mask in masks)


@pytest.mark.parametrize("box", [slice(0, 1), slice(11, 12)])
def test_a_patch_at_the_border_stays_inside_and_holds_the_foreground(
    make_plan: MakePlan, make_case: MakeCase, box: slice
) -> None:
    case = make_case(0, spatial=(12, 12, 12), box=box, channels=1)
    plan = make_plan(rank=3, patch_size=(8, 8, 8), foreground_share=1.0)
    image, mask = cut_patch(case, plan, generator_for(0, "batch", 0))
    assert image.shape == (1, 8, 8, 8)
    assert mask.sum() == 1


def test_patches_without_foreground_start_everywhere_alike(make_plan: MakePlan, make_case: MakeCase) -> None:
    case = make_case(0, spatial=(12, 8, 8), box=slice(0, 0), channels=1)
    case.image[:] = np.arange(12)[:, None, None]
    plan = make_plan(rank=3, patch_size=(8, 8, 8), foreground_share=1.0)
    starts = [int(cut_patch(case, plan, generator_for(0, "batch", n))[0][0, 0, 0, 0]) for n in range(500)]
    shares = np.bincount(starts, minlength=5) / len(starts)
    assert len(shares) == 5
    assert shares == pytest.approx([0.2] * 5, abs=0.06)


def test_a_case_without_mask_is_refused(make_plan: MakePlan, make_case: MakeCase) -> None:
    case = make_case(0)
    unlabelled = Prepared(case.name, case.image, None, case.geometry, case.foreground)
    with pytest.raises(ValueError, match="without mask"):
        cut_patch(unlabelled, make_plan(), generator_for(0, "batch", 0))


def test_cases_that_do_not_fit_into_memory_give_the_same_batches(
    make_plan: MakePlan, machine: Machine, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0)
    cases = [
        Case(
            f"{n}", noise.integers(0, 255, (3, 16, 16), np.uint8), np.eye(16, dtype=np.uint8), (1, 1), None, "", "", ""
        )
        for n in range(3)
    ]
    plan = make_plan()
    kept, mapped = (prepare_all(cases, plan, tmp_path, budget) for budget in (None, 0))
    assert all(isinstance(case.image, np.memmap) for case in mapped)
    for one, other in zip(Batches(kept, plan, 0, machine)[0], Batches(mapped, plan, 0, machine)[0], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("mix", ["copy-paste", "cutmix"])
def test_mixed_batches_are_strongly_changed_ones_mixed(
    make_plan: MakePlan, make_case: MakeCase, machine: Machine, mix: str
) -> None:
    cases = [make_case(number) for number in range(8)]
    strong, mixed = (
        Batches(cases, make_plan(augmentation=augmentation, batch_size=8), 0, machine)[0]
        for augmentation in ("strong", mix)
    )
    same = (strong[0] == mixed[0]).all(1)
    assert 0.3 < same.float().mean() < 1
    assert torch.equal(strong[1][same], mixed[1][same])
    assert torch.equal(mixed[0].movedim(1, -1)[~same], strong[0].roll(1, 0).movedim(1, -1)[~same])
    plan = make_plan(augmentation=mix, batch_size=8)
    moved = [Batches(cases, one, 0, machine, changes="space")[0] for one in (make_plan(batch_size=8), plan)]
    assert torch.equal(moved[0][0], moved[1][0])


def test_images_grow_from_half_of_their_size_to_all_of_it(
    make_plan: MakePlan, make_case: MakeCase, machine: Machine
) -> None:
    plan = make_plan(patch_size=(64, 96), updates=16, growing=0.75, augmentation="none")
    case = make_case(0, spatial=(64, 96), box=slice(32, 64))
    batches = Batches([case], plan, 0, machine, batch_size=1)
    sizes = [(32, 48)] * 8 + [(48, 64)] * 4 + [(64, 96)] * 4  # three quarters of 96 are 72: no multiple of 16
    for update, size in enumerate(sizes):
        image, mask = batches[update]
        assert image.shape == (1, 3, *size)
        assert mask.shape == (1, *size)
    half = batches[0]
    assert torch.equal(half[1][0], torch.from_numpy(case.mask[1::2, 1::2]) if case.mask is not None else half[1][0])
    # Averaged, not picked: the mean stays, and noise is weaker.
    assert half[0].mean().item() == pytest.approx(case.image.mean(), abs=0.01)
    assert half[0].std() < 0.7 * case.image.std()


def test_a_size_that_is_asked_for_is_that_of_every_update(
    make_plan: MakePlan, make_case: MakeCase, machine: Machine
) -> None:
    plan = make_plan(patch_size=(64, 64), updates=4, growing=0.75)
    batches = Batches([make_case(0, spatial=(64, 64))], plan, 0, machine, batch_size=1, size=(48, 48))
    assert {tuple(batches[update][0].shape[2:]) for update in range(4)} == {(48, 48)}
