"""A folder of 200 pictures and a DICOM series through the command line, as a clinic would, with the times.

    python -m benchmarks.speed.clinic [--threads 1]

Models are trained for a few updates on phantoms and exported to OpenVINO (the time does not depend on what they have
learned). Then `genseg predict` runs in a new process for each task: 200 pictures of 256 pixels with overlays, at first
looked at once (--fast), then mirrored too; and a series of 60 slices of 128 pixels with DICOM segmentation and
contours. Starting Python, reading, writing and tables are part of the time. Writes benchmarks/results/clinic.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

import genseg
from benchmarks.locations import RESULTS, write_record
from genseg.synthetic.phantoms import write_phantoms

PICTURES = 200
SERIES = (128, 128, 60)


def main() -> None:
    """Make models and scans, run the commands, keep the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        pictures = write_phantoms(work / "pictures", "rgb", cases=PICTURES, size=256) / "images"
        series = write_series(work / "series", work / "volumes")
        # In a process of its own: a command's peak memory is never told as less than that of the process it came from.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            picture_model, volume_model = (pool.apply(model_of, (work, kind)) for kind in ("rgb", "volume"))
        rows = [
            row(
                "200 images, not mirrored",
                asked.threads,
                picture_model,
                pictures,
                work / "a",
                "--overlays",
                "--fast",
            ),
            row("200 images, mirrored as well", asked.threads, picture_model, pictures, work / "b", "--overlays"),
            row("a DICOM series", asked.threads, volume_model, series, work / "c", "--dicom-seg", "--contours"),
        ]
    from genseg.compute.device import processor_name

    kept = {
        "command": f"python -m benchmarks.speed.clinic --threads {asked.threads}",
        "device": processor_name(),
        "rows": rows,
    }
    write_record(RESULTS / "clinic.json", kept)
    sys.stdout.write(json.dumps(rows, indent=1) + "\n")


def model_of(work: Path, kind: str) -> Path:
    """A model for phantoms of a kind, exported."""
    data = write_phantoms(work / f"train-{kind}", kind, cases=12, size=256 if kind == "rgb" else 36)  # type: ignore[arg-type]
    settings = genseg.Settings(
        method="strong-augmentation", updates=5, batch_size=2, size=256 if kind == "rgb" else None
    )
    run = genseg.fit(data, work / f"run-{kind}", settings=settings).run
    return genseg.export_model(run, data, "openvino", work / f"{kind}.xml").path


def write_series(folder: Path, volumes: Path) -> Path:
    """A volume phantom, repeated up to the size of a scan, as the DICOM series of an invented patient."""
    write_phantoms(volumes, "volume", cases=3, size=60)
    scan = np.asanyarray(nibabel.load(next((volumes / "images").iterdir())).dataobj)
    voxels = np.tile(scan, (3, 3, 1))[: SERIES[0], : SERIES[1], : SERIES[2]].astype(np.int16)
    folder.mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for number in range(SERIES[2]):
        slice_ = Dataset()
        slice_.file_meta = FileMetaDataset()
        slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_.SOPClassUID, slice_.SOPInstanceUID, slice_.Modality = MRImageStorage, generate_uid(), "MR"
        slice_.StudyInstanceUID, slice_.SeriesInstanceUID, slice_.FrameOfReferenceUID = study, series, frame
        slice_.PatientName, slice_.PatientID = "Phantom", "0"
        slice_.Columns, slice_.Rows = SERIES[0], SERIES[1]
        slice_.PixelSpacing, slice_.SliceThickness = [1.0, 1.0], 1.0
        slice_.ImageOrientationPatient, slice_.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0.0, 0.0, float(number)]
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 16, 15, 1
        slice_.PixelData = np.ascontiguousarray(voxels[:, :, number].T).tobytes()
        slice_.save_as(folder / f"{number:03d}.dcm", enforce_file_format=True)
    return folder


def row(name: str, threads: int, model: Path, images: Path, out: Path, *options: str) -> dict[str, object]:
    """Run the command in a process of its own: seconds, and what it has written."""
    command = [sys.executable, "-m", "genseg", "predict", str(model), str(images), "-o", str(out), *options]
    command += ["--threads", str(threads)]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status != 0:
        raise SystemExit(f"{' '.join(command)} failed")
    return {
        "name": name,
        "options": list(options),
        "seconds": round(seconds, 2),
        "files_written": sum(path.is_file() for path in out.rglob("*")),
        "peak_memory_mib": usage.ru_maxrss // 1024,
    }


if __name__ == "__main__":
    main()
