"""How good a segmentation is: measures per case, intervals over cases, a summary and a report to read.

The order of use: `score_case` for each case, `summarise` over the cases, then `write_report`. `paired_bootstrap`
compares two models on the same cases.
"""

from genseg.evaluate.intervals import (
    Estimate,
    PairedDifference,
    bootstrap_interval,
    paired_bootstrap,
    paired_bootstrap_over_strata,
)
from genseg.evaluate.metrics import CaseScores, SurfaceTolerance, default_tolerance, score_case
from genseg.evaluate.report import pictured_cases, write_report
from genseg.evaluate.summary import ClassSummary, EvaluationSummary, summarise

__all__ = [
    "CaseScores",
    "ClassSummary",
    "Estimate",
    "EvaluationSummary",
    "PairedDifference",
    "SurfaceTolerance",
    "bootstrap_interval",
    "default_tolerance",
    "paired_bootstrap",
    "paired_bootstrap_over_strata",
    "pictured_cases",
    "score_case",
    "summarise",
    "write_report",
]
