"""One joint step on eight small images: train generator and segmenter, then ask how the pairs should have been made."""

import torch

from genseg.compute.device import choose_machine
from genseg.config import Plan
from genseg.joint.generation import begin_generation
from genseg.joint.synthesis import MaskPool, make_masks
from genseg.joint.update import JointBatch, joint_update
from genseg.masks.plausible import Plausibility
from genseg.segmenters.learner import begin

# Noisy images of bright disks, (case, channel, row, column) in -1..1, and masks (case, row, column) of class indices.
draws, axis = torch.Generator().manual_seed(0), torch.arange(32) - 16
mask = torch.stack([(axis[:, None] ** 2 + axis**2 < radius**2).byte() for radius in range(5, 13)])
image = 0.8 * mask.unsqueeze(1) - 0.4 + 0.2 * torch.randn(8, 1, 32, 32, generator=draws)

data = {"rank": 2, "channels": 1, "class_names": ("background", "disk"), "intensity": {"rule": "eight-bit"}}
network = {"segmenter": "unet-small", "patch_size": (32, 32), "batch_size": 4, "updates": 100, "learning_rate": 1e-3}
augmentation = {"augmentation": "strong", "flip_axes": (0, 1)}
plan = Plan.from_mapping(data | network | augmentation | {"generation": {"pretraining": 1}})
machine = choose_machine("cpu", "float32")
learner, generation = begin(plan, 0, machine), begin_generation(plan, cases=6, seed=0, machine=machine)

real_masks = list(mask[:6].numpy())
pool = MaskPool(real_masks, range(6), Plausibility.learn(real_masks, plan.classes))
batch = JointBatch(
    to_generate=(image[:4], mask[:4]),  # stage I: real pairs that the generator learns from
    views=[(image[:6], mask[:6])] * 4,  # real pairs that the looks of synthetic images are taken from
    real=(image[4:6], mask[4:6]),  # stage II: real pairs that the segmenter learns from
    new_masks=make_masks(pool, generation.steered.ranges, 2, plan, draws),  # and the masks of its synthetic pairs
    held_out=(image[6:], mask[6:]),  # stage III: real pairs that say how the synthetic ones should change
    draws=draws,
)
outcome = joint_update(learner, generation, batch, plan, seed=0, machine=machine)

print(f"held-out loss: {outcome.held_out_loss:.4f}; its gradient with respect to")
# The synthetic fraction (as a logit), two ranges of the masks (likewise), and how much the styles vary.
for name in ("share_logit", "ranges.rotation", "ranges.scale", "styles.log_temperature"):
    print(f"    {name}: {outcome.found.total(name).item():+.1e}")
