"""Models from where they are kept: run folders, and files that were exported for runtimes without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from genseg.config import FORMAT, Plan
from genseg.errors import RunError, SettingsError
from genseg.predict.model import Model, described_model
from genseg.predict.runtimes import RUNTIMES, open_exported
from genseg.predict.trust import UNTESTED, Trust
from genseg.segmenters.network import Ensemble, Network

if TYPE_CHECKING:
    from torch import nn

    from genseg.device import Machine
    from genseg.training.run_folder import RunFolder

TRUST = "model/trust.json"
GPU_TILES = 4


def load_model(path: Path | str, device: str = "auto", *, ensemble: bool = False, threads: int | None = None) -> Model:
    """Load the model that a finished run delivered, or an exported one.

    ensemble: of a run that was compared, the mean of the models of all folds. threads: of the processor; None takes
    all its cores.

    Raises RunError where `path` is none, its model was made by another version or is damaged, or there is no ensemble;
    DeviceError for an absent device, MissingExtraError for an absent runtime.
    """
    path = Path(path)
    if path.suffix in RUNTIMES and path.is_file():
        return load_exported(path, device, threads)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    return load_run(path, device, ensemble=ensemble)


def load_exported(path: Path, device: str, threads: int | None = None) -> Model:
    """The model in an exported file, computed by the runtime that it was exported for.

    Raises RunError where the file is damaged, none of genseg's or of another version.
    """
    network, described = open_exported(path, device, threads)
    try:
        check_format(path, described["model"])
        return described_model(described["model"], Trust.from_json(described["trust"]), network, path)
    except (KeyError, TypeError, SettingsError) as error:
        raise RunError(f"{path}: the description in the file is damaged; export it again ({error})") from error


def load_run(path: Path, device: str = "auto", *, ensemble: bool = False) -> Model:
    """The model of a run folder, computed by PyTorch."""
    from genseg.device import choose_machine
    from genseg.training.run_folder import RunFolder

    folder = RunFolder.open(path)
    described = read_delivery(folder)
    machine = choose_machine(device, "float32")
    try:
        networks = [torch_network(one, machine) for one in ([folder, *_fellows(folder)] if ensemble else [folder])]
        network: Network = Ensemble(networks) if ensemble else networks[0]
        return described_model(
            described, read_trust(folder), network, path, GPU_TILES if machine.device.type == "cuda" else 1
        )
    except (KeyError, TypeError, RuntimeError, SettingsError) as error:
        raise RunError(f"{path}: the model is damaged; train it again or restore the folder ({error})") from error


def read_delivery(folder: RunFolder) -> dict[str, Any]:
    """What a finished run says of the model that it delivered. Raises RunError as `load_model` does."""
    run = folder.path
    if not folder.is_finished:
        raise RunError(f"{run}: this run has not finished; go on with `genseg train DATA -o {run} --resume`")
    described = folder.read_json("model/model.json")
    check_format(run, described)
    return described


def read_trust(folder: RunFolder) -> Trust:
    """What a run's held-out cases taught. Raises KeyError or TypeError where the file is damaged."""
    return Trust.from_json(folder.read_json(TRUST)) if (folder.path / TRUST).is_file() else UNTESTED


def torch_network(folder: RunFolder, machine: Machine) -> Network:
    """The delivered segmenter of a finished run, computed by PyTorch. Raises as `load_model`."""
    from genseg.segmenters.torch_network import TorchNetwork

    return TorchNetwork(delivered_segmenter(folder, machine), machine.device)


def delivered_segmenter(folder: RunFolder, machine: Machine) -> nn.Module:
    """The segmenter that a finished run delivered, ready for use. Raises as `load_model`."""
    import torch

    from genseg.segmenters.registry import build_segmenter
    from genseg.training.checkpoint import read_tensors

    described = read_delivery(folder)
    plan = Plan.from_mapping(described["plan"], "model.json")
    with torch.random.fork_rng():
        segmenter = build_segmenter(plan.segmenter, plan.rank, plan.channels, plan.classes)
    segmenter.load_state_dict(read_tensors(folder.path / "model" / described["weights"], described["sha256"]))
    return machine.place(segmenter, plan.rank).eval()


def _fellows(folder: RunFolder) -> list[RunFolder]:
    """The trainings of the other folds, in the arm of the model that the run delivered."""
    arm = Plan.from_mapping(read_delivery(folder)["plan"], "model.json").arm
    others = [number for number in range(folder.split().folds) if number != folder.settings().fold]
    if not others:
        raise RunError(
            f"{folder.path}: there is no ensemble; the data set says itself what is held out, so it has one fold"
        )
    compared = folder.path / "comparison" / "comparison.json"
    images = folder.read_json("comparison/comparison.json").get("images") if compared.is_file() else None
    found = [folder.compared(arm, number, images) for number in others]
    if not found or not all(one.is_finished for one in found):
        cure = "`genseg train DATA --resume` without --no-compare trains them"
        raise RunError(f"{folder.path}: the models of the other folds are not all there; {cure}")
    return found


def check_format(path: Path, described: dict[str, Any]) -> None:
    """Raise RunError where what `described` tells of was made by another version."""
    if described.get("format") != FORMAT:
        writer = f"format {described.get('format')}, by genseg {described.get('genseg')}"
        raise RunError(f"{path}: the model is of another version ({writer}); this genseg reads format {FORMAT}")
