"""Where an export goes, and what it needs: looked at before hours of work, not after."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile

from genseg.base.files import printable
from genseg.base.seals import has_seal
from genseg.choices import Precision, Target
from genseg.errors import MissingExtraError, RunError
from genseg.predict.runtimes import parts_of

FILES: dict[Target, str] = {"onnx": "model.onnx", "openvino": "model.xml", "bundle": "bundle"}
CURE = "choose another place with -o"


def free_target(out: Path, to: Target, data: Path, run: Path) -> Path:
    """The file or folder to write: `out`, or within it where it is a folder and a file is wanted.

    data: the dataset, in which nothing may be written; but for `run`, if that lies there. Raises RunError for a name
    that no program would know, a place among the data or that cannot be written to, and files that would be replaced
    though genseg did not export them.
    """
    suffix = Path(FILES[to]).suffix
    try:
        target = out / FILES[to] if suffix and (out.is_dir() or not out.suffix) else out
        if target.suffix != suffix and suffix:
            raise RunError(f"{target}: such a file ends in {suffix}; choose such a name with -o")
        _keep_out_of(data, run, target)
        _keep_what_is_there(target, is_file=bool(suffix))
        _see_that_it_can_be_written(target)
    except OSError as error:
        raise RunError(f"{printable(out)}: cannot be written ({error.strerror}); {CURE}") from error
    return target


def require_packages(to: Target, precision: Precision) -> None:
    """Raise MissingExtraError for the first package that such an export needs and that is not installed."""
    needed = {
        "onnx": ["onnx", "onnxruntime"],
        "openvino": ["onnx", "openvino"],
        "bundle": [],
    }
    for package in [*needed[to], *(["nncf"] if precision == "int8" else [])]:
        if find_spec(package) is None:
            raise MissingExtraError(package, "export", "exporting a model")


def _keep_out_of(data: Path, run: Path, target: Path) -> None:
    """Raise RunError for a target among the images and masks of a dataset."""
    if not data.is_dir():  # a list; what is exported replaces no image, by its suffix
        return
    place = target.resolve()
    if place.is_relative_to(data.resolve()) and not place.is_relative_to(run.resolve()):
        raise RunError(f"{target}: lies in the dataset {data}; {CURE}")


def _keep_what_is_there(target: Path, *, is_file: bool) -> None:
    """Raise RunError where something is there that is no earlier export."""
    if not is_file:
        if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
            raise RunError(f"{target}: not an empty folder; {CURE}")
        return
    for path in (target, *parts_of(target)):
        if path.exists() and not path.is_file():
            raise RunError(f"{path}: is there already, and no file; {CURE}")
        if path.exists() and not (target.is_file() and has_seal(target.read_bytes())):
            raise RunError(f"{path}: is there already, and not a model that genseg exported; {CURE}")


def _see_that_it_can_be_written(target: Path) -> None:
    """Raise OSError where nothing can be written; folders that are missing stay so for now."""
    folder = next(parent for parent in target.absolute().parents if parent.exists())
    with TemporaryFile(dir=folder):
        pass
