"""Random draws as pure functions of (seed, purpose, position), so that a resumed run repeats the uninterrupted one."""

from __future__ import annotations

import hashlib

import torch


def seed_for(seed: int, purpose: str, position: int) -> int:
    """A 63-bit seed that depends on all three and on nothing else."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{position}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_for(seed: int, purpose: str, position: int) -> torch.Generator:
    """A fresh CPU generator for one draw; see `seed_for`."""
    return torch.Generator().manual_seed(seed_for(seed, purpose, position))
