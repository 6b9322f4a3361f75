"""What each verb does, in a module that imports none of them: `genseg --help` answers at once."""

from __future__ import annotations

from typing import Annotated

import typer

HELP = {
    "check": "Check the dataset exactly as training will read it and report every problem.",
    "plan": "Show the training plan for this dataset and machine, with estimated time and memory.",
    "train": "Train a segmentation model and save it, with its full record, in a run folder.",
    "curve": "Measure a learning curve and estimate how many more labels a given gain needs.",
    "predict": "Segment images. Masks keep each image's geometry; doubtful cases are flagged for review.",
    "next": "Choose the unlabelled images to label next: those that would teach the model most.",
    "export": "Export the model, without PyTorch or for MONAI, after verifying that it reproduces the original masks.",
    "evaluate": "Score a model against expert masks and write a report with metrics and example images.",
    "generate": "Write synthetic images with masks, from the generator trained with the model.",
    "phantom": "Create a synthetic dataset with known masks, for trying things out.",
    "segmenters": "List the networks available for `--segmenter`.",
    "generators": "List the networks available for `--generator`.",
}


def new_app() -> typer.Typer:
    """A command line without verbs: what it is for, and the options before the verb."""
    app = typer.Typer(
        name="genseg",
        help="Train a segmentation model on a folder of labelled scans, and segment new images.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_options)
    return app


def overview() -> typer.Typer:
    """The command line as `genseg --help` shows it: its verbs do nothing."""
    app = new_app()
    for verb, said in HELP.items():
        app.command(verb, help=said)(lambda: None)
    return app


def _show_version(is_asked_for: bool) -> None:
    if is_asked_for:
        from importlib.metadata import version

        typer.echo(f"genseg {version('genseg')}")
        raise typer.Exit


def _options(
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="print the version and exit")
    ] = False,
) -> None:
    """Options before the verb."""
