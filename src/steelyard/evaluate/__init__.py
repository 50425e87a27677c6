"""Evaluation: from a reference and a prediction to scores, per case, pooled, on screen and in a file."""

from steelyard.evaluate.case import ALL_CONVENTIONS, OF_STUDIES, CaseEvaluation, ConventionName, evaluate_case, pool
from steelyard.evaluate.label_sets import LabelChoice, parse_labels, read_labels
from steelyard.evaluate.many import Evaluated, evaluate_many
from steelyard.evaluate.paths import evaluate_paths, find_cases
from steelyard.evaluate.points import points_table
from steelyard.evaluate.score_file import check_ending, evaluated_frame, scores_frame, write_scores
from steelyard.evaluate.screen import convention_table, score_table
from steelyard.evaluate.why import rule_table, why_frame, why_table

__all__ = [
    "ALL_CONVENTIONS",
    "OF_STUDIES",
    "CaseEvaluation",
    "ConventionName",
    "Evaluated",
    "LabelChoice",
    "check_ending",
    "convention_table",
    "evaluate_case",
    "evaluate_many",
    "evaluate_paths",
    "evaluated_frame",
    "find_cases",
    "parse_labels",
    "points_table",
    "pool",
    "read_labels",
    "rule_table",
    "score_table",
    "scores_frame",
    "why_frame",
    "why_table",
    "write_scores",
]
