"""docs/benchmarks.md from what was measured: one table, the notes below it, and what a reader must know to trust it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from benchmarks.growth_fit import Growth
from benchmarks.line import Line
from benchmarks.pair import ROOT, Measured
from benchmarks.results import Result
from benchmarks.verdict import wishes

PAGE = ROOT / "docs" / "benchmarks.md"
QUIET = 1.5  # processes running or waiting, on a machine with two cores, when a line begins
HEAD = """# How fast, beside what

<!-- Written by `make bench` from benchmarks/results.json. -->

Each line runs Steelyard and its peer in processes of their own, in turn, so that whatever else the machine does meets
both; the ratio is the median of the pairs' ratios, with their quartiles. The lines a1 and a2 call their loss 8 times in
a turn, i1 and i2 replay it 50 times. Before anything is timed the two sides' results are compared. Peers are written as
their own documentation writes them (the docstrings in `benchmarks/lines` say which manner). Memory is the peak beyond
what the process held before the work, in separate processes that give freed arrays back at once. *Limit* is what the
machine itself needs, measured then and there; where the peer is a part of our own work, the ratio is its share.

`make bench` measures all lines, `python -m benchmarks a1_loss …` some; `make bench-check` fails where a ratio has
fallen behind `benchmarks/baseline.json`. Neither is part of `make check`: times of a shared machine prove nothing."""


def write_page(lines: Mapping[str, Line], results: Mapping[str, Result], growth: list[Growth]) -> None:
    PAGE.write_text(page(lines, results, growth), encoding="utf-8")


def page(lines: Mapping[str, Line], results: Mapping[str, Result], growth: list[Growth]) -> str:
    """Markdown. Lines without a result are there too, with the reason."""
    rows = [
        "| | what | peer | ours | peer's | limit | ratio | memory, ours / peer's | wanted | reached |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    rows += [_row(name, line, results.get(name)) for name, line in lines.items()]
    parts = [
        HEAD,
        "\n".join(rows),
        _shortfalls(lines, results),
        _notes(lines, results),
        _growth(growth),
        _circumstances(lines, results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def seconds_said(seconds: float) -> str:
    """Three digits in the unit that fits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{_three_digits(seconds / size)} {unit}"
    return f"{_three_digits(seconds / 1e-9)} ns"


def _row(name: str, line: Line, result: Result | None) -> str:
    number = name.partition("_")[0]
    if result is None or result.measured is None:
        reason = "not measured yet" if result is None else f"not measured: {result.not_measured}"
        cells = [number, line.title, line.peer, *["–"] * 5, _wanted(line), reason]
        return "| " + " | ".join(cells) + " |"
    measured = result.measured
    found = wishes(line, measured)
    cells = [
        number,
        line.title,
        line.peer,
        seconds_said(measured.ours_seconds) + _rate(line, measured.ours_seconds),
        seconds_said(measured.peer_seconds) + _rate(line, measured.peer_seconds),
        seconds_said(measured.limit.seconds),
        f"**{_three_digits(measured.ratio)}** ({_three_digits(measured.low)}–{_three_digits(measured.high)})",
        _memory(measured),
        "; ".join(wish.words for wish in found) or "–",
        "; ".join("yes" if wish.reached else "**no**" for wish in found) or "–",
    ]
    return "| " + " | ".join(cells) + " |"


def _wanted(line: Line) -> str:
    nothing = Measured("", 1, 1, 1, 1, 1, None, None, limit=None, notes=(), repeats=0)  # type: ignore[arg-type]
    return "; ".join(wish.words for wish in wishes(line, nothing)) or "–"


def _rate(line: Line, seconds: float) -> str:
    return "" if line.of is None else f" ({_three_digits(line.of[0] / seconds)} {line.of[1]}/s)"


def _memory(measured: Measured) -> str:
    if measured.ours_mib is None or measured.peer_mib is None:
        return "–"
    return f"{measured.ours_mib:.0f} / {measured.peer_mib:.0f} MiB"


def _shortfalls(lines: Mapping[str, Line], results: Mapping[str, Result]) -> str:
    said = [
        f"- **{name.partition('_')[0]}** {line.shortfall}"
        for name, line in lines.items()
        if line.shortfall and not _is_reached(line, results.get(name))
    ]
    return "## Not reached, and what it would take\n\n" + "\n".join(said) if said else ""


def _is_reached(line: Line, result: Result | None) -> bool:
    measured = None if result is None else result.measured
    return measured is not None and all(wish.reached for wish in wishes(line, measured))


def _notes(lines: Mapping[str, Line], results: Mapping[str, Result]) -> str:
    said = []
    for name in lines:
        result = results.get(name)
        if result is None or result.measured is None:
            continue
        measured = result.measured
        times = f"{seconds_said(measured.limit.seconds)}: {measured.limit.words}"
        said.append(
            f"- **{name.partition('_')[0]}** limit {times}; ours is "
            f"{_three_digits(measured.ours_seconds / measured.limit.seconds)} × that."
            + "".join(f" {note[0].upper()}{note[1:]}." for note in measured.notes)
        )
    return "## Notes\n\n" + "\n".join(said) if said else ""


def _growth(growth: list[Growth]) -> str:
    if not growth:
        return ""
    rows = ["| against | from – to | time ~ nᵏ, k | memory ~ nᵏ, k | worse than linear |", "|---|---|---|---|---|"]
    for one in growth:
        worse = "**yes**" if one.is_worse_than_linear else "no"
        ends = f"{one.sizes[0]:,} – {one.sizes[-1]:,}".replace(",", " ")
        rows.append(f"| {one.title} | {ends} | {_exponent(one.time)} | {_exponent(one.memory)} | {worse} |")
    words = "The exponents are slopes over the upper half of the sizes, where fixed costs no longer hide them."
    return "## Growth\n\n" + f"{words}\n\n" + "\n".join(rows) + "\n\n![Time and memory](benchmarks-growth.png)"


def _exponent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _circumstances(lines: Mapping[str, Line], results: Mapping[str, Result]) -> str:
    """Machine and versions, once for all lines that share them."""
    groups: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[str]] = defaultdict(list)
    busy = []
    for name in lines:
        result = results.get(name)
        if result is None or result.measured is None:
            continue
        groups[result.date, result.machine, tuple(sorted(result.versions.items()))].append(name.partition("_")[0])
        if result.load > QUIET:
            busy.append(f"{name.partition('_')[0]} ({result.load:.1f})")
    said = []
    for (date, machine, versions), names in groups.items():
        packages = ", ".join(f"{package} {version}" for package, version in versions)
        said.append(f"- {', '.join(names)}: {date}, {machine}; {packages}.")
    if busy:
        said.append(
            "- The load was high when these lines began (in brackets; the line before counts in it), so the machine "
            f"may have been busy, their times too long and their ratios uncertain: {', '.join(busy)}."
        )
    return "## Where and when\n\n" + "\n".join(said) if said else ""


def _three_digits(value: float) -> str:
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
