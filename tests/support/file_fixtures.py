"""What the tests of several file formats share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.robustness import dicom_files
from benchmarks.robustness.dicom_files import PATIENT
from genseg.errors import DataError, Fault
from genseg.read import ReadOptions, read_image


@pytest.fixture
def faults_of() -> Callable[..., tuple[Fault, ...]]:
    """Read a file that must be refused, and return the faults named: `faults_of(path, read_mask, options)`."""

    def refuse(path: Path, read: Any = read_image, options: ReadOptions | None = None) -> tuple[Fault, ...]:
        with pytest.raises(DataError) as caught:
            read(path, options or ReadOptions())
        assert all(fault.file.isprintable() for fault in caught.value.faults)
        assert PATIENT not in str(caught.value)
        return caught.value.faults

    return refuse


@pytest.fixture
def write_dicom() -> Callable[..., Path]:
    """Write one DICOM file: `write_dicom(path, pixels, RescaleSlope=2, ...)`; a tag given as None is left out."""
    return dicom_files.write_dicom


@pytest.fixture
def write_series() -> Callable[..., Path]:
    """Write slices `(row, column)` into a folder, 2.5 mm apart: `write_series(folder, voxels, **tags)`."""
    return dicom_files.write_series
