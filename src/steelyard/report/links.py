"""Where a number leads: the page of its network and loss, at the organ, where every case behind it is listed."""

from __future__ import annotations

import re

from steelyard.report.read import Condition, Study

CASES_FOLDER = "cases"
ALL_ORGANS = "all-organs"  # the section with every organ of a case in one row
PAIRED = "paired-"  # before an organ's name: the section that sets each patient beside the baseline


def cases_page(study: Study, condition: Condition) -> str:
    """The file name of a condition's page; its number in the plan keeps it unique whatever the names hold."""
    number = study.conditions.index(condition)
    return f"{number:02d}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', f'{condition.network}-{condition.loss}').strip('-')}.html"


def cases_link(study: Study, condition: Condition, section: str) -> str:
    """The address of one section of that page, from the report's own page; empty for a condition without a run."""
    return f"{CASES_FOLDER}/{cases_page(study, condition)}#{section}" if condition.done else ""
