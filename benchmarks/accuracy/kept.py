"""The kept figures of what is measured once, as tables: memory, kills, and what a model costs outside of the lab."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from benchmarks.accuracy.tables import Table
from benchmarks.locations import RESULTS

ANATOMY_ELSEWHERE = "foot_ulcer_medetec_ood"


def kept_tables() -> dict[str, Table]:
    """Every table whose figures are kept, by its marker in the pages."""
    makers = {
        "memory": (memory_table, ("memory.json",)),
        "kills": (kills_table, ("kill.json",)),
        "latency": (latency_table, ("latency.json", "latency-volume.json")),
        "clinic": (clinic_table, ("clinic.json",)),
        "install": (install_table, ("install.json",)),
        "trust": (trust_table, ("trust.json",)),
    }
    found = {}
    for name, (make, files) in makers.items():
        if all((RESULTS / file).is_file() for file in files):
            found[name] = make([_read(file) for file in files])
    return found


def memory_table(kept: list[dict[str, Any]]) -> Table:
    """The forecast of memory beside the peak."""
    rows = [
        (
            " ".join([row["way"], row["segmenter"], *([f"{row['generator']} generator"] if row["generator"] else [])]),
            " x ".join(map(str, row["patch_size"])),
            str(row["images_per_update"]),
            str(row["forecast_mib"]),
            str(row["peak_mib"]),
            f"{row['forecast_mib'] / row['peak_mib']:.2f}",
        )
        for row in kept[0]["rows"]
    ]
    columns = ("training", "size", "images an update", "forecast, MiB", "peak, MiB", "forecast / peak")
    return Table("Memory", columns, tuple(rows))


def kills_table(kept: list[dict[str, Any]]) -> Table:
    """How far killed trainings were, and how those that were killed ended."""
    record = kept[0]
    rows = [(f"killed {phase}", str(count)) for phase, count in record["phases"].items()]
    rows += [("kills", str(record["kills"])), ("trainings that ended", str(record["finished"]))]
    return Table("Kills", ("", "count"), (*rows, ("of these with other files", str(record["different"]))))


def latency_table(kept: list[dict[str, Any]]) -> Table:
    """Images a second, looked at once, and in brackets mirrored too."""
    rows = [row for one in kept for row in one["rows"]]
    kinds = list(dict.fromkeys((row["kind"], row["size"]) for row in rows))
    threads = sorted({row["threads"] for row in rows})
    lines = []
    for runtime, precision in dict.fromkeys((row["runtime"], row["precision"]) for row in rows):
        own = [row for row in rows if (row["runtime"], row["precision"]) == (runtime, precision)]
        agreement = min(row["agreement"] for row in own)
        cells = [_rates(own, kind, size, count) for kind, size in kinds for count in threads]
        lines.append((runtime, precision, *cells, f"{100 * agreement:.2f} %"))
    columns = [
        f"{size} px, {_threads(count)}" if kind == "rgb" else f"volume of {size}^3, {_threads(count)}"
        for kind, size in kinds
        for count in threads
    ]
    return Table("Images a second", ("runtime", "arithmetic", *columns, "least agreement"), tuple(lines))


def _rates(rows: Iterable[dict[str, Any]], kind: str, size: int, threads: int) -> str:
    for row in rows:
        if (row["kind"], row["size"], row["threads"]) == (kind, size, threads):
            return f"{row['per_second']:.1f} ({row['per_second_mirrored']:.1f})"
    return "-"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def clinic_table(kept: list[dict[str, Any]]) -> Table:
    """Seconds of whole commands."""
    rows = [
        (row["name"], " ".join(row["options"]), f"{row['seconds']:.1f}", str(row["peak_memory_mib"]))
        for row in kept[0]["rows"]
    ]
    return Table("A clinic's folder and series", ("what", "options", "seconds", "peak memory, MiB"), tuple(rows))


def install_table(kept: list[dict[str, Any]]) -> Table:
    """Size of an installation, and the time to a first mask."""
    rows = [(f"genseg[{row['extra']}]", str(row["mib"]), f"{row['first_mask_seconds']:.1f}") for row in kept[0]["rows"]]
    return Table("Installations", ("installed", "MiB", "seconds to the first mask"), tuple(rows))


def trust_table(kept: list[dict[str, Any]]) -> Table:
    """Calibration and strange images, a row a task; of aliens the least of all kinds."""
    rows = []
    for task, found in kept[0]["tasks"].items():
        aliens = {kind: figures for kind, figures in found["aliens"].items() if kind != ANATOMY_ELSEWHERE}
        worst = min(aliens, key=lambda kind: aliens[kind]["auroc"])
        told = sum(one["told"] * one["images"] for one in aliens.values()) / sum(
            one["images"] for one in aliens.values()
        )
        error = found["calibration"]
        rows.append(
            (
                task,
                f"{error['error_before']:.4f}",
                f"{error['error_after']:.4f}",
                f"{100 * found['test_images_taken_for_usual']:.0f} %",
                f"{100 * told:.0f} %",
                f"{aliens[worst]['auroc']:.3f} ({worst})",
            )
        )
    columns = ("calibration error", "with temperature", "test images accepted", "others detected", "least AUROC")
    return Table("Trust", ("task", *columns), tuple(rows))


def _read(file: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / file).read_text(encoding="utf-8"))
    return content
