"""Damaged files of every kind, made at random but reproducibly, against every reader: one line or a right result."""
