"""Evaluation: from a reference and a prediction to scores, per case, pooled, on screen and in a file."""

from steelyard.evaluate.case import CaseEvaluation, ConventionChoice, evaluate_case, pool

__all__ = ["CaseEvaluation", "ConventionChoice", "evaluate_case", "pool"]
