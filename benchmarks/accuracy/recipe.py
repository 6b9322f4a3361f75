"""nnU-Net's published recipe by MONAI's DynUNet: what its users would get from the same cases and updates.

Source: Isensee et al., nnU-Net, Nature Methods 2021, online methods and supplement: a U-Net of 32 features that double
to 512 (320 in 3D) with instance normalisation and leaky rectifiers, as deep as sides of 4 pixels allow; deep
supervision, each level counting half of the finer one; SGD with Nesterov momentum .99 from a rate of .01 that falls as
a power of .9; cross-entropy plus Dice; gradients clipped at 12. Its augmentation is what genseg's strong one follows.

It is not nnU-Net: planning, patches, Dice (of each image; nnU-Net in 2D takes that of a batch) and the number of
updates are genseg's, for all training methods are to have equal compute.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from genseg.base.progress import silent
from genseg.batches.draw import Batches
from genseg.compute.device import Machine, choose_machine, layout
from genseg.compute.randomness import seed_for
from genseg.config import Plan, Settings
from genseg.models.model import Model
from genseg.prepare.storage import prepare_all
from genseg.runs.folder import new_run_folder
from genseg.segmenters.loss import segmentation_loss
from genseg.segmenters.network import Array, Response
from genseg.training.gather import TrainingData, gather
from genseg.trust.trust import UNTESTED

FEATURES = {2: (32, 64, 128, 256, 512, 512, 512), 3: (32, 64, 128, 256, 320, 320)}
LEAST_SIDE = 4
RATE, MOMENTUM, DECAY, POWER, CLIP = 0.01, 0.99, 3e-5, 0.9, 12.0


class RecipeNetwork:
    """A trained DynUNet as `genseg.segmenters.network.Network`."""

    is_fixed = False

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network = network.eval()
        self._device = device

    @torch.inference_mode()
    def __call__(self, image: Array) -> Response:
        """Logits; no features."""
        sent = torch.from_numpy(np.ascontiguousarray(image)).to(self._device)
        logits = self._network(sent.contiguous(memory_format=layout(sent.ndim - 2)))
        return Response(logits.float().cpu().numpy(), ())


def fit_recipe(data: Path, out: Path, settings: Settings) -> Model:
    """Train as the recipe says and leave split, environment and validation scores in `out`, as `genseg.fit` does.

    settings: their segmenter is passed over; the training method is strong augmentation.
    """
    asked = settings.model_copy(update={"segmenter": "unet-large", "method": "strong-augmentation"})
    machine = choose_machine(asked.device, asked.precision)
    gathered = gather(data, asked, None, machine, silent)
    with new_run_folder(out) as run:
        run.freeze(asked, gathered)
    run.write_environment(machine, gathered.plan.rank)
    network = train(gathered, asked.seed, machine, out / "cache")
    examination = gathered.examination
    channel_files = any(len(files.images) > 1 for files in examination.cases.entries)
    model = Model(
        gathered.plan,
        examination.labels,
        out,
        RecipeNetwork(network, machine.device),
        examination.options,
        channel_files,
        "nnunet-recipe",
        UNTESTED,
        "",
    )
    model.evaluate(data, out / "validation", split="validation")
    return model


def train(gathered: TrainingData, seed: int, machine: Machine, cache: Path) -> nn.Module:
    """The network after the plan's updates."""
    plan = gathered.plan
    batches = Batches(prepare_all(gathered.cases(gathered.split.train), plan, cache), plan, seed, machine)
    torch.manual_seed(seed_for(seed, "weights", 0))
    network = machine.place(build(plan), plan.rank).train()
    optimiser = torch.optim.SGD(network.parameters(), RATE, MOMENTUM, weight_decay=DECAY, nesterov=True)
    for update in range(plan.updates):
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 - update / plan.updates) ** POWER
        image, mask = batches[update]
        with machine.autocast(plan.rank):
            levels = network(image)
        optimiser.zero_grad(set_to_none=True)
        deep_loss(levels, mask).backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimiser.step()
    return network


def build(plan: Plan) -> nn.Module:
    """DynUNet, halving each axis while that is possible and leaves `LEAST_SIDE` pixels."""
    from monai.networks.nets.dynunet import DynUNet

    strides: list[list[int]] = [[1] * plan.rank]
    sizes = list(plan.patch_size)
    while len(strides) < len(FEATURES[plan.rank]):
        steps = [2 if size >= 2 * LEAST_SIDE and size % 2 == 0 else 1 for size in sizes]
        if max(steps) == 1:
            break
        strides.append(steps)
        sizes = [size // step for size, step in zip(sizes, steps, strict=True)]
    return DynUNet(
        plan.rank,
        plan.channels,
        plan.classes,
        kernel_size=[3] * len(strides),
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=FEATURES[plan.rank][: len(strides)],
        norm_name="instance",
        deep_supervision=True,
        deep_supr_num=max(1, len(strides) - 3),  # all but the two coarsest levels, and the finest
    )


def deep_loss(levels: Tensor, mask: Tensor) -> Tensor:
    """levels: `(batch, level, class, *spatial)`, the finest first; each counts half of the one before."""
    weights = torch.tensor([0.5**level for level in range(levels.shape[1])])
    losses = torch.stack([segmentation_loss(logits, mask) for logits in levels.unbind(1)])
    return (losses * (weights / weights.sum()).to(losses)).sum()
