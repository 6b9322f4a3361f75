"""A MONAI bundle is what MONAI takes for one, and gives genseg's own masks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from deliveries import change_trust, vouch_for
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out
from PIL import Image
from safetensors.torch import load_file

import genseg
from genseg.compute.device import Machine
from genseg.config import FORMAT, Plan
from genseg.errors import DataError, RunError
from genseg.export import bundle as bundle_module
from genseg.export.bundle import open_bundle, write_bundle
from genseg.export.bundle_metadata import describe_bundle
from genseg.models.load import delivered_segmenter, load_run
from genseg.prepare.preprocess import scale_channel
from genseg.runs.checkpoint import write_tensors
from genseg.runs.folder import RunFolder

# By MONAI's schema of 2024-07-25, which cannot be fetched in a test: what it requires, and of which type.
REQUIRED = {
    "schema": str,
    "version": str,
    "monai_version": str,
    "pytorch_version": str,
    "numpy_version": str,
    "required_packages_version": dict,
    "task": str,
    "description": str,
    "authors": str,
    "copyright": str,
    "network_data_format": dict,
}
TENSOR = {
    "type": str,
    "format": str,
    "num_channels": int,
    "spatial_shape": list,
    "dtype": str,
    "value_range": list,
    "is_patch_data": bool,
    "channel_def": dict,
}
RULES = [
    {"class_index": 1, "rule": "fill-holes", "gain": 0.1},
    {"class_index": 1, "rule": "largest-object", "gain": 0.1},
]
Save = Callable[..., Path]


@pytest.fixture(scope="module")
def exported(rgb_run: Path, rgb_phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What `genseg.export_model` gives for `rgb_run`. Read only."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("exported") / "bundle"
    return genseg.export_model(rgb_run, rgb_phantoms, "bundle", out)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Folder of pictures in three formats, of three sizes, one of them grey."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(1)
    for name, shape in (("a.png", (48, 30, 3)), ("b.tif", (20, 20, 3)), ("c.bmp", (32, 50))):
        coarse = random.integers(0, 256, (shape[0] // 5, shape[1] // 5, *shape[2:]), np.uint8)
        Image.fromarray(coarse).resize(shape[1::-1]).save(folder / name)
    return folder


@pytest.fixture
def save(machine: Machine) -> Save:
    """Write a run's bundle: `save(run, path)`."""

    def save(run: Path, path: Path) -> Path:
        write_bundle(
            RunFolder(run),
            delivered_segmenter(RunFolder(run), RunFolder(run).delivery(), machine),
            load_run(run, "cpu"),
            path,
        )
        return path

    return save


def _teach(run: Path, temperature: float) -> None:
    """Give a run something to have learned from held-out cases that changes masks."""
    calibration = RunFolder(run).read_json("model/trust.json")["calibration"]
    change_trust(run, mendings=RULES, calibration={**calibration, "temperature": temperature})


def _stir(run: Path) -> None:
    """Give a run's segmenter a last layer that finds every class somewhere."""
    folder = RunFolder(run)
    weights = load_file(folder.weights)
    head = torch.randn(weights["head.weight"].shape, generator=torch.Generator().manual_seed(2))
    write_tensors(folder.weights, {**weights, "head.weight": head, "head.bias": torch.zeros(len(head))})
    vouch_for(run, folder.weights.name)


def _monai(bundle: Path, images: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """MONAI's command line; where the package fire, which it needs, is absent, the function behind it."""
    options = {
        "config_file": str(bundle / "configs" / "inference.json"),
        "bundle_root": str(bundle),
        "dataset_dir": str(images),
        "output_dir": str(out),
        "device": "cpu",
    }
    if find_spec("fire") is None:
        called = ["-c", f"import monai.bundle; monai.bundle.run(**{options!r})"]
    else:
        called = ["-m", "monai.bundle", "run", *(word for name in options for word in (f"--{name}", options[name]))]
    return subprocess.run([sys.executable, *called], capture_output=True, text=True)


def _workflow(bundle: Path, images: Path, out: Path) -> ConfigWorkflow:
    """The same in this process, begun."""
    configuration = str(bundle / "configs" / "inference.json")
    places = {"bundle_root": str(bundle), "dataset_dir": str(images), "output_dir": str(out), "device": "cpu"}
    workflow = ConfigWorkflow(configuration, workflow_type="infer", logging_file=False, **places)
    workflow.initialize()
    return workflow


def _masks(folder: Path) -> dict[str, bytes]:
    """The content of every mask; genseg's tables are left out."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".csv"}


def _metadata(bundle: Path) -> Any:
    return json.loads((bundle / "configs" / "metadata.json").read_text())


def _verify(bundle: Path, item: str, **changes: Any) -> None:
    configs = bundle / "configs"
    verify_net_in_out(
        item, str(configs / "metadata.json"), str(configs / "inference.json"), "cpu", bundle_root=str(bundle), **changes
    )


def test_export_gives_a_bundle_that_is_as_good_as_the_run(exported: Any, rgb_run: Path) -> None:
    assert (exported.parity.agreement, exported.parity.logit_difference) == (1.0, 0.0)
    files = {path.relative_to(exported.path).as_posix() for path in exported.path.rglob("*") if path.is_file()}
    configs = {"configs/inference.json", "configs/metadata.json"}
    assert files == {*configs, "docs/README.md", "models/model.json", "models/model.safetensors"}
    delivered = load_file(rgb_run / "model" / "segmenter.safetensors")
    weights = load_file(exported.path / "models" / "model.safetensors")
    assert weights.keys() == delivered.keys()
    assert all(torch.equal(weights[name], delivered[name]) for name in weights)


def test_export_refuses_a_bundle_with_other_weights(
    rgb_run: Path, rgb_phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damage(path: Path, tensors: dict[str, torch.Tensor]) -> str:
        return write_tensors(path, {**tensors, **{name: -tensors[name] for name in ("head.weight", "head.bias")}})

    monkeypatch.setattr(bundle_module, "write_tensors", damage)
    with pytest.raises(RunError, match="gives different masks"):
        genseg.export_model(rgb_run, rgb_phantoms, "bundle", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_metadata_have_all_that_monai_requires(exported: Any) -> None:
    metadata = _metadata(exported.path)
    assert {name: type(metadata[name]) for name in REQUIRED} == REQUIRED
    formats = metadata["network_data_format"]
    image, logits = formats["inputs"]["image"], formats["outputs"]["pred"]
    for tensor in (image, logits):
        assert {name: type(tensor[name]) for name in TENSOR} == TENSOR
    assert image["channel_def"] == {"0": "red", "1": "green", "2": "blue"}
    assert (image["num_channels"], image["spatial_shape"], image["modality"]) == (3, [32, 32], "RGB")
    assert (logits["num_channels"], logits["channel_def"]) == (2, {"0": "background", "1": "lesion"})
    assert "not a medical device" in metadata["intended_use"]
    assert metadata["required_packages_version"]["genseg"] == version("genseg")


@pytest.mark.parametrize(
    ("intensity", "values", "expected"),
    [
        ({"rule": "eight-bit"}, (0, 255), [-1, 1]),
        ({"rule": "percentile"}, (3, 9), [-1, 1]),
        ({"rule": "window", "low": -100, "high": 300, "mean": 40, "std": 80}, (-100, 300), [-1.75, 3.25]),
        ({"rule": "z-score"}, (), []),
    ],
)
def test_the_range_of_values_is_what_preprocessing_gives(
    rgb_run: Path,
    plan_of: Callable[..., Plan],
    intensity: dict[str, Any],
    values: tuple[int, ...],
    expected: list[float],
) -> None:
    plan = plan_of(2, channels=1, intensity=intensity)
    image = describe_bundle(RunFolder(rgb_run), plan)["network_data_format"]["inputs"]["image"]
    assert image["value_range"] == expected
    if expected:
        assert scale_channel(np.array(values), plan.intensity[0]) == pytest.approx(expected)


@pytest.mark.fault(56)
def test_the_range_of_several_channels_holds_that_of_each(rgb_run: Path, plan_of: Callable[..., Plan]) -> None:
    window = {"channel": "$CT", "rule": "window", "low": -100, "high": 300, "mean": 40, "std": 80}
    for other, expected in (("min-max", [-1.75, 3.25]), ("z-score", [])):
        plan = plan_of(2, channels=2, intensity=[window, {"channel": "", "rule": other}])
        image = describe_bundle(RunFolder(rgb_run), plan)["network_data_format"]["inputs"]["image"]
        assert image["value_range"] == expected
        assert image["channel_def"] == {"0": "\uff04CT", "1": "channel 1"}


@pytest.mark.parametrize("item", ["network", "network_def"])
def test_monai_finds_the_network_as_the_metadata_say(exported: Any, item: str) -> None:
    _verify(exported.path, item)
    with pytest.raises(ValueError, match="output channel number `2`"):
        _verify(exported.path, item, **{"_meta_#network_data_format#outputs#pred#num_channels": 3})


def test_names_of_classes_are_no_code_to_monai(rgb_run: Path, plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    run = RunFolder(shutil.copytree(rgb_run, tmp_path / "run"))
    run.write_json("data.json", {**run.read_json("data.json"), "title": "%#a", "licence": "@##b"})
    names = ("background", "$1/0", "@network", "%no.json", "a @# b")
    metadata = describe_bundle(run, plan_of(2, class_names=names))
    parser = ConfigParser({"_meta_": metadata})
    told = parser.get_parsed_content("_meta_")["network_data_format"]
    assert list(told["outputs"]["pred"]["channel_def"].values())[1] == "\uff041/0"


def test_the_readme_has_the_card_and_tells_how_to_begin(exported: Any, rgb_run: Path) -> None:
    text = (exported.path / "docs" / "README.md").read_text()
    assert text.startswith((rgb_run / "model" / "card.md").read_text())
    assert text.count("**Not a medical device.**") == 1
    for words in ("python -m monai.bundle run", "SHA-256", "The weights belong to whoever trained them"):
        assert words in text


def test_a_run_without_a_card_has_a_bundle_with_a_warning(rgb_run: Path, save: Save, tmp_path: Path) -> None:
    run = shutil.copytree(rgb_run, tmp_path / "run")
    (run / "model" / "card.md").unlink()
    text = (save(run, tmp_path / "bundle") / "docs" / "README.md").read_text()
    assert text.startswith("# Segmentation of lesion\n\n**Not a medical device.**")


def test_the_lines_of_the_readme_work(exported: Any, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (exported.path / "docs" / "README.md").read_text()
    lines = re.findall(r"^    (from|parser|network|found)(.*)$", text, flags=re.MULTILINE)
    monkeypatch.chdir(exported.path)
    names: dict[str, Any] = {}
    exec("\n".join(map("".join, lines)).replace("image.png", str(pictures / "a.png")), names)
    assert isinstance(names["network"], torch.nn.Module)
    assert names["found"].mask.shape == (48, 30)


def test_the_same_model_gives_the_same_bundle(exported: Any, rgb_run: Path, save: Save, tmp_path: Path) -> None:
    again = save(rgb_run, tmp_path / "again")
    for path in exported.path.rglob("*.*"):
        assert (again / path.relative_to(exported.path)).read_bytes() == path.read_bytes(), path.name


def test_monai_runs_the_bundle_from_its_command_line(rgb_run: Path, pictures: Path, save: Save, tmp_path: Path) -> None:
    run = shutil.copytree(rgb_run, tmp_path / "run")
    _teach(run, 20)
    bundle = save(run, tmp_path / "bundle")
    (pictures / "broken.png").write_bytes(b"no picture")
    ran = _monai(bundle, pictures, tmp_path / "monai")
    assert ran.returncode != 0
    assert "DataError" in ran.stderr
    assert "broken.png" in ran.stderr
    with pytest.raises(DataError, match=r"broken\.png"):
        genseg.load(run, device="cpu").predict_folder(pictures, tmp_path / "own")
    masks = _masks(tmp_path / "monai")
    assert masks.keys() == {"a.png", "b.png", "c.png"}
    own = _masks(tmp_path / "own")
    assert masks == {name: own[name] for name in masks}
    assert any(np.asarray(Image.open(tmp_path / "own" / name)).any() for name in masks)


def test_the_bundle_has_the_properties_that_monai_asks_for(exported: Any, pictures: Path, tmp_path: Path) -> None:
    workflow = _workflow(exported.path, pictures, tmp_path / "out")
    assert workflow.check_properties() == []
    assert isinstance(workflow.network_def, torch.nn.Module)
    workflow.run()
    assert len(_masks(tmp_path / "out")) == 3


def test_masks_are_not_written_among_the_images(exported: Any, pictures: Path) -> None:
    before = _masks(pictures)
    with pytest.raises(RuntimeError) as refused:
        _workflow(exported.path, pictures, pictures)
    assert isinstance(refused.value.__cause__, RunError)
    assert _masks(pictures) == before


def test_opening_a_bundle_leaves_random_numbers_alone(exported: Any) -> None:
    before = torch.get_rng_state()
    open_bundle(exported.path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("models/model.safetensors", b'{"decoder', b'{"recoder', "SHA-256 differs"),
        ("models/model.json", b'"format": %d' % FORMAT, b'"format": 2', f"this genseg reads format {FORMAT}"),
    ],
)
def test_a_damaged_or_old_bundle_is_refused(
    exported: Any, tmp_path: Path, name: str, old: bytes, new: bytes, message: str
) -> None:
    bundle = shutil.copytree(exported.path, tmp_path / "bundle")
    content = (bundle / name).read_bytes()
    assert old in content
    (bundle / name).write_bytes(content.replace(old, new, 1))
    with pytest.raises(RuntimeError) as refused:
        open_bundle(bundle)
    assert isinstance(refused.value.__cause__, RunError)
    assert message in str(refused.value.__cause__)


@pytest.mark.usefixtures("_tiny_network")
def test_volumes_in_tiles_get_the_same_masks(volume_phantoms: Path, save: Save, tmp_path: Path) -> None:
    settings = genseg.Settings(
        segmenter="unet-small", updates=2, batch_size=2, method="strong-augmentation", device="cpu", precision="float32"
    )
    plan = genseg.plan(volume_phantoms, settings).model_copy(update={"patch_size": (8, 12, 8), "flip_axes": (1,)})
    run = genseg.fit(volume_phantoms, tmp_path / "run", settings=settings, plan=plan).run
    _stir(run)
    _teach(run, 1.7)
    images = tmp_path / "images"
    images.mkdir()
    source = nibabel.load(volume_phantoms / "images" / "phantom_000.nii.gz")
    nibabel.save(source, images / "as-it-was.nii.gz")
    turned = np.diag([-1.7, 0.8, 1.3, 1.0])[[2, 0, 1, 3]]
    nibabel.save(nibabel.Nifti1Image(np.asanyarray(source.dataobj)[:, :17, :14], turned), images / "turned.nii.gz")

    bundle = save(run, tmp_path / "bundle")
    _verify(bundle, "network")
    assert _metadata(bundle)["network_data_format"]["inputs"]["image"]["is_patch_data"]
    _workflow(bundle, images, tmp_path / "monai").run()
    genseg.load(run, device="cpu").predict_folder(images, tmp_path / "own")
    masks, own = _masks(tmp_path / "monai"), _masks(tmp_path / "own")
    assert masks.keys() == {"as-it-was.nii.gz", "turned.nii.gz"}
    assert masks == {name: own[name] for name in masks}
    assert np.unique(nibabel.load(tmp_path / "own" / "turned.nii.gz").dataobj).tolist() == [0, 1, 2]
