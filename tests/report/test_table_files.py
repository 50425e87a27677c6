from __future__ import annotations

import csv
import io

from steelyard.report.table import Cell, Header, Row, Section, Table
from steelyard.report.table_files import to_csv, to_latex, to_markdown

TABLE = Table(
    "t",
    "50 % of a_b & c",
    "organ",
    (Header("iou_05"), Header("x|y", "1 of 2 runs finished")),
    (
        Section(
            "left_kidney",
            (
                Row(Header("p#1"), (Cell(2 / 3, best=True), Cell(None, undefined=3))),
                Row(Header("p2"), (Cell(-1.25, decimals=1), Cell(4.0, decimals=0, note="mr_01"))),
            ),
        ),
    ),
    ("Costs $5 {x} ~ ^ \\",),
)


def test_csv_keeps_full_precision_and_counts_in_columns_of_their_own():
    rows = list(csv.reader(io.StringIO(to_csv(TABLE))))
    assert rows[0] == [
        "section", "organ", "iou_05", "x|y († 1 of 2 runs finished)", "x|y: undefined", "x|y: note",
    ]  # fmt: skip
    assert rows[1] == ["left_kidney", "p#1", "0.6666666666666666", "", "3", ""]
    assert rows[2] == ["left_kidney", "p2", "-1.25", "4", "0", "mr_01"]


def test_markdown_escapes_what_would_break_the_table():
    text = to_markdown(TABLE)
    assert r"| organ | iou\_05 | x\|y († 1 of 2 runs finished) |" in text
    assert r"| p\#1 | **0.667** | – (3 undefined) |" in text
    assert r"| p2 | −1.2 | 4 (mr\_01) |" in text


def test_latex_escapes_every_special_character():
    text = to_latex(TABLE)
    assert r"\caption{50 \% of a\_b \& c Costs \$5 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{}}" in text
    assert r"organ & iou\_05 & x\textbar{}y (\dag{} 1 of 2 runs finished) \\" in text
    assert r"p\#1 & \textbf{0.667} & -- (3 undefined) \\" in text
    assert r"p2 & $-$1.2 & 4 (mr\_01) \\" in text
    assert r"\multicolumn{3}{l}{\emph{left\_kidney}} \\" in text
    assert r"\begin{tabular}{lrr}" in text
