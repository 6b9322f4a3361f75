"""How much memory a training will take, before it starts: counted on tensors without memory, not guessed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from genseg.base.free_memory import GIB, free_memory, memory_budget, used_memory
from genseg.compute.device import Machine
from genseg.config import Plan
from genseg.errors import DeviceError
from genseg.examine.training_data import TrainingData
from genseg.masks.growth import MEMO_BYTES
from genseg.training.rehearsal import rehearse
from genseg.training.views import has_views, kept_bytes

OVERHEAD = 1.2
"""What kernels take beside their results, and what lies unused between tensors, as a factor; see
`benchmarks/speed/memory.py`."""

REMAINDER = 150 * 2**20
"""What a run takes beside tensors and cases: packages that come in later, pictures, the report."""

LARGEST_NETWORKS = 2 * GIB
"""Above what weights, moments and their copies take in any plan."""

MOST_PER_PIXEL = 20_000
"""Bytes above what any plan takes for a pixel of an update's images."""


@dataclass(frozen=True)
class MemoryForecast:
    """Bytes. held: by this process already. more: that training will take beside. free: what there is for it.

    Of a GPU they are those of its own memory.
    """

    held: int
    more: int
    free: int

    @property
    def fits(self) -> bool:
        """Whether training can be begun."""
        return self.more <= self.free

    def __str__(self) -> str:
        return f"{(self.held + self.more) / GIB:.1f} GiB of memory, {self.more / GIB:.1f} GiB more than now"


def forecast_memory(gathered: TrainingData, machine: Machine) -> MemoryForecast:
    """The most memory that a run will hold at once, from now to its last update."""
    rehearsal = rehearse(gathered.plan, len(gathered.split.train), machine)
    # Between updates a checkpoint is written, from a copy of the weights in the order of a file.
    tensors = max(round(OVERHEAD * rehearsal.peak), 2 * rehearsal.state)
    if machine.device.type == "cuda":
        return MemoryForecast(0, tensors, _free(machine))
    return MemoryForecast(used_memory(), tensors + _case_bytes(gathered) + REMAINDER, _free(machine))


def check_memory(gathered: TrainingData, machine: Machine) -> None:
    """Raise DeviceError, with the numbers, where the training would not fit into memory.

    Counting is left out where there is plenty; see `needed_memory`.
    """
    if _has_plenty(gathered, machine):
        return
    plan, forecast = gathered.plan, forecast_memory(gathered, machine)
    if not forecast.fits:
        raise DeviceError(
            f"memory: this training needs {forecast}; {forecast.free / GIB:.1f} GiB are free on {machine.device}; "
            f"{_cure(plan, forecast)}, or free some memory"
        )


def needed_memory(gathered: TrainingData, machine: Machine) -> str:
    """How much memory a run will need, in words: a forecast, or a bound that is known at once where there is plenty.

    A forecast runs the code of whole updates, which takes a minute for feedback on a slow processor.
    """
    if not _has_plenty(gathered, machine):
        return str(forecast_memory(gathered, machine))
    return f"less than {_bound(gathered) / GIB:.1f} GiB; {_free(machine) / GIB:.1f} GiB are free"


def _has_plenty(gathered: TrainingData, machine: Machine) -> bool:
    return _bound(gathered) < _free(machine) / 2


def _bound(gathered: TrainingData) -> int:
    """Bytes that no training of this many pixels comes to."""
    pixels = gathered.plan.batch_size * math.prod(gathered.plan.patch_size)
    return LARGEST_NETWORKS + MOST_PER_PIXEL * pixels + _case_bytes(gathered)


def _free(machine: Machine) -> int:
    return torch.cuda.mem_get_info(machine.device)[0] if machine.device.type == "cuda" else free_memory()


def _case_bytes(gathered: TrainingData) -> int:
    """Bytes of prepared cases, which go to files beyond the budget, and of what a training keeps that is made from
    them: features of a frozen encoder, or what new masks are made from.
    """
    plan, statistics = gathered.plan, gathered.examination.statistics
    patch = math.prod(plan.patch_size)
    worked = patch if plan.rank == 2 else max(patch, math.prod(statistics.size_median))
    pixel = 4 * plan.channels + 1
    prepared = min(memory_budget(), len(gathered.examination.cases) * worked * pixel)
    if has_views(plan):
        return prepared + kept_bytes(plan, len(gathered.split.train))
    if plan.generation is None:
        return prepared
    training = len(gathered.split.train)
    return prepared + training * patch * pixel + min(MEMO_BYTES, training * patch * 8 * plan.classes)


def _cure(plan: Plan, forecast: MemoryForecast) -> str:
    """What to lower, and to what."""
    size = "--size" if plan.rank == 2 else "patch_size in a --plan"
    batch = int(plan.batch_size * forecast.free / forecast.more)
    if batch < (1 if plan.generation is None else 2):
        return f"lower {size} (now {' x '.join(map(str, plan.patch_size))})"
    return f"lower --batch-size (now {plan.batch_size}, {batch} should fit) or {size}"
