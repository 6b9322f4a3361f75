"""Where and in which precision to compute."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from genseg.compute.bfloat16 import TriedConvolutions
from genseg.errors import DeviceError, unknown

DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")


@dataclass(frozen=True)
class Machine:
    """Device, arithmetic of convolutions and thread count of a run.

    dtype: what was asked for; volumes on a CPU are computed in float32 all the same, see `dtype_for`. passed_over: why
    a GPU that seems to be there is not used; empty where there is none, or it is used.
    """

    device: torch.device
    dtype: torch.dtype
    threads: int
    passed_over: str = ""

    def dtype_for(self, rank: int) -> torch.dtype:
        """Arithmetic of convolutions of 2D images (rank 2) or volumes (3).

        Never bfloat16 for volumes on a CPU: its kernels give wrong gradients of some shapes; see
        `genseg.compute.bfloat16`.
        """
        return torch.float32 if self.device.type == "cpu" and rank == 3 else self.dtype

    @contextmanager
    def autocast(self, rank: int) -> Iterator[None]:
        """Context in which convolutions of this rank run in `dtype_for(rank)`."""
        dtype = self.dtype_for(rank)
        is_half = dtype != torch.float32
        tried = TriedConvolutions() if is_half and self.device.type == "cpu" else nullcontext()
        with torch.autocast(self.device.type, dtype, enabled=is_half), tried:
            yield

    def place(self, module: nn.Module, rank: int) -> nn.Module:
        """Move a module to the device, in the channels-last layout that its convolutions are fastest in."""
        return module.to(self.device).to(memory_format=layout(rank))  # type: ignore[call-overload, no-any-return]

    def send(self, image: Tensor) -> Tensor:
        """Move `(batch, channel, *spatial)` to the device, channels last."""
        return image.to(self.device, non_blocking=True).contiguous(memory_format=layout(image.ndim - 2))

    def describe(self, rank: int | None = None) -> str:
        """In words, for logs: device, precision, threads, and why no GPU is used where there seems to be one.

        rank: of the images, where it is known; else the precision of volumes is given where it is another.
        """
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else processor_name()
        precision = _name(self.dtype if rank is None else self.dtype_for(rank))
        if rank is None and self.dtype_for(3) != self.dtype:
            precision += f" (volumes: {_name(self.dtype_for(3))})"
        parts = [f"{self.device} ({name})", precision, f"{self.threads} threads"]
        return ", ".join([*parts, *([f"no GPU because {self.passed_over}"] if self.passed_over else [])])


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def layout(rank: int) -> torch.memory_format:
    """channels_last for pictures, channels_last_3d for volumes."""
    return torch.channels_last if rank == 2 else torch.channels_last_3d


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory for a tensor or an array."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def choose_machine(device: str = "auto", precision: str = "auto") -> Machine:
    """The machine that settings ask for.

    Raises DeviceError where a device is asked for by name and absent, or the name is none. Where there is a GPU that
    cannot be used, "auto" takes the CPU, and the machine says why.
    """
    chosen = _choose_device(device)
    if precision == "auto":
        precision = "bfloat16" if _has_bfloat16(chosen) else "float32"
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    passed_over = _why_no_gpu() if device == "auto" and chosen.type == "cpu" else ""
    return Machine(chosen, dtype, torch.get_num_threads(), passed_over)


def _choose_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(unknown("device", name, DEVICES)) from None
    absent = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if absent.get(device.type, device.type != "cpu"):
        reason = _why_no_gpu() if device.type == "cuda" else ""
        raise DeviceError(f"device {name!r} is not available: {reason or 'this machine has none'}; use --device auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"device {name!r} is not available: this machine has {torch.cuda.device_count()} GPU(s)")
    return device


def _why_no_gpu() -> str:
    """Why PyTorch cannot use the GPU of a machine that has NVIDIA's driver; empty where it has none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    if torch.version.cuda is None:
        return "this PyTorch is a CPU-only build; install a CUDA build"
    try:
        torch.cuda.init()
    except (
        RuntimeError,
        AssertionError,
    ) as error:  # a driver that is too old for this PyTorch, or that does not answer
        return str(error).partition("\n")[0].rstrip(".")
    return "none is visible (see CUDA_VISIBLE_DEVICES)"


def _has_bfloat16(device: torch.device) -> bool:
    """Whether bf16 is fast there: on CPU only with AMX or AVX512-bf16; without, it is emulated and slow."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = _processor_line("flags").split()
    return device.type == "cpu" and any(flag in flags for flag in ("amx_bf16", "avx512_bf16"))


def processor_name() -> str:
    """The processor's name as the system gives it, or "CPU"."""
    return _processor_line("model name") or "CPU"


def _processor_line(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
