"""The command line. Each verb calls one function of the public interface; see `verbs`."""

from __future__ import annotations

import errno
import sys

from genseg.errors import GensegError, MissingExtraError

TRAINING_PACKAGES = ("torch", "monai", "safetensors", "matplotlib", "einops", "filelock")
"""What an installation that only predicts lacks."""

FULL_DISK = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
FULL_DISK_CURE = ". Free some space; a training goes on with --resume"


def main() -> None:
    """Run the command that the arguments name.

    Exit codes: 0 done; 2 refused, the message says what to change; 4 the disk or a folder failed; 130 interrupted.
    """
    from genseg.cli.verbs import app

    try:
        app()
    except GensegError as error:
        _show(error)
        sys.exit(2)
    except OSError as error:
        _show(error)
        sys.exit(4)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in TRAINING_PACKAGES:
            raise
        _show(MissingExtraError(package, "train", "this command, or a model that was not exported,"))
        sys.exit(2)


def _show(error: GensegError | OSError) -> None:
    """Say on the error stream what is wrong, as a table where there is a list of faults."""
    from rich.console import Console
    from rich.text import Text

    from genseg.cli.tables import faults_table
    from genseg.errors import DataError

    console = Console(stderr=True)
    if isinstance(error, DataError):
        console.print(faults_table(error.faults, "Cannot be used: {} fault(s)"))
    else:
        cure = FULL_DISK_CURE if isinstance(error, OSError) and error.errno in FULL_DISK else ""
        console.print(Text.assemble(("Error: ", "bold red"), str(error), cure))
