"""genseg: from 9 to 100 expert-labelled scans to a segmentation model that can be trusted."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genseg.api import check, compare, curve, export_model, fit, generate, load, next_images, plan, refit
    from genseg.config import Plan, Settings
    from genseg.errors import GensegError
    from genseg.generators.registry import register_generator
    from genseg.models.model import Model
    from genseg.read.formats import Decoded, register_reader
    from genseg.segmenters.registry import register_segmenter

__all__ = [
    "Decoded",
    "GensegError",
    "Model",
    "Plan",
    "Settings",
    "check",
    "compare",
    "curve",
    "export_model",
    "fit",
    "generate",
    "load",
    "next_images",
    "plan",
    "refit",
    "register_generator",
    "register_reader",
    "register_segmenter",
]

_HOMES = {
    "Decoded": "genseg.read.formats",
    "GensegError": "genseg.errors",
    "Model": "genseg.models.model",
    "Plan": "genseg.config",
    "Settings": "genseg.config",
    "check": "genseg.api",
    "compare": "genseg.api",
    "curve": "genseg.api",
    "export_model": "genseg.api",
    "fit": "genseg.api",
    "generate": "genseg.api",
    "load": "genseg.api",
    "next_images": "genseg.api",
    "plan": "genseg.api",
    "refit": "genseg.api",
    "register_generator": "genseg.generators.registry",
    "register_reader": "genseg.read.formats",
    "register_segmenter": "genseg.segmenters.registry",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import genseg` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'genseg' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
