"""What may be asked for of a run that was begun before: the same again, but on any device."""

from __future__ import annotations

from typing import Any

from genseg.compute.device import choose_machine
from genseg.config import Plan, Settings
from genseg.errors import SettingsError
from genseg.runs.events import read_events
from genseg.runs.folder import RunFolder
from genseg.training.planning import DECIDED_BY
from genseg.training.recovery import with_half_the_batch


def take_again(run: RunFolder, settings: Settings, plan: Plan | None) -> None:
    """Take over the device that is asked for, and raise SettingsError for all else that the run was not begun with.

    settings: those of its fields that were set, by whoever made it, are asked for. plan: None where none is.
    """
    begun, current = run.settings(), run.plan()
    asked = settings.model_fields_set - {"device"}
    other = [
        f"--{name.replace('_', '-')} is {_in_words(_begun_value(name, begun, current))} in this run "
        f"({_in_words(getattr(settings, name))} requested)"
        for name in Settings.model_fields
        if name in asked and getattr(settings, name) not in (getattr(begun, name), _begun_value(name, begun, current))
    ]
    if plan is not None and plan != current and not (_was_halved(run) and with_half_the_batch(plan) == current):
        other.append("--plan differs from the plan.yaml of this run")
    if other:
        raise SettingsError(f"{run.path}: {_refusal(run)}; {', '.join(other)}")
    if "device" in settings.model_fields_set and settings.device != begun.device:
        choose_machine(settings.device)
        begun.model_copy(update={"device": settings.device}).to_yaml(run.path / "settings.yaml")


def _begun_value(name: str, begun: Settings, plan: Plan) -> Any:
    """A setting of a run; where it was left to the data and the machine, what the plan made of it."""
    is_left_open = getattr(begun, name) == Settings.model_fields[name].default
    return getattr(plan, DECIDED_BY[name]) if is_left_open and name in DECIDED_BY else getattr(begun, name)


def _was_halved(run: RunFolder) -> bool:
    """Whether the run's plan has fewer images an update than it began with."""
    return any(event["event"] == "smaller-batch" for event in read_events(run.path))


def _refusal(run: RunFolder) -> str:
    if run.is_finished:
        return "this run has finished and cannot be changed; start a new run in another folder (-o)"
    return "--resume can change only --device; leave out the other options, or start a new run in another folder (-o)"


def _in_words(value: Any) -> str:
    """A value as it is typed on the command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else "not set" if value is None else str(value)
