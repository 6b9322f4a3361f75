"""What a process has only once, and what therefore belongs to the program that calls genseg."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def callers_state_kept() -> Iterator[None]:
    """Put back, when the body is left in whatever way, random states and warning filters as they were before it.

    Training seeds torch anew before each update, and packages that are first imported in the body draw numbers and set
    filters of their own. Also a decorator.
    """
    import torch

    own, numpy = random.getstate(), np.random.get_state()
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with warnings.catch_warnings(), torch.random.fork_rng(devices=gpus):
        try:
            yield
        finally:
            random.setstate(own)
            np.random.set_state(numpy)
