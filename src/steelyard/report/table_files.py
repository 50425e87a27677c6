"""The report's tables as CSV (full precision, for computing), Markdown and LaTeX (rounded, for papers)."""

from __future__ import annotations

import csv
import io
from math import isfinite

from steelyard.report.table import Cell, Row, Table

LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "–": "--",
        "−": "$-$",
        "†": r"\dag{}",
        "α": r"$\alpha$",
        "β": r"$\beta$",
        "≤": r"$\leq$",
        "×": r"$\times$",
        "∞": r"$\infty$",
    }
)
MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#"} | {"\n": " "})


def to_csv(table: Table) -> str:
    """One line per row. Values are unrounded, an undefined one is empty; counts and notes get columns of their own."""
    rows = [(section.title, row) for section in table.sections for row in section.rows]
    remarked = {i for _, row in rows for i, cell in enumerate(row.cells) if cell.undefined}
    noted = {i for _, row in rows for i, cell in enumerate(row.cells) if cell.note}
    titled = any(title for title, _ in rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")

    header = ["section", table.corner] if titled else [table.corner]
    for i, column in enumerate(table.columns):
        header.append(column.text)
        header += [f"{column.label}: undefined"] * (i in remarked) + [f"{column.label}: note"] * (i in noted)
    writer.writerow(header)

    for title, row in rows:
        line = [title, row.header.text] if titled else [row.header.text]
        for i, cell in enumerate(row.cells):
            line.append(_unrounded(cell))
            line += [str(cell.undefined)] * (i in remarked) + [cell.note] * (i in noted)
        writer.writerow(line)
    return buffer.getvalue()


def to_markdown(table: Table) -> str:
    """A pipe table under its caption; the best of a row is bold."""
    lines = [
        table.caption.translate(MARKDOWN),
        "",
        _pipes([table.corner.translate(MARKDOWN), *(column.text.translate(MARKDOWN) for column in table.columns)]),
        _pipes(["---", *("---:" for _ in table.columns)]),
    ]
    for section in table.sections:
        if section.title:
            lines.append(_pipes([f"*{section.title.translate(MARKDOWN)}*", *("" for _ in table.columns)]))
        lines += [_pipes([row.header.text.translate(MARKDOWN), *map(_markdown, row.cells)]) for row in section.rows]
    return "\n".join([*lines, "", *(note.translate(MARKDOWN) for note in table.notes)]).rstrip() + "\n"


def to_latex(table: Table) -> str:
    """A `table` environment for the booktabs package; the best of a row is bold."""
    width = len(table.columns)
    lines = [
        r"\begin{table}",
        rf"\caption{{{' '.join([table.caption, *table.notes]).translate(LATEX)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{l{'r' * width}}}",
        r"\toprule",
        _ampersands([table.corner.translate(LATEX), *(column.text.translate(LATEX) for column in table.columns)]),
    ]
    for section in table.sections:
        lines.append(r"\midrule")
        if section.title:
            lines.append(rf"\multicolumn{{{width + 1}}}{{l}}{{\emph{{{section.title.translate(LATEX)}}}}} \\")
        lines += [_latex_row(row) for row in section.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


WRITERS = {"csv": to_csv, "md": to_markdown, "tex": to_latex}


def _unrounded(cell: Cell) -> str:
    if cell.value is None:
        return cell.word
    whole = cell.decimals == 0 and isfinite(cell.value)
    return str(round(cell.value)) if whole else repr(float(cell.value))  # inf: what programs that read CSV know


def _markdown(cell: Cell) -> str:
    number = f"**{cell.number}**" if cell.best else cell.number
    return f"{number} ({cell.remark.translate(MARKDOWN)})" if cell.remark else number


def _latex_row(row: Row) -> str:
    cells = []
    for cell in row.cells:
        number = cell.number.translate(LATEX)
        number = rf"\textbf{{{number}}}" if cell.best else number
        cells.append(f"{number} ({cell.remark.translate(LATEX)})" if cell.remark else number)
    return _ampersands([row.header.text.translate(LATEX), *cells])


def _pipes(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ampersands(cells: list[str]) -> str:
    return f"{' & '.join(cells)} \\\\"
