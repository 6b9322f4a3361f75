"""What training does where memory or disk fail it."""

from __future__ import annotations

from contextlib import suppress

from genseg.compute.device import ran_out_of_memory
from genseg.config import Plan
from genseg.errors import MemoryRanOutError
from genseg.runs.checkpoint import save_checkpoint
from genseg.runs.events import EventLog
from genseg.runs.folder import RunFolder
from genseg.runs.state import TrainingState
from genseg.training.advance import Advance

SMALLER = "train on smaller images (--size; patch_size in a --plan), or on a machine with more memory"


def attempt(advance: Advance, state: TrainingState, log: EventLog) -> str | None:
    """Make an update, and say what was done; None where memory ran out.

    All that the update had made is gone then: an error that were passed on would keep it alive.
    """
    try:
        return advance(state, log)
    except (RuntimeError, MemoryError) as error:
        if not ran_out_of_memory(error):
            raise
        return None


def with_half_the_batch(plan: Plan) -> Plan:
    """The plan with half the images an update. Raises MemoryRanOutError where no fewer can be."""
    changes: dict[str, object] = {"batch_size": plan.batch_size // 2}
    if plan.generation is not None:
        pairs = max(1, plan.generation.batch_size // 2)
        changes["generation"] = plan.generation.model_copy(update={"batch_size": pairs})
    halved = plan.model_copy(update=changes)
    if not halved.has_room:
        raise MemoryRanOutError(f"memory ran out at {plan.batch_size} image(s) per update; {SMALLER}")
    return halved


def save(run: RunFolder, state: TrainingState, log: EventLog) -> None:
    """Write a checkpoint; where that fails the one before stays, and the record says why there is no newer one.

    Raises OSError.
    """
    try:
        save_checkpoint(run.checkpoints, state)
    except OSError as error:
        with suppress(OSError):  # the record is on the same disk
            log.write("checkpoint-failed", state.update, reason=error.strerror)
        raise
