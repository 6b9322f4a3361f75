"""Other cases to be the labelled ones than those that a data set names first."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path


def drawn(data: Path, draw: int, folder: Path) -> Path:
    """A copy of the data set in `folder`, which is not there yet, with its train and val names in another order.

    Of few labels the first are used, so that every order is a draw of them. Test names stay as they are. For draw 0 it
    is the data set itself.
    """
    if draw == 0:
        return data
    content = json.loads((data / "dataset.json").read_text(encoding="utf-8"))
    splits = content["splits"]
    names = [*splits["train"], *splits["val"]]
    random.Random(f"draw {draw}").shuffle(names)
    count = len(splits["train"])
    splits |= {"train": names[:count], "val": names[count:]}
    shutil.copytree(data, folder)
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
