"""Delivered models that are changed as only somebody who makes all hashes anew can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from genseg.base.files import file_sha256
from genseg.runs.delivered import write_sealed
from genseg.runs.folder import RunFolder


def change_description(run: Path, **changes: Any) -> None:
    """Put other values into a run's model.json, by key."""
    path = run / "model" / "model.json"
    write_sealed(path, {**json.loads(path.read_text()), **changes})


def change_trust(run: Path, **changes: Any) -> None:
    """Put other values into what a run learned from held-out cases, by key."""
    trust = json.loads((run / "model" / "trust.json").read_text())
    RunFolder(run).deliver_file("trust.json", json.dumps({**trust, **changes}).encode())


def vouch_for(run: Path, name: str) -> None:
    """Take a file beside model.json, as it is now, for the one that was delivered."""
    path = run / "model" / "model.json"
    described = json.loads(path.read_text())
    sha256 = file_sha256(path.with_name(name))
    weights = {"sha256": sha256} if name == described["weights"] else {}
    write_sealed(path, {**described, **weights, "files": {**described["files"], name: sha256}})
