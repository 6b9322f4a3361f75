#!/usr/bin/env python3
"""What generation and feedback bring: five ways of training, with equal updates and images per update.

    benchmarks/joint.py [--data DIR] [--tasks NAME ...] [--arms NAME ...] [--seeds 0 1 2]
        [--threads 2] [--development]

Each way is run with the small U-Net from random weights and, on pictures, with the pretrained encoder. `--data` is a
folder of data sets, by default what GENSEG_DATA says. Results: `benchmarks/results/joint/`.
"""

from typing import get_args

from suite import Arm, Suite, Task, main

from genseg.config import Arm as Way

SEGMENTERS = {"unet-small": (2, 3), "unet-pretrained": (2,)}
TWINS = {"unet-small": "foundation/strong-augmentation", "unet-pretrained": "foundation/pretrained-encoder"}
"""Runs of the foundation suite, on real pairs with strong augmentation."""

SUITE = Suite(
    "joint",
    {
        f"{way}-{name}": Arm(name, ranks, way, TWINS[name] if way == "strong-augmentation" else None)
        for name, ranks in SEGMENTERS.items()
        for way in get_args(Way)
    },
    {
        "polyp_cvc_clinicdb": Task(2),
        "foot_ulcer_fuseg": Task(2),
        "skin_isic2017": Task(2),
        "breast_us_busi": Task(2),
        "lung_heart_jsrt_multiclass": Task(2),
        "hippocampus_msd": Task(3, labels=20),
    },
)

if __name__ == "__main__":
    main(SUITE, __doc__)
