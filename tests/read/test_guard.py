"""What goes wrong with one image is its own problem; what concerns all of them is not."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import genseg
from genseg.errors import DataError, FaultCode, RunError
from genseg.examine import one_pass as reading
from genseg.examine.cases import RawCase
from genseg.models.model import Model
from genseg.read.guard import one_image


def _fail(error: BaseException) -> None:
    with one_image("a\n.png"):
        raise error


@pytest.mark.fault(81)
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), FaultCode.TOO_LARGE),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), FaultCode.TOO_LARGE),
        (RuntimeError("std::bad_alloc"), FaultCode.TOO_LARGE),
        (OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)), FaultCode.UNUSABLE_NAME),
        (OSError(errno.EILSEQ, os.strerror(errno.EILSEQ)), FaultCode.UNUSABLE_NAME),
        (ValueError("Doe^John"), FaultCode.UNEXPECTED),
        (RecursionError("Doe^John"), FaultCode.UNEXPECTED),
    ],
)
def test_problems_of_one_image_are_named(error: Exception, code: FaultCode) -> None:
    with pytest.raises(DataError) as refused:
        _fail(error)
    (fault,) = refused.value.faults
    assert (fault.code, fault.file) == (code, "a\\n.png")
    assert "Doe" not in str(fault)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), RunError("in use"), KeyboardInterrupt(), DataError([])]
)
def test_problems_of_all_images_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        _fail(error)
    assert raised.value is error


def _fails_at(case: str, function: Callable[..., object]) -> Callable[..., object]:
    """`function`, but for one case, for which memory runs out."""

    def fail(*arguments: object) -> object:
        for one in arguments:
            files = one.files if isinstance(one, RawCase) else one
            if getattr(files, "name", "") == case:
                raise MemoryError
        return function(*arguments)

    return fail


@pytest.mark.fault(81)
def test_a_check_names_the_image_that_memory_is_too_small_for(
    rgb_phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "measure", _fails_at("phantom_003", reading.measure))
    with pytest.raises(DataError) as refused:
        genseg.check(rgb_phantoms)
    assert [(fault.code, Path(fault.file).name) for fault in refused.value.faults if fault.stops] == [
        (FaultCode.TOO_LARGE, "phantom_003.png")
    ]


@pytest.mark.fault(81)
def test_an_evaluation_names_every_image_that_memory_is_too_small_for(
    rgb_run: Path, rgb_phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "examine_case", _fails_at("phantom_008", Model.examine_case))
    told: list[int] = []
    with pytest.raises(DataError) as refused:
        genseg.load(rgb_run).evaluate(rgb_phantoms, progress=lambda *news: told.append(news[1]))
    assert [(fault.code, fault.file) for fault in refused.value.faults] == [(FaultCode.TOO_LARGE, "phantom_008")]
    assert told[-1] == 3
