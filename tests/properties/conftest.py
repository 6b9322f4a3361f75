"""How the properties are tried: always the same examples, few of them, without a clock; and files for them to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from benchmarks.robustness.fuzz_samples import Sample, make_samples

settings.register_profile(
    "genseg",
    derandomize=True,
    deadline=None,
    max_examples=25,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("genseg")


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sample]:
    """Small valid files of every format, by name. Read only."""
    return {sample.name: sample for sample in make_samples(tmp_path_factory.mktemp("samples") / "made")}


@pytest.fixture
def damaged(samples: dict[str, Sample], tmp_path: Path) -> Callable[[str, Callable[[bytes], bytes]], Path]:
    """Damage the last file of a sample: `damaged("ct.dcm", change)`, and return what is to be read."""

    def make(name: str, change: Callable[[bytes], bytes]) -> Path:
        sample = samples[name]
        for file in sample.damaged:
            content = (sample.folder / file).read_bytes()
            (tmp_path / file).write_bytes(change(content) if file == sample.damaged[-1] else content)
        return tmp_path / sample.target

    return make
