"""The wheel holds all that a model needs, and nothing of it comes from the folder it was built in."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from functools import partial
from pathlib import Path

import pytest

import genseg


def _run(*command: str | Path, cwd: Path, **changes: str) -> str:
    done = subprocess.run(command, cwd=cwd, env=os.environ | changes, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of a new environment that holds the wheel of this source.

    Its dependencies are those of the environment at hand, by path, for torch alone takes minutes to install. Of that
    environment no `.pth` file is followed, so that the editable genseg in it is not seen.
    """
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    _run(*pip, "wheel", repository, "--no-deps", "--no-build-isolation", "-w", folder, cwd=folder)
    venv.create(folder / "clean", with_pip=False)
    programs = folder / "clean" / ("Scripts" if sys.platform == "win32" else "bin")
    places = _run(programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    Path(places.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    wheel = next(folder.glob("genseg-*.whl"))
    _run(*pip, "--python", programs / "python", "install", "--no-deps", "--no-index", wheel, cwd=folder)
    return programs


def test_the_wheel_predicts_and_scores_in_a_clean_environment(
    installed: Path, rgb_run: Path, rgb_phantoms: Path, tmp_path: Path
) -> None:
    model = genseg.export_model(rgb_run, rgb_phantoms, "onnx", tmp_path / "model.onnx").path
    run = partial(_run, cwd=tmp_path, PYTHONPATH="")
    where = run(installed / "python", "-P", "-c", "import genseg; print(genseg.__file__)")
    assert Path(where.strip()).is_relative_to(installed.parent)
    images = sorted(path.name for path in (rgb_phantoms / "images").iterdir())
    run(installed / "genseg", "predict", model, rgb_phantoms / "images", "-o", "masks", "--threads", "1")
    assert sorted(path.name for path in (tmp_path / "masks").glob("phantom_*.png")) == images
    run(installed / "genseg", "evaluate", model, rgb_phantoms, "-o", "scores")
    assert (tmp_path / "scores" / "report.html").is_file()
