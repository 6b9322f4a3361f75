"""Fixtures that more than one test folder uses."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from genseg.cli import main
from genseg.compute.device import Machine, choose_machine
from genseg.config import Plan, Settings
from genseg.drawing.pairs import draw_pairs
from genseg.drawing.training_curves import draw_curves
from genseg.generators import registry
from genseg.joint import guards
from genseg.prepare.preprocess import Geometry, Prepared
from genseg.segmenters import unet
from genseg.synthetic.phantoms import write_phantoms
from genseg.training import advance, estimate, trainer

pytest_plugins = ["fault_table", "file_fixtures", "model_fixtures", "registrations"]

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def _quick_trainings() -> Iterator[None]:
    """Draw nothing while a test trains, which takes longer than the training (see `pictures_of_trainings`), and measure
    once how long updates take.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "MEASURED", 1)
        patch.setattr(trainer, "draw_curves", lambda *_: None)
        patch.setattr(advance, "draw_pairs", lambda *_: None)
        yield


@pytest.fixture
def pictures_of_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw as for a user."""
    monkeypatch.setattr(trainer, "draw_curves", draw_curves)
    monkeypatch.setattr(advance, "draw_pairs", draw_pairs)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the project."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the public data sets, one folder each; tests that ask for it are skipped where it is absent."""
    folder = Path(os.environ.get("GENSEG_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist; set GENSEG_DATA to the folder of data sets")
    return folder


@pytest.fixture(scope="session")
def rgb_phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten RGB pictures of 32 px, 5 train, 2 val, 3 test; two classes. Read only."""
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "rgb", "rgb", cases=10, size=32)


@pytest.fixture(scope="session")
def gray_phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten gray pictures of 32 px, 5 train, 2 val, 3 test; three classes. Read only."""
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "gray", "gray", cases=10, size=32)


@pytest.fixture(scope="session")
def volume_phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six volumes of 20 voxels an edge, 3 train, 1 val, 2 test; three classes. Read only."""
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "volume", "volume", cases=6, size=20)


@pytest.fixture(scope="session")
def plan_of() -> Callable[..., Plan]:
    """Build a complete plan: `plan_of(2, patch_size=(16, 32), ...)`; what is not given gets a value that works."""

    def build(rank: int, **changes: Any) -> Plan:
        values: dict[str, Any] = {
            "rank": rank,
            "channels": 1,
            "class_names": ("background", "object"),
            "intensity": {"rule": "eight-bit"},
            "spacing": None if rank == 2 else (1.0, 1.0, 1.0),
            "patch_size": (16,) * rank,
            "segmenter": "unet-small",
            "batch_size": 2,
            "updates": 10,
            "learning_rate": 1e-3,
            "augmentation": "none",
            "flip_axes": (),
        }
        return Plan.from_mapping(values | changes)

    return build


@pytest.fixture(scope="session")
def rgb_settings() -> Settings:
    """What `rgb_run` was trained with: the same again gives the same weights."""
    return Settings(
        segmenter="unet-small",
        method="strong-augmentation",
        size=32,
        updates=4,
        batch_size=2,
        device="cpu",
        precision="float32",
    )


@pytest.fixture(scope="session")
def rgb_run(rgb_phantoms: Path, rgb_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run on `rgb_phantoms`. Read only."""
    import torch

    import genseg

    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "draw_curves", draw_curves)
        return genseg.fit(rgb_phantoms, tmp_path_factory.mktemp("runs") / "rgb", settings=rgb_settings).run


@pytest.fixture(scope="session")
def volume_affines() -> list[NDArray[np.float64]]:
    """All 48 ways in which a volume's voxel axes can lie in the body, with 0.7, 1 and 2.5 mm along R, A and S."""
    affines = []
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            affine = np.diag([0.0, 0.0, 0.0, 1.0])
            affine[axes, range(3)] = np.array(signs) * np.array((0.7, 1.0, 2.5))[list(axes)]
            affine[:3, 3] = 10.0, -20.0, 30.0
            affines.append(affine)
    return affines


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """Keep torch, where a test module has imported it, from taking every core."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture
def machine() -> Machine:
    """The processor, or what GENSEG_TEST_DEVICE names, in float32."""
    return choose_machine(os.environ.get("GENSEG_TEST_DEVICE", "cpu"), "float32")


@pytest.fixture
def _tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make unet-small a network of two levels and a few hundred weights."""
    monkeypatch.setattr(unet, "SMALL", {2: [4, 8], 3: [4, 8]})


@pytest.fixture(scope="module")
def tiny_training() -> Iterator[dict[str, Any]]:
    """Settings for a training that takes no time.

    Meanwhile the small networks are of a few hundred weights, and generators that have learned nothing are let pass.
    """
    tiny = registry.GeneratorSpec("small", "tiny", {2: (4, 6), 3: (3, 4)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.GENERATORS, "small", tiny)
        patch.setattr(guards, "check_health", lambda *_: None)
        patch.setattr(unet, "SMALL", {2: [4, 8], 3: [4, 8]})
        settings = {"segmenter": "unet-small", "updates": 2, "pretraining": 2, "batch_size": 2}
        yield {**settings, "device": "cpu", "precision": "float32"}


@pytest.fixture
def make_plan(plan_of: Callable[..., Plan]) -> Callable[..., Plan]:
    """A plan for RGB pictures of 16 px (volumes of 1 mm) and two classes: `make_plan(updates=9, ...)`."""

    def make(**changes: Any) -> Plan:
        usual = {"channels": 3, "updates": 8, "learning_rate": 1e-2, "augmentation": "strong", "flip_axes": (0, 1)}
        return plan_of(**{"rank": 2, **usual, **changes})

    return make


@pytest.fixture
def make_case() -> Callable[..., Prepared]:
    """A prepared case of noise with a box of object: `make_case(3, spatial=(16, 16), box=slice(4, 12))`."""

    def make(
        number: int, spatial: tuple[int, ...] = (16, 16), box: slice = slice(4, 12), channels: int = 3
    ) -> Prepared:
        noise = np.random.default_rng(number)
        mask = np.zeros(spatial, np.uint8)
        mask[(box,) * len(spatial)] = 1
        image = noise.normal(size=(channels, *spatial)).astype(np.float32) + mask
        geometry = Geometry(None, spatial, spatial)
        return Prepared(f"case{number}", image, mask, geometry, np.flatnonzero(mask))

    return make


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Function that runs the command line with the arguments given; returns exit code, output, error output."""
    monkeypatch.setenv("COLUMNS", "600")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["genseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        code = stop.value.code
        printed = capsys.readouterr()
        return (code if isinstance(code, int) else 0), printed.out, printed.err

    return run
