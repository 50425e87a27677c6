"""Evaluation: from a reference and a prediction to scores, per case, pooled, on screen and in a file."""

from steelyard.evaluate.case import CaseEvaluation, ConventionName, evaluate_case, pool
from steelyard.evaluate.label_sets import parse_labels
from steelyard.evaluate.paths import evaluate_paths
from steelyard.evaluate.score_file import check_ending, scores_frame, write_scores
from steelyard.evaluate.screen import score_table

__all__ = [
    "CaseEvaluation",
    "ConventionName",
    "check_ending",
    "evaluate_case",
    "evaluate_paths",
    "parse_labels",
    "pool",
    "score_table",
    "scores_frame",
    "write_scores",
]
