"""Honest statistics of paired results: differences per patient, intervals, tests, verdicts, ranks and power. No files."""
