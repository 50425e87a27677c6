"""Pages from templates that lie beside this file: everything put into them is escaped."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """The HTML of `template` with `values`; a value that a template asks for and does not get is an error."""
    environment = Environment(
        loader=PackageLoader("steelyard.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template).render(**values)
