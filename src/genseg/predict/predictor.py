"""What is asked of a trained model by those who use it on many images; `genseg.Model` is one."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from genseg.config import Plan
from genseg.examine.cases import LoadOptions
from genseg.labels import LabelMap
from genseg.predict.prediction import Prediction
from genseg.read.case import Case, CaseFiles
from genseg.read.identity import SeenImages
from genseg.trust.trust import Trust


class Predictor(Protocol):
    """See `genseg.models.model.Model` for what each of these is."""

    @property
    def plan(self) -> Plan: ...
    @property
    def labels(self) -> LabelMap: ...
    @property
    def run(self) -> Path: ...
    @property
    def options(self) -> LoadOptions: ...
    @property
    def channel_files(self) -> bool: ...
    @property
    def training(self) -> str: ...
    @property
    def trust(self) -> Trust: ...
    @property
    def sha256(self) -> str: ...
    @property
    def seen(self) -> tuple[SeenImages, ...]: ...
    def read(self, files: CaseFiles) -> Case: ...
    def examine_case(self, case: Case) -> Prediction: ...
