"""Which device and which arithmetic a run gets."""

from __future__ import annotations

import re
import shutil

import pytest
import torch

from genseg.compute import device
from genseg.compute.device import Machine, choose_machine, layout, processor_name
from genseg.errors import DeviceError


@pytest.fixture
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.fault(36)
@pytest.mark.usefixtures("_no_gpu")
@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
def test_an_absent_device_asked_for_by_name_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match=f"{name}.*--device auto"):
        choose_machine(name)


@pytest.mark.fault(36)
@pytest.mark.usefixtures("_no_gpu")
@pytest.mark.parametrize("built_for", [None, "12.6"])
def test_a_gpu_that_cannot_be_used_is_passed_over_and_said_why(
    monkeypatch: pytest.MonkeyPatch, built_for: str | None
) -> None:
    def too_old() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update it.")

    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(torch.version, "cuda", built_for)
    monkeypatch.setattr(torch.cuda, "init", too_old)
    reason = "driver on your system is too old" if built_for else "this PyTorch is a CPU-only build"
    assert f", no GPU because {'The NVIDIA ' if built_for else ''}{reason}" in choose_machine("auto").describe()
    assert "no GPU" not in choose_machine("cpu").describe()
    with pytest.raises(DeviceError, match=f"device 'cuda' is not available: .*{reason}"):
        choose_machine("cuda")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:first", "0", "meta"])
def test_nonsense_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="device "):
        choose_machine(name)


@pytest.mark.fault(36)
def test_a_gpu_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match="this machine has 1 GPU"):
        choose_machine("cuda:1", "float32")
    assert choose_machine("cuda:0", "float32").device == torch.device("cuda", 0)


@pytest.mark.usefixtures("_no_gpu")
@pytest.mark.parametrize(
    ("flags", "precision", "expected"),
    [
        ("fpu amx_bf16 sse", "auto", torch.bfloat16),
        ("fpu avx512_bf16", "auto", torch.bfloat16),
        ("fpu avx512f avx512_bf16x", "auto", torch.float32),
        ("", "auto", torch.float32),
        ("fpu amx_bf16", "float32", torch.float32),
        ("fpu", "bfloat16", torch.bfloat16),
    ],
)
def test_bfloat16_is_chosen_only_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, flags: str, precision: str, expected: torch.dtype
) -> None:
    monkeypatch.setattr(device, "_processor_line", lambda _: flags)
    machine = choose_machine("auto", precision)
    assert (machine.device.type, machine.dtype) == ("cpu", expected)


def test_networks_and_images_are_laid_out_channels_last() -> None:
    machine = choose_machine("cpu", "float32")
    network = machine.place(torch.nn.Conv2d(3, 4, 3), rank=2)
    assert network.weight.is_contiguous(memory_format=layout(2))
    assert machine.send(torch.zeros(2, 3, 4, 5, 6)).is_contiguous(memory_format=layout(3))


@pytest.mark.fault(55)
@pytest.mark.parametrize(
    ("asked", "rank", "precision"),
    [
        ("bfloat16", 2, "bfloat16"),
        ("bfloat16", 3, "float32"),
        ("bfloat16", None, r"bfloat16 \(volumes: float32\)"),
        ("float32", 2, "float32"),
        ("float32", None, "float32"),
    ],
)
def test_a_machine_describes_its_arithmetic(asked: str, rank: int | None, precision: str) -> None:
    described = choose_machine("cpu", asked).describe(rank)
    assert re.match(rf"cpu \({re.escape(processor_name())}\), {precision}, \d+ threads", described)


@pytest.mark.fault(55)
@pytest.mark.parametrize(("asked", "rank"), [("bfloat16", 2), ("bfloat16", 3), ("float32", 2), ("float32", 3)])
def test_only_2d_images_are_autocast_to_bfloat16_on_a_cpu(asked: str, rank: int) -> None:
    weight, machine = torch.ones(2, 2), choose_machine("cpu", asked)
    expected = torch.bfloat16 if (asked, rank) == ("bfloat16", 2) else torch.float32
    assert machine.dtype_for(rank) == expected
    with machine.autocast(rank):
        assert (weight @ weight).dtype == expected


def test_a_gpu_computes_volumes_in_the_precision_asked_for() -> None:
    assert Machine(torch.device("cuda"), torch.bfloat16, 1).dtype_for(3) == torch.bfloat16
