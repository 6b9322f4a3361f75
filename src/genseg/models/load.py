"""Models from where they are kept: run folders, and files that were exported for runtimes without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from genseg.base.files import combined_sha256, file_sha256
from genseg.base.records import Record, Sha256, fitted, read_json
from genseg.choices import Precision
from genseg.errors import RunError, SettingsError
from genseg.models.model import Model, described_model
from genseg.predict.runtimes import RUNTIMES, open_exported, parts_of
from genseg.runs.delivered import RESTORE, Delivery, Description, check_format
from genseg.segmenters.network import Ensemble, Network
from genseg.trust.trust import UNTESTED, Trust

if TYPE_CHECKING:
    from torch import Tensor, nn

    from genseg.compute.device import Machine
    from genseg.runs.folder import RunFolder

TRUST = "trust.json"
GPU_TILES = 4
EXPORT_AGAIN = "export it again"


class ExportDescription(Record):
    """What an exported model says of itself. files: of a bundle, SHA-256 of its other files by their paths in it."""

    model: Description
    trust: Trust
    precision: Precision
    files: dict[str, Sha256] = Field(default_factory=dict)


def load_model(path: Path | str, device: str = "auto", *, ensemble: bool = False, threads: int | None = None) -> Model:
    """Load the model that a finished run delivered, or an exported one.

    ensemble: the mean of the models of all folds, where they were trained; what is known of it comes from the cases
    that each held out, if the run delivers a model of all labels, else from those of the run's own fold. threads: of
    the processor; None takes all its cores.

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
    network, content = open_exported(path, device, threads)
    check_format(path, content.get("model"))
    described = fitted(ExportDescription, content, path, EXPORT_AGAIN)
    return described_model([described.model], described.trust, network, path, _files_sha256(path))


def load_run(path: Path, device: str = "auto", *, ensemble: bool = False) -> Model:
    """The model of a run folder, computed by PyTorch."""
    from genseg.runs.folder import RunFolder

    folder = RunFolder.open(path)
    if not ensemble:
        return _loaded([folder], path, device)
    model = load_ensemble(_models_of_folds(folder), device)
    # OOD limits are those of a network, and an ensemble gives the features of its first; all else is out of fold.
    known = replace(read_trust(folder, folder.delivery()), ood=model.trust.ood)
    return replace(model, run=path, trust=known if folder.delivers_all_labels else model.trust)


def load_ensemble(members: Sequence[RunFolder], device: str = "auto") -> Model:
    """The mean of the models of several run folders, which know the same classes; what is known of it is what is known
    of the first. Raises as `load_model`.
    """
    return _loaded(members, members[0].path, device)


def _loaded(members: Sequence[RunFolder], path: Path, device: str) -> Model:
    """The mean of the models of run folders; `path` is where it is said to come from."""
    from genseg.compute.device import choose_machine

    deliveries = [one.delivery() for one in members]
    machine = choose_machine(device, "float32")
    networks = [torch_network(*one, machine) for one in zip(members, deliveries, strict=True)]
    network: Network = Ensemble(networks) if len(networks) > 1 else networks[0]
    trust = read_trust(members[0], deliveries[0])
    tiles = GPU_TILES if machine.device.type == "cuda" else 1
    sha256 = combined_sha256([one.sha256 for one in deliveries])
    return described_model(deliveries, trust, network, path, sha256, tiles)


def describe_model(delivery: Delivery) -> dict[str, Any]:
    """What an export says of a run's model, as JSON values: nothing of its generator, which stays with the run."""
    off = delivery.why_no_generator
    told = delivery.model_copy(update={"generator": {"off": off} if off else None})
    return told.model_dump(mode="json", exclude={"files"})


def read_trust(folder: RunFolder, delivery: Delivery) -> Trust:
    """What a run's held-out cases taught. Raises RunError where the file is damaged."""
    if TRUST not in delivery.files:
        return UNTESTED
    path = folder.model / TRUST
    return fitted(Trust, read_json(path), path, RESTORE)


def torch_network(folder: RunFolder, delivery: Delivery, machine: Machine) -> Network:
    """The delivered segmenter of a finished run, computed by PyTorch. Raises as `load_model`."""
    from genseg.segmenters.torch_network import TorchNetwork

    return TorchNetwork(delivered_segmenter(folder, delivery, machine), machine.device)


def delivered_segmenter(folder: RunFolder, delivery: Delivery, machine: Machine) -> nn.Module:
    """The segmenter that a finished run delivered, ready for use. delivery: as read from the folder. Raises as
    `load_model`.
    """
    import torch

    from genseg.segmenters.registry import build_segmenter

    plan, weights = delivery.plan, folder.model / delivery.weights
    try:
        with torch.random.fork_rng():
            segmenter = build_segmenter(plan.segmenter, plan.rank, plan.channels, plan.classes)
    except SettingsError as error:
        raise RunError(f"{folder.model}: damaged: {error}; {RESTORE}") from error
    fill(segmenter, read_weights(weights, delivery.sha256), weights)
    return machine.place(segmenter, plan.rank).eval()


def read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    """Weights that are all finite. Raises RunError where some are not, and as `read_tensors`."""
    from genseg.runs.checkpoint import read_tensors

    tensors = read_tensors(path, sha256)
    broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise RunError(
            f"{path}: {len(broken)} of its tensors hold NaN or infinite values (such as {broken[0]}); {RESTORE}"
        )
    return tensors


def fill(segmenter: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Put weights from the file `path` into a network. Raises RunError where they are another network's."""
    try:
        segmenter.load_state_dict(tensors)
    except RuntimeError as error:
        problems = str(error).replace("\n\t", " ")
        raise RunError(
            f"{path}: damaged: weights of another network than the plan's; {RESTORE} ({problems})"
        ) from error


def _files_sha256(path: Path) -> str:
    """Hash of an exported file and, where its weights lie beside it, of these."""
    return combined_sha256([file_sha256(part) for part in (path, *parts_of(path))])


def _models_of_folds(folder: RunFolder) -> list[RunFolder]:
    """The trainings of all folds, with the training method of the run's model; its own first."""
    if folder.split().folds < 2:
        raise RunError(
            f"{folder.path}: there is no ensemble; the dataset says itself what is held out, so it has one fold"
        )
    if not folder.has_ensemble:
        cure = "`genseg train DATA --resume` without --effort quick trains them"
        raise RunError(f"{folder.path}: the models of the other folds are not all there; {cure}")
    judges, own = folder.judges(), folder.fold
    others = [judge for fold, judge in enumerate(judges) if fold != own]
    return [judges[own] if folder.delivers_all_labels else folder, *others]
