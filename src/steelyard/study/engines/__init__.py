"""Engines: who carries out the runs of a study. Locks see to it that no run is done twice, whoever takes it."""
