"""Honest statistics of paired results: differences, intervals, tests, verdicts, ranks and power. Opens no file."""
