"""docs/benchmarks.md from what was measured: one table, the notes below it, and what a reader must know to trust it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

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
both; the ratio is the median of the pairs' ratios, with their quartiles. The lines a1, a2, a5 and a6 call their loss 8
times in a turn, i1 and i2 launch it 50 times and wait once. Before anything is timed the two sides' results are
compared. Peers are written as their own documentation writes them (the docstrings in `benchmarks/lines` say which
manner). Memory is the peak beyond what the process held before the work, in separate processes that give freed arrays
back at once. *Limit* is what the machine itself needs, measured then and there: of a network the multiplications by
definition, of which a convolution may do without some (decision 32). Where the peer is a part of our own work, the
ratio is its share. A processor without bf16 trains in float32 on both sides, and the lines that are about bf16 are left
out there.

`make bench` measures all lines, `python -m benchmarks a1_loss …` some; `make bench-check` fails where a ratio has
fallen behind what `benchmarks/baseline.json` has of the same machine. Neither is part of `make check`: times of a
shared machine prove nothing."""


SLOW = 0.1  # things per second, below which they are counted by the hour
Results = Mapping[str, Mapping[str, Result]]  # by machine, then by line


def write_page(lines: Mapping[str, Line], results: Results, growth: list[Growth]) -> None:
    PAGE.write_text(page(lines, results, growth), encoding="utf-8")


def page(lines: Mapping[str, Line], results: Results, growth: list[Growth]) -> str:
    """Markdown: all lines and machines in one table, then each machine. The one that measured most comes first."""
    measured = {
        machine: {name: found[name] for name in lines if name in found and found[name].measured is not None}
        for machine, found in results.items()
    }
    order = sorted((machine for machine in measured if measured[machine]), key=lambda m: -len(measured[m]))
    parts = [HEAD, _overview(lines, measured, order), _shortfalls(lines, measured, order)]
    parts += [_machine(lines, machine, measured[machine], results[machine]) for machine in order]
    parts.append(_growth(growth))
    return "\n\n".join(part for part in parts if part) + "\n"


def _overview(lines: Mapping[str, Line], measured: Results, order: Sequence[str]) -> str:
    """A row for each line, a column for each machine."""
    rows = [
        "| | what | peer | wanted | " + "".join(f"{_short(machine)} | " for machine in order).rstrip(),
        "|---|---|---|---|" + "---|" * len(order),
    ]
    for name, line in lines.items():
        cells = [_number(name), line.title, line.peer, _wanted(line)]
        cells += [_verdict(line, measured[machine].get(name)) for machine in order]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _verdict(line: Line, result: Result | None) -> str:
    """The ratio, and our time where a time is wanted; bold where something was not reached, a dash if not measured."""
    if result is None or result.measured is None:
        return "–"
    said = f"{_three_digits(result.measured.ratio)} ×"
    if line.wanted_seconds is not None:
        said += f", {seconds_said(result.measured.ours_seconds)}"
    return said if _is_reached(line, result) else f"**{said}, short**"


def _short(machine: str) -> str:
    return machine.partition(",")[0]


def _number(name: str) -> str:
    return name.partition("_")[0]


def _machine(
    lines: Mapping[str, Line], machine: str, measured: Mapping[str, Result], found: Mapping[str, Result]
) -> str:
    """What one machine measured: times, notes, circumstances, and what it lacks."""
    rows = [
        "| | ours | peer's | limit | ratio | memory, ours / peer's | wanted | reached |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows += [_row(name, lines[name], result.measured) for name, result in measured.items() if result.measured]
    lacking = [
        f"{_number(name)} ({found[name].not_measured})" for name in lines if name in found and name not in measured
    ]
    parts = [
        f"## {machine}",
        "\n".join(rows),
        f"Not measured here: {', '.join(lacking)}." if lacking else "",
        _notes(measured) + "\n" + _circumstances(measured),
    ]
    return "\n\n".join(part for part in parts if part)


def seconds_said(seconds: float) -> str:
    """Three digits in the unit that fits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{_three_digits(seconds / size)} {unit}"
    return f"{_three_digits(seconds / 1e-9)} ns"


def _row(name: str, line: Line, measured: Measured) -> str:
    found = wishes(line, measured)
    cells = [
        _number(name),
        seconds_said(measured.ours_seconds) + _rate(line, measured.ours_seconds),
        seconds_said(measured.peer_seconds) + _rate(line, measured.peer_seconds),
        seconds_said(measured.limit.seconds),
        f"**{_three_digits(measured.ratio)}** ({_three_digits(measured.low)}–{_three_digits(measured.high)})",
        _memory(measured),
        "; ".join(wish.words for wish in found),
        "; ".join("yes" if wish.reached else "**no**" for wish in found),
    ]
    return "| " + " | ".join(cells) + " |"


def _wanted(line: Line) -> str:
    nothing = Measured("", 1, 1, 1, 1, 1, None, None, limit=None, notes=(), repeats=0)  # type: ignore[arg-type]
    return "; ".join(wish.words for wish in wishes(line, nothing)) or "–"


def _rate(line: Line, seconds: float) -> str:
    if line.of is None:
        return ""
    a_second = line.of[0] / seconds
    rate, unit = (a_second, "s") if a_second >= SLOW else (3600 * a_second, "h")
    return f" ({_three_digits(rate)} {line.of[1]}/{unit})"


def _memory(measured: Measured) -> str:
    if measured.ours_mib is None or measured.peer_mib is None:
        return "–"
    return f"{measured.ours_mib:.0f} / {measured.peer_mib:.0f} MiB"


def _shortfalls(lines: Mapping[str, Line], measured: Results, order: Sequence[str]) -> str:
    said = []
    for name, line in lines.items():
        short = [machine for machine in order if (one := measured[machine].get(name)) and not _is_reached(line, one)]
        nowhere = not any(name in measured[machine] for machine in order)
        if line.shortfall and (short or nowhere):
            where = ", ".join(_short(machine) for machine in short) or "measured nowhere yet"
            said.append(f"- **{_number(name)}** ({where}) {line.shortfall}")
    return "## Not reached, and what it would take\n\n" + "\n".join(said) if said else ""


def _is_reached(line: Line, result: Result) -> bool:
    return result.measured is not None and all(wish.reached for wish in wishes(line, result.measured))


def _notes(measured: Mapping[str, Result]) -> str:
    said = []
    for name, result in measured.items():
        assert result.measured is not None
        found = result.measured
        times = f"{seconds_said(found.limit.seconds)}: {found.limit.words}"
        said.append(
            f"- **{_number(name)}** limit {times}; ours is "
            f"{_three_digits(found.ours_seconds / found.limit.seconds)} × that."
            + "".join(f" {note[0].upper()}{note[1:]}." for note in found.notes)
        )
    return "\n".join(said)


def _growth(growth: list[Growth]) -> str:
    if not growth:
        return ""
    rows = ["| against | from – to | time ~ nᵏ, k | memory ~ nᵏ, k | worse than linear |", "|---|---|---|---|---|"]
    for one in growth:
        worse = "**yes**" if one.is_worse_than_linear else "no"
        ends = f"{one.sizes[0]:,} – {one.sizes[-1]:,}".replace(",", " ")
        rows.append(f"| {one.title} | {ends} | {_exponent(one.time)} | {_exponent(one.memory)} | {worse} |")
    words = (
        "The exponents are slopes over the upper half of the sizes, where fixed costs no longer hide them. "
        f"Measured {'; '.join(dict.fromkeys(one.where for one in growth))}."
    )
    return "## Growth\n\n" + f"{words}\n\n" + "\n".join(rows) + "\n\n![Time and memory](benchmarks-growth.png)"


def _exponent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _circumstances(measured: Mapping[str, Result]) -> str:
    """Days and versions, once for all lines that share them."""
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = defaultdict(list)
    for name, result in measured.items():
        groups[result.date, tuple(sorted(result.versions.items()))].append(_number(name))
    said = []
    for (date, versions), names in groups.items():
        packages = ", ".join(f"{package} {version}" for package, version in versions)
        said.append(f"- {', '.join(names)}: {date}; {packages}.")
    if busy := [f"{_number(name)} ({result.load:.1f})" for name, result in measured.items() if result.load > QUIET]:
        said.append(
            "- The load was high when these lines began (in brackets; the line before counts in it), so the machine "
            f"may have been busy, their times too long and their ratios uncertain: {', '.join(busy)}."
        )
    return "\n".join(said)


def _three_digits(value: float) -> str:
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
