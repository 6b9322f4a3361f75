#!/usr/bin/env python3
"""The baselines: strong augmentation alone, from random weights and from a pretrained encoder.

    benchmarks/foundation.py [--data DIR] [--tasks NAME ...] [--arms NAME ...] [--seeds 0 1 2]
        [--threads 2] [--development]

`--data` is a folder of data sets, by default what GENSEG_DATA says. Results: `benchmarks/results/foundation/`.
"""

from suite import Arm, Suite, Task, main

SUITE = Suite(
    "foundation",
    {
        "strong-augmentation": Arm("unet-small", (2, 3)),
        "pretrained-encoder": Arm("unet-pretrained", (2,)),
    },
    {
        "skin_isic2017": Task(2),
        "polyp_cvc_clinicdb": Task(2),
        "foot_ulcer_fuseg": Task(2),
        "breast_us_busi": Task(2),
        "lung_heart_jsrt_multiclass": Task(2),
        "hippocampus_msd": Task(3),
    },
)

if __name__ == "__main__":
    main(SUITE, __doc__)
