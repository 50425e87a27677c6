"""How many epochs a strategy may still spend."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Budget:
    """Epochs that may still be spent; None for as many as needed."""

    epochs: int | None
    spent: int = 0

    def allows(self, epochs: int) -> bool:
        """Whether so many more fit."""
        return self.epochs is None or self.spent + epochs <= self.epochs

    def spend(self, epochs: int) -> None:
        """Note what a part has cost."""
        self.spent += epochs
