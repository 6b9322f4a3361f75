"""On a CPU nothing of a volume is computed in bfloat16, and of 2D images only convolutions that are right in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import genseg
from genseg.compute import bfloat16 as arithmetic
from genseg.compute.bfloat16 import Convolution, is_right
from genseg.compute.device import Machine, choose_machine
from genseg.config import GenerationPlan, Plan, Settings
from genseg.generators import registry
from genseg.joint import guards
from genseg.joint.generation import begin_generation
from genseg.joint.loop import JointLoop
from genseg.segmenters.learner import begin, make_update
from genseg.segmenters.swin import SwinUNet
from genseg.training.dummy import made_up_cases
from genseg.training.rehearsal import rehearse


@pytest.fixture
def half() -> Machine:
    """The processor, asked for bfloat16."""
    return choose_machine("cpu", "bfloat16")


class _HalfPrecision(TorchDispatchMode):
    """Collects every operation that gives or takes bfloat16."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if any(isinstance(one, Tensor) and one.dtype == torch.bfloat16 for one in tree_leaves((made, args))):
            self.found.add(str(func))
        return made


@pytest.mark.fault(55)
@pytest.mark.usefixtures("_tiny_network")
@pytest.mark.parametrize("segmenter", ["unet-small", "deeplab"])
def test_no_operation_of_an_update_on_volumes_is_in_bfloat16(
    segmenter: str, half: Machine, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of(3, segmenter=segmenter)
    with _HalfPrecision() as seen:
        learner = begin(plan, 0, half)
        make_update(learner, torch.randn(2, 1, 16, 16, 16), torch.zeros(2, 16, 16, 16), plan, 0, half)
    assert seen.found == set()


@pytest.mark.fault(55)
def test_linear_layers_of_volumes_are_in_float32_too(half: Machine) -> None:
    network = SwinUNet(3, 1, 2, features=12)
    with torch.no_grad(), half.autocast(3), _HalfPrecision() as seen:
        network(torch.randn(1, 1, 16, 16, 16))
    assert seen.found == set()


@pytest.mark.fault(55)
@pytest.mark.usefixtures("_tiny_networks")
def test_no_operation_of_the_joint_loop_on_volumes_is_in_bfloat16(half: Machine, plan_of: Callable[..., Plan]) -> None:
    settings = GenerationPlan(pretraining=1, batch_size=2, every=1, search=1)
    plan = plan_of(3, patch_size=(8, 16, 16), batch_size=4, generation=settings)
    cases = made_up_cases(4, plan)
    loop = JointLoop(cases, [case.name for case in cases], plan, 0, half)
    learner, generation = begin(plan, 0, half), begin_generation(plan, 4, 0, half)
    with _HalfPrecision() as seen:
        loop.pretrain(generation)
        learner.update = loop.steered[0]
        loop.advance(learner, generation)
    assert generation.feedbacks == 1
    assert seen.found == set()


@pytest.fixture
def _tiny_networks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Segmenter and generator of a few hundred weights; nobody asks what the generator has learned."""
    from joint_problem import tiny_networks

    monkeypatch.setattr(guards, "check_health", lambda *_: None)
    monkeypatch.setattr(guards, "check_gradients", lambda *_: None)
    with tiny_networks():
        yield


HIT = {
    "first axis of 2": ((4, 32, 2, 4, 4), 1),
    "last axis of 1 at stride 2": ((4, 32, 8, 8, 1), 2),
    "last axis shrinks to 1": ((4, 32, 4, 4, 2), 2),
    "voxel": ((4, 32, 1, 1, 1), 1),
}
"""Shapes of images, and strides, at which bfloat16 kernels have given wrong results."""


@pytest.mark.fault(55)
@pytest.mark.parametrize(("shape", "stride"), HIT.values(), ids=HIT)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_gradients_of_volumes_do_not_depend_on_what_lay_in_memory(
    shape: tuple[int, ...], stride: int, layout: torch.memory_format, half: Machine
) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=layout)
    layer = nn.Conv3d(32, 16, 3, stride, padding=1).to(memory_format=layout)
    exact = torch.autograd.grad(layer(image).square().sum(), list(layer.parameters()))
    for _ in range(5):
        soiled = [torch.full((one.numel(),), torch.nan) for one in layer.parameters() for _ in range(3)]
        del soiled
        with half.autocast(3):
            loss = layer(image).square().sum()
        for found, right in zip(torch.autograd.grad(loss, list(layer.parameters())), exact, strict=True):
            torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-4)


@pytest.mark.fault(55)
def test_volumes_end_with_the_same_weights_whatever_precision_is_asked_for(
    volume_phantoms: Path, tmp_path: Path, tiny_training: dict[str, Any]
) -> None:
    weights = []
    for number, precision in enumerate(("float32", "bfloat16", "bfloat16")):
        settings = Settings(**{**tiny_training, "pretraining": None, "updates": 1, "precision": precision})
        run = genseg.fit(volume_phantoms, tmp_path / str(number), settings=settings).run
        weights.append((run / "model" / "segmenter.safetensors").read_bytes())
        assert ", float32, " in (run / "environment.json").read_text(encoding="utf-8")
    assert weights[0] == weights[1] == weights[2]


CONVOLUTION = Convolution(functional.conv2d, (2, 4, 8, 8), (6, 4, 3, 3), ((1, 1), (1, 1), (1, 1), 1), (), True)
TRANSPOSED = Convolution(functional.conv_transpose2d, (2, 4, 2, 3), (4, 6, 5, 5), (), (("padding", 2),), False)


@pytest.mark.parametrize("convolution", [CONVOLUTION, TRANSPOSED])
def test_rounding_to_bfloat16_is_right_and_anything_worse_is_not(
    convolution: Convolution, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_right.__wrapped__(convolution)
    for part in range(3):  # the output, the gradient of the image, that of the weight
        for value in (torch.nan, 1e36, 0.0):
            with monkeypatch.context() as patch:
                patch.setattr(Convolution, "results", _wrong_in_bfloat16(part, value, 1))
                assert not is_right.__wrapped__(convolution), (part, value)


@pytest.mark.fault(55)
def test_a_fault_that_shows_in_one_of_three_tries_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Convolution, "results", _wrong_in_bfloat16(2, torch.nan, arithmetic.TRIES))
    assert not is_right.__wrapped__(CONVOLUTION)


def _wrong_in_bfloat16(part: int, value: float, at_try: int) -> Callable[..., list[Tensor]]:
    """`Convolution.results` of a library that sets one of them to a value, in bfloat16, the `at_try`-th time."""
    right, tries = Convolution.results, iter(range(1, 10))

    def results(self: Convolution, image: Tensor, weight: Tensor) -> list[Tensor]:
        found = right(self, image, weight)
        if image.dtype == torch.bfloat16 and next(tries) == at_try:
            found[part][:1] = value
        return found

    return results


@pytest.mark.fault(55)
@pytest.mark.parametrize("layer", [nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(3, 4, 2, bias=False)])
@pytest.mark.parametrize("trusted", [True, False])
def test_a_convolution_of_2d_images_that_is_wrong_in_bfloat16_runs_in_float32(
    layer: nn.Module, trusted: bool, half: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic, "is_right", lambda _: trusted)
    image = torch.randn(2, 3, 8, 8, requires_grad=True)
    with half.autocast(2):
        output = layer(image.bfloat16())
    assert output.dtype == (torch.bfloat16 if trusted else torch.float32)
    output.float().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in layer.parameters())


def test_convolutions_that_are_in_float32_anyway_are_not_tried(half: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "is_right", lambda _: pytest.fail("tried"))
    with half.autocast(2), torch.autocast("cpu", enabled=False):
        assert nn.Conv2d(3, 4, 3)(torch.randn(2, 3, 8, 8)).dtype == torch.float32
    with half.autocast(3):
        assert nn.Conv2d(3, 4, 3)(torch.randn(2, 3, 8, 8)).dtype == torch.float32


@pytest.mark.usefixtures("_tiny_networks")
def test_convolutions_are_tried_throughout_the_joint_loop_and_not_where_memory_is_counted(
    half: Machine, plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = GenerationPlan(pretraining=1, batch_size=2, every=1, search=1)
    plan = plan_of(2, batch_size=4, generation=settings)
    tried: list[Convolution] = []
    monkeypatch.setattr(arithmetic, "is_right", lambda one: tried.append(one) or is_right(one))
    monkeypatch.setitem(registry.GENERATORS, "small", registry.GeneratorSpec("small", "tiny", {2: (4, 6)}))
    rehearse(plan, 4, half)
    assert tried == []
    cases = made_up_cases(4, plan)
    loop = JointLoop(cases, [case.name for case in cases], plan, 0, half)
    learner, generation = begin(plan, 0, half), begin_generation(plan, 4, 0, half)
    loop.pretrain(generation)
    learner.update = loop.steered[0]
    loop.advance(learner, generation)
    assert generation.feedbacks == 1
    assert {one.function for one in tried} == {functional.conv2d, functional.conv_transpose2d}


def test_trying_leaves_random_draws_and_gradients_alone(half: Machine) -> None:
    layer, image = nn.Conv2d(5, 7, 3), torch.randn(1, 5, 9, 11)
    before = torch.get_rng_state()
    with torch.no_grad(), half.autocast(2):
        layer(image)
    assert torch.equal(torch.get_rng_state(), before)
    assert layer.weight.grad is None
