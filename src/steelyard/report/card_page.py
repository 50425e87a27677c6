"""A decision card as one page: the verdict first, then its proof, its price, and what it does not show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from steelyard.report import card_tables as tables
from steelyard.report.card_content import Card, OrganFront, organ_title, read_content
from steelyard.report.card_forest import card_forest, card_pairs
from steelyard.report.card_words import (
    bound_costs,
    costs,
    data_facts,
    gain_sentence,
    headline,
    moved_details,
    moved_headline,
    percent,
    python_of,
    toml_of,
)
from steelyard.report.front_chart import FrontChart, front_chart
from steelyard.report.front_words import (
    SAME_ML,
    SAME_SHARE,
    front_headline,
    front_sentences,
    missing_weights,
    shorter_than_full,
)
from steelyard.report.table import Table
from steelyard.report.template import render
from steelyard.runstore import write_atomically

PAGE = "card.html"


@dataclass(frozen=True)
class FrontPart:
    """One organ's front: what it says, its picture, its numbers."""

    title: str
    sentences: list[str]
    chart: FrontChart | None
    table: Table | None


def write_card_page(card_path: Path) -> Path:
    """Write `card.html` beside a calibration's `card.json`, from that file alone; returns the page.

    Raises:
        BadData: no card, a damaged one, or one that lacks what the page shows.
    """
    card = read_content(card_path)
    html = card_page(card, file=card_path.name)
    page = card_path.with_name(PAGE)
    write_atomically(page, lambda temporary: temporary.write_text(html, encoding="utf-8"))
    return page


def card_page(card: Card, *, file: str = "card.json") -> str:
    """The page's HTML; `file` is the name of the card in the commands that come next."""
    return render(
        "card.html.j2",
        card=card,
        file=file,
        changes=card.decision == "change",
        date=card.made[:16].replace("T", " "),
        headline=headline(card),
        gain=gain_sentence(card),
        chosen_table=tables.chosen_table(card),
        toml=toml_of(card),
        python=python_of(card),
        forest=card_forest(card),
        pairs=card_pairs(card),
        difference_table=tables.difference_table(card),
        moved_headline=moved_headline(card),
        moved_details=moved_details(card),
        rules_tables=tables.rules_tables(card),
        methods_table=tables.methods_table(card),
        volumes_table=tables.volumes_table(card),
        sensitivity_table=tables.sensitivity_table(card),
        fronts=[_front(card, front) for front in card.front],
        front_headline=front_headline(card),
        missing_weights=missing_weights(card),
        short_branches=shorter_than_full(card),
        same=f"{100 * SAME_SHARE:g} % or {SAME_ML:g} ml",
        bound_organ=organ_title(card.bound.organ) if card.bound else "",
        bound_costs=bound_costs(card),
        bound_table=tables.bound_table(card),
        trials=[(fold, tables.trials_table(card, fold)) for fold in card.folds],
        costs=costs(card),
        data=data_facts(card),
        share=percent,
    )


def _front(card: Card, front: OrganFront) -> FrontPart:
    return FrontPart(
        organ_title(front.organ),
        front_sentences(card, front),
        front_chart(front),
        tables.front_table(front),
    )
