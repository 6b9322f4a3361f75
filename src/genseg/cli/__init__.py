"""The command line. Each verb calls one function of the public interface; see `verbs`."""

from __future__ import annotations

import io
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genseg.errors import GensegError

TRAINING_PACKAGES = ("torch", "monai", "safetensors", "matplotlib", "einops")
"""Packages missing from a prediction-only installation."""

FULL_DISK_CURE = ". Free some space; --resume continues a training"


def main() -> None:
    """Run the command line.

    Exit codes: 0 done; 2 refused, the message says what to change; 4 disk or folder error; 130 interrupted.
    """
    _take_signals_as_ctrl_c()
    _print_whatever_there_is()
    if set(sys.argv[1:]) <= {"--help", "--version"}:
        from genseg.cli.overview import overview

        overview()()
    else:
        _run_verb()


def _run_verb() -> None:
    """Run what the command line names, and show an error that stops it."""
    from genseg.cli.verbs import app
    from genseg.errors import GensegError, MissingExtraError

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
        _show(MissingExtraError(package, "train", "this command or model"))
        sys.exit(2)


def _take_signals_as_ctrl_c() -> None:
    """Treat signals from a scheduler or a closed terminal like Ctrl-C: every file is left whole."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, signal.default_int_handler)


def _print_whatever_there_is() -> None:
    """Print characters that the terminal cannot show as escapes, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _show(error: GensegError | OSError) -> None:
    """Print an error to stderr; a list of problems as a table."""
    from rich.console import Console
    from rich.text import Text

    from genseg.base.files import FULL_DISK, printable
    from genseg.cli.tables import faults_table
    from genseg.errors import DataError

    console = Console(stderr=True)
    if isinstance(error, DataError):
        console.print(faults_table(error.faults, "Dataset cannot be used: {} problem(s)"))
    else:
        cure = FULL_DISK_CURE if isinstance(error, OSError) and error.errno in FULL_DISK else ""
        said = "\n".join(map(printable, str(error).splitlines()))
        console.print(Text.assemble(("Error: ", "bold red"), said, cure))
