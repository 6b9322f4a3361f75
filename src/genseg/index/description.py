"""Reading what a `dataset.json` declares: classes, their values, channels, modality."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path

from genseg.errors import FaultCode
from genseg.index.findings import Description, Findings

FILE_NAME = "dataset.json"


def read_description(path: Path, findings: Findings) -> Description:
    """Read a `dataset.json` of any of the layouts; what cannot be understood becomes a fault.

    Understood are `name`, `licence` or `license`, `class_names` (a list), `labels` (`{"tumour": 1}` or `{"1":
    "tumour"}`), `channel_names` and `modality` (a text, or `{"0": "T1"}`, then these are the channels).
    """
    content = _read_json(path, findings)
    values = _label_values(content.get("labels"), path, findings)
    channels = _channel_names(content)
    modality = content.get("modality")
    return Description(
        path=path,
        class_names=_class_names(content.get("class_names"), path, findings) or _names_by_value(values),
        label_values=values,
        modality=modality if isinstance(modality, str) else ", ".join(channels),
        channel_names=channels,
        title=_text(content, "name"),
        licence=_text(content, "licence") or _text(content, "license"),
        content=content,
    )


def _text(content: Mapping[str, object], key: str) -> str:
    """What is written under a key; "" where it is no text."""
    value = content.get(key)
    return value if isinstance(value, str) else ""


def stop_broken(path: Path, found: str, expected: str, findings: Findings) -> None:
    """Add the fault of a list or description that cannot be followed."""
    findings.stop(FaultCode.LAYOUT_BROKEN, path, found, expected, f"Correct {path.name}.")


def _read_json(path: Path, findings: Findings) -> Mapping[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        place = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        stop_broken(path, f"cannot be read as JSON{place}", "a JSON file in UTF-8", findings)
        return {}
    if not isinstance(content, dict):
        stop_broken(path, f"a JSON {type(content).__name__}", "a JSON object", findings)
        return {}
    return content


def _class_names(value: object, path: Path, findings: Findings) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = value if isinstance(value, list) else []
    if len(names) < 2 or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        expected = "a list of different names, background first, at least two"
        stop_broken(path, f"class_names {reprlib.repr(value)}", expected, findings)
        return None
    return tuple(names)


def _label_values(value: object, path: Path, findings: Findings) -> dict[str, int] | None:
    """The declared labels as name -> value, whichever way round they are written."""
    if value is None:
        return None
    if not isinstance(value, dict):
        stop_broken(path, f"labels {reprlib.repr(value)}", 'an object such as {"background": 0, "tumour": 1}', findings)
        return None
    pairs = [_label(str(key), item, path, findings) for key, item in value.items()]
    known = [pair for pair in pairs if pair is not None]
    labels = dict(known)
    if "background" not in map(str.lower, labels) and 0 not in labels.values():
        labels["background"] = 0
    if len(labels) < len(known) or len(set(labels.values())) < len(labels):
        stop_broken(path, "a name or a value twice in labels", "one value for each name", findings)
    return labels


def _label(key: str, item: object, path: Path, findings: Findings) -> tuple[str, int] | None:
    expected = "a name with one whole number"
    if isinstance(item, int) and not isinstance(item, bool):
        return key, item
    if isinstance(item, str) and key.isdecimal():
        return item, int(key)
    if isinstance(item, list):
        stop_broken(path, f"label {key!r} made of several values (a region)", expected, findings)
    else:
        stop_broken(path, f"label {key!r}: {reprlib.repr(item)}", expected, findings)
    return None


def _names_by_value(values: Mapping[str, int] | None) -> tuple[str, ...] | None:
    """Class names in the order of their values, the background first."""
    if not values:
        return None
    return tuple(sorted(values, key=lambda name: (name.lower() != "background", values[name])))


def _channel_names(content: Mapping[str, object]) -> tuple[str, ...]:
    """Names in channel order: "channel_names" (nnU-Net), else a "modality" that is an object (Decathlon)."""
    for value in (content.get("channel_names"), content.get("modality")):
        if isinstance(value, dict):
            return tuple(str(value[key]) for key in sorted(value, key=lambda key: (len(key), key)))
    return ()
