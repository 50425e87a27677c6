"""The type checker that the tests put around the package's own functions."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int where a float is wanted is fine
