"""What the configuration of a MONAI bundle names: genseg's own readers, inference and writers, in MONAI's roles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers.inferer import Inferer
from torch import Tensor, nn
from torch.utils.data import Dataset

from genseg.base.files import printable
from genseg.base.records import fitted
from genseg.compute.device import choose_machine
from genseg.drawing.overlays import palette
from genseg.errors import DataError, Fault, FaultCode
from genseg.index import index_images
from genseg.models.load import EXPORT_AGAIN, GPU_TILES, ExportDescription, fill, read_weights
from genseg.models.model import Model, described_model
from genseg.predict.prediction import mask_of_logits
from genseg.prepare.preprocess import Geometry, Prepared, prepare
from genseg.read.case import CaseFiles
from genseg.results.outputs import output_folder
from genseg.runs.delivered import check_files, read_sealed
from genseg.segmenters.inference import responses
from genseg.segmenters.torch_network import TorchNetwork
from genseg.trust.suitability import fit_case
from genseg.write.masks import write_mask

Item = dict[str, Any]
"""One image on its way: "files" `CaseFiles`, "image" `(channel, *spatial)` Tensor, "geometry" `Geometry`, "spacing" in
mm; then "pred" `(class, *spatial)` Tensor of logits, which becomes `(*spatial)` uint8 class indices; then "written"
Path."""


def with_weights(
    network: nn.Module, weights: Path | str, sha256: str, rank: int, device: torch.device | str
) -> nn.Module:
    """The network with its weights from a safetensors file, ready for use on a device.

    rank: its spatial dimensions. Raises RunError where the file is missing or not the one hashed.
    """
    fill(network, read_weights(Path(weights), sha256), Path(weights))
    return choose_machine(str(device), "float32").place(network, rank).eval()


def describe_network(network: nn.Module, description: Path | str, device: torch.device | str) -> Model:
    """The model that a network is, by what the bundle's model.json says of it.

    device: where the network is. Raises RunError where the bundle is of another version of genseg, or one of its files
    is not what was exported: options are set on MONAI's command line or in a configuration of one's own beside it.
    """
    path, place = Path(description), torch.device(device)
    told = fitted(ExportDescription, read_sealed(path), path, EXPORT_AGAIN)
    check_files(path.absolute().parents[1], told.files)
    tile_batch = GPU_TILES if place.type == "cuda" else 1
    members = TorchNetwork(network, place)
    return described_model([told.model], told.trust, members, path, told.model.sha256, tile_batch)


def list_images(images: Path | str, model: Model) -> list[CaseFiles]:
    """The images of a folder, sorted by name. Raises DataError as `Model.predict_folder`."""
    return index_images(Path(images), channel_files=model.channel_files)


def make_output(folder: Path | str, images: Path | str, data: Sequence[CaseFiles]) -> Path:
    """Make the folder for masks. Raises RunError where it cannot be used or holds the images."""
    return output_folder(Path(folder), [Path(images), *(path for files in data for path in files.images)])


class ReadImage:
    """Preprocessing: reads an image, and brings it to the size, spacing and intensities that the network knows."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __call__(self, files: CaseFiles) -> Item:
        """See `Item`. Raises DataError for an image that cannot be read or that the model cannot take."""
        plan = self._model.plan
        case = self._model.read(files)
        prepared = prepare(fit_case(case, plan), plan)
        image = torch.from_numpy(prepared.image)
        return {"files": files, "image": image, "geometry": prepared.geometry, "spacing": case.spacing}


class Images(Dataset[Item]):
    """Images that are read when they are asked for. MONAI's own Dataset would hide a DataError in a RuntimeError."""

    def __init__(self, data: Sequence[CaseFiles], transform: Callable[[CaseFiles], Item]) -> None:
        self.data = data
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, place: int) -> Item:
        return self.transform(self.data[place])


class PlannedInferer(Inferer):
    """Logits as the model's plan wants them: means over mirrored images, of large volumes in tiles.

    network: one of genseg's segmenters.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    def __call__(self, inputs: Tensor, network: nn.Module, *_: Any, **__: Any) -> Tensor:  # type: ignore[override]
        """Prepared images `(batch, channel, *spatial)` to logits `(batch, class, *spatial)` on the processor."""
        asked = TorchNetwork(network, next(network.parameters()).device)
        return torch.cat([self._logits(image, asked) for image in inputs])

    def _logits(self, image: Tensor, network: TorchNetwork) -> Tensor:
        size = tuple(image.shape[1:])
        prepared = Prepared("", image.cpu().numpy(), None, Geometry(None, size, size), np.zeros(0, np.int64))
        said = responses(network, prepared, self._model.plan, self._model.tile_batch)
        return torch.cat([torch.from_numpy(rows.logits) for rows in said], 2)


class FindMask:
    """Postprocessing: logits to the most probable class of each pixel, in the image's own size, and post-processed."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __call__(self, item: Item) -> Item:
        """See `Item`."""
        logits = item["pred"][None].cpu().numpy()
        model = self._model
        return {**item, "pred": mask_of_logits(logits, item["geometry"], item["spacing"], model.plan, model.trust)}


class WriteMask:
    """Postprocessing: writes the mask in its image's geometry and format."""

    def __init__(self, model: Model, folder: Path | str) -> None:
        self._palette = palette(model.plan.classes)
        self._folder = Path(folder)

    def __call__(self, item: Item) -> Item:
        """See `Item`."""
        files: CaseFiles = item["files"]
        return {**item, "written": write_mask(item["pred"], files.images[0], self._folder, self._palette, files.name)}


class Evaluator:
    """Sends one image after the other through the parts; MONAI's own evaluators need the package ignite."""

    def __init__(
        self,
        dataset: Images,
        network: nn.Module,
        inferer: Callable[[Tensor, nn.Module], Tensor],
        postprocessing: Callable[[Item], Item],
    ) -> None:
        self._dataset = dataset
        self._network = network
        self._inferer = inferer
        self._postprocessing = postprocessing

    def run(self) -> list[Path]:
        """Returns what was written. Raises DataError naming every image that cannot be used, after all others."""
        written: list[Path] = []
        faults: list[Fault] = []
        for place in range(len(self._dataset)):
            try:
                item = self._dataset[place]
            except DataError as error:
                faults += error.faults
                continue
            try:
                logits = self._inferer(item["image"][None], self._network)
            except FloatingPointError as error:
                faults.append(_overflow(item["files"], error))
                continue
            written.append(self._postprocessing({**item, "pred": logits[0]})["written"])
        if faults:
            raise DataError(faults)
        return written


def _overflow(files: CaseFiles, error: FloatingPointError) -> Fault:
    cure = "Check the original for damage, or for marks of missing values."
    expected = "values as those of the training images"
    return Fault(FaultCode.OVERFLOW, printable(files.images[0]), str(error), expected, cure)
