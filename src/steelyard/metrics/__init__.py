"""Metrics: numbers that say how well a prediction fits the reference. A new one is one decorated function."""
