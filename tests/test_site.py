"""What the site is made of beside Markdown: parts from the code, formulas, and nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mkdocs.exceptions import PluginError

import formulas
import generated
import genseg
import hooks
from genseg.config import GenerationPlan


def test_every_marker_of_a_page_has_its_part_and_every_part_a_page(repository: Path) -> None:
    pages = [path.read_text(encoding="utf-8") for path in (repository / "docs").rglob("*.md")]
    asked = [name for page in pages for name in hooks.MARKER.findall(page)]
    assert sorted(asked) == sorted(generated.PARTS)


def test_an_unknown_part_fails_the_build() -> None:
    with pytest.raises(KeyError, match="nothing"):
        hooks.on_page_markdown("<!-- generated: nothing -->")


def test_every_command_and_setting_is_in_the_reference() -> None:
    text = generated.commands()
    commands = (
        "check",
        "plan",
        "train",
        "curve",
        "predict",
        "next",
        "export",
        "evaluate",
        "generate",
        "phantom",
        "segmenters",
    )
    assert [name for name in commands if f"## `genseg {name}`" not in text] == []
    assert [name for name in genseg.Settings.model_fields if f"`--{name.replace('_', '-')} " not in text] == []


def test_nested_models_get_a_table_of_their_own() -> None:
    text = generated.fields_of(genseg.Plan)
    assert "### GenerationPlan" in text
    assert "### IntensityRule" in text
    assert [name for name in GenerationPlan.model_fields if f"| `{name}` |" not in text] == []
    assert "| `rank` | 2, 3 | required | spatial dimensions |" in text


def test_what_functions_return_is_described() -> None:
    titles = re.findall(r"^### (\w+)$", generated.results(), flags=re.MULTILINE)
    assert {"Examination", "Comparison", "LearningCurve", "Prediction", "EvaluationSummary"} <= set(titles)
    assert set(titles).isdisjoint(genseg.__all__)


def test_links_of_a_file_from_the_root_fit_the_folder_of_the_pages() -> None:
    assert "](architecture.md)" in generated.PARTS["CONTRIBUTING.md"]()


def test_formulas_become_mathml() -> None:
    inline = formulas.with_mathml(r'<span class="arithmatex">\(a &lt; b\)</span>')
    block = formulas.with_mathml('<div class="arithmatex">\\[\nx^2\n\\]</div>')
    assert inline.startswith("<math")
    assert "&#x0003C;" in inline
    assert 'display="block"' in block
    assert "arithmatex" not in inline + block


@pytest.mark.parametrize(
    ("tag", "is_loaded"),
    [
        ('<script src="https://elsewhere/x.js"></script>', True),
        ('<link rel="stylesheet" href="//elsewhere/font.css">', True),
        ("<img alt=a src=http://elsewhere/a.png>", True),
        ('<a href="https://elsewhere">a link is no load</a>', False),
        ('<script src="../assets/x.js"></script>', False),
    ],
)
def test_a_page_that_loads_from_elsewhere_fails_the_build(tmp_path: Path, tag: str, is_loaded: bool) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text(f"<html>{tag}</html>")
    if is_loaded:
        with pytest.raises(PluginError, match="outside"):
            hooks.stop_at_loads_from_outside(tmp_path)
    else:
        hooks.stop_at_loads_from_outside(tmp_path)
