"""The house rules that a reader of one file cannot see: who imports whom, what stays light, how long functions are."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import genseg

SOURCE = Path(__file__).resolve().parents[1] / "src" / "genseg"
API_PAGE = SOURCE.parents[1] / "docs" / "reference" / "api.md"

# Lowest first: a module may import from its own room and from those before it in this list, never from those after it.
ROOMS = (
    "errors",
    "base",
    "choices",
    "config",
    "compute",
    "read",
    "drawing",
    "write",
    "index",
    "labels",
    "prepare",
    "examine",
    "batches",
    "masks",
    "generators",
    "segmenters",
    "evaluate",
    "measure",
    "trust",
    "joint",
    "runs",
    "training",
    "predict",
    "results",
    "models",
    "synthetic",
    "export",
    "fitting",
    "evidence",
    "api",
    "__init__",
    "cli",
    "__main__",
)
WITHOUT_TORCH = {
    *("errors", "base", "choices", "config", "read", "drawing", "write", "index", "labels", "prepare", "examine"),
    *("evaluate", "measure", "results", "api", "cli"),
}


def _modules() -> dict[str, Path]:
    """Every module of the package: dotted name to file."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ["genseg", *path.relative_to(SOURCE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)] = path
    return found


MODULES = _modules()


def _room(module: str) -> str:
    """Of "genseg.read.case", "read"."""
    return [*module.split("."), "__init__"][1]


def _level(module: str) -> int:
    """Place in the list of the room that a module belongs to."""
    assert _room(module) in ROOMS, f"{module}: give genseg.{_room(module)} its place in ROOMS"
    return ROOMS.index(_room(module))


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of every genseg module imported anywhere in a file, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write imports in full"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if node.module == "genseg" or name in MODULES else node.module or "" for name in inner]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "genseg")


def _functions() -> Iterator[tuple[str, int]]:
    """Place and length of every function: its lines from `def` to the end, without the docstring."""
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                first = node.body[0]
                if ast.get_docstring(node) is not None:
                    lines -= (first.end_lineno or 0) - first.lineno + 1
                yield f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}", lines


def _run(code: str) -> str:
    """What a fresh interpreter prints when it runs `code`."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    wrong = [f"line {line}: {name}" for line, name in _imports(MODULES[module]) if _level(name) > _level(module)]
    assert wrong == []


def test_no_modules_import_each_other() -> None:
    """Two modules that need each other, directly or through others, are one module or have a third one in common."""
    known = {module: {name for _, name in _imports(path)} & MODULES.keys() for module, path in MODULES.items()}
    circles = []
    while known:
        free = [module for module, needs in known.items() if not (needs - {module}) & known.keys()]
        if not free:
            circles = sorted(known)
            break
        for module in free:
            del known[module]
    assert circles == []


def test_rooms_without_torch_import_none() -> None:
    light = [name for name in MODULES if _room(name) in WITHOUT_TORCH]
    code = f"""
import importlib, sys
for name in {sorted(light)}:
    importlib.import_module(name)
    heavy = {{"torch", "monai"}} & set(sys.modules)
    if heavy:
        sys.exit(f"{{name}} imports {{heavy}}")
print("light")
"""
    assert _run(code) == "light\n"


def test_help_leaves_torch_and_monai_alone() -> None:
    code = """
import sys
from genseg.cli import main
sys.argv = ["genseg", "train", "--help"]
try:
    main()
except SystemExit as stop:
    print("exit code", stop.code)
print(sorted({"torch", "monai"} & set(sys.modules)))
"""
    assert _run(code).endswith("exit code 0\n[]\n")


def test_the_list_of_verbs_imports_none_of_them() -> None:
    code = """
import sys
from genseg.cli import main
sys.argv = ["genseg", "--help"]
try:
    main()
except SystemExit as stop:
    print("exit code", stop.code)
print(sorted({"pydantic", "numpy", "genseg.config", "genseg.cli.verbs"} & set(sys.modules)))
"""
    assert _run(code).endswith("exit code 0\n[]\n")


def test_functions_are_short() -> None:
    lengths = dict(_functions())
    assert {place: length for place, length in lengths.items() if length > 80} == {}
    assert statistics.median(lengths.values()) <= 10
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= 35


def _documented(page: str) -> list[str]:
    """Public names that a page of the reference renders from their docstrings."""
    return sorted(re.findall(r"^::: genseg\.(\w+)$", page, flags=re.MULTILINE))


def test_public_names_are_the_documented_ones() -> None:
    page = API_PAGE.read_text(encoding="utf-8")
    assert _documented(page) == sorted(genseg.__all__)
    assert _documented(page.replace("::: genseg.curve\n", "")) != sorted(genseg.__all__)
    assert all(getattr(genseg, name).__doc__ for name in genseg.__all__)
