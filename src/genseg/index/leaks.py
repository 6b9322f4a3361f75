"""Patients who are in more than one part of a split that the dataset fixes itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from genseg.base.files import printable
from genseg.errors import Fault, FaultCode, listed
from genseg.read.case import CaseFiles, patients_known_from


def shared_patients(cases: Iterable[CaseFiles]) -> dict[str, list[str]]:
    """Patient -> the parts that hold cases of them ("" for no part), for each patient in more than one part."""
    parts: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        parts[case.patient].add(case.split or "")
    return {patient: sorted(found) for patient, found in sorted(parts.items()) if len(found) > 1}


def split_leaks(cases: Iterable[CaseFiles], root: Path) -> list[Fault]:
    """One fault for all patients who are in test and outside, and a warning for those in train and val.

    Patients that were guessed from names or headers warn, too: the split was declared, and they were not.
    """
    cases = list(cases)
    shared = shared_patients(cases)
    source = patients_known_from(cases)
    tested = {patient: parts for patient, parts in shared.items() if "test" in parts}
    others = {patient: parts for patient, parts in shared.items() if "test" not in parts}
    faults = []
    if tested:
        is_declared = source in ("", "the CSV list")
        cure = "Move all scans of a patient to one part."
        if not is_declared:
            cure += " If these are not patients, name the true ones in a CSV list (column patient)."
        faults.append(_fault(root, tested, "test and another part", source, cure, stops=is_declared))
    if others:
        cure = "Scores on the held-out cases will be too high; move all scans of a patient to one part."
        faults.append(_fault(root, others, "train and val", source, cure, stops=False))
    return faults


def _fault(root: Path, shared: dict[str, list[str]], where: str, source: str, cure: str, *, stops: bool) -> Fault:
    named = listed(
        [f"{printable(patient)}: {', '.join(part or 'none' for part in parts)}" for patient, parts in shared.items()]
    )
    said = f", as {source} say" if source else ""
    found = f"{len(shared)} patients in {where} ({named}){said}"
    return Fault(FaultCode.SPLIT_LEAK, printable(root), found, "each patient in one part of the split", cure, stops)
