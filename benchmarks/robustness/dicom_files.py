"""Makes DICOM files, each with the name of a patient in its header."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

PATIENT = "Doe^Jane"
"""Stands in the headers; nothing that is shown may hold it."""


def write_series(folder: Path, slices: Iterable[np.ndarray[Any, Any]], **tags: Any) -> Path:
    """Write slices `(row, column)` into a folder, 2.5 mm apart."""
    folder.mkdir(exist_ok=True)
    for index, pixels in enumerate(slices):
        place = [10.0, 20.0, 30.0 + 2.5 * index]
        # Names run against the order of the slices, so that only positions tell it.
        write_dicom(folder / f"{99 - index}.dcm", pixels, **{"ImagePositionPatient": place, **tags})
    return folder


def write_dicom(path: Path, pixels: np.ndarray[Any, Any], *, syntax: str = ExplicitVRLittleEndian, **tags: Any) -> Path:
    """Write one DICOM file of gray `(row, column)`, frames `(frame, row, column)` or RGB `(row, column, 3)` pixels.

    A tag given as None is left out; `PixelData` takes the place of the pixels where they come compressed.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{zlib.crc32(path.name.encode())}"
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    bits = 8 * pixels.itemsize
    usual = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "SeriesInstanceUID": "1.2.3",
        "PatientName": PATIENT,
        "Modality": "CT",
        "Rows": pixels.shape[-3 if colour else -2],
        "Columns": pixels.shape[-2 if colour else -1],
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        **{"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1},
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelSpacing": [0.75, 0.5],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelData": pixels.tobytes(),
        **({"PlanarConfiguration": 0} if colour else {}),
    }
    for keyword, value in {**usual, **tags}.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OB" if "PixelData" in tags else "OW"
    dataset["PixelData"].is_undefined_length = "PixelData" in tags
    dataset.save_as(path, enforce_file_format=True)
    return path
