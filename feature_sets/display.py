"""What a result shows of itself: a line or two of text, and in a notebook a small table.

One place for every result of both packages. The html has no style sheet, script or color of its
own: it takes the page's, light or dark; what it is given is escaped.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

# rows of a table; numbers in a row of text, characters of a cell
ROWS = 10
_NUMBERS, _CELL = 4, 80

_LINE = "border:0;border-bottom:1px solid rgba(128,128,128,.35);background:transparent;"
_SPACE = "padding:.15em .7em .15em 0;"


class Shown(ABC):
    """A result that is read in a terminal or a notebook.

    A subclass says what its lines of text are and makes the table of itself. A dataclass has to
    pass ``repr=False``, which else writes out every number.
    """

    @abstractmethod
    def _lines(self) -> Sequence[str]:
        """One to three lines: what it is and how large, then what one looks at first."""

    @abstractmethod
    def to_pandas(self) -> Any:
        """The table of it."""

    def _shown_table(self) -> Any:
        """The table that a notebook shows the beginning of."""
        return self.to_pandas()

    def __repr__(self) -> str:
        return "\n  ".join(self._lines())

    def _repr_html_(self) -> str:
        first, *further = self._lines()
        table = self._shown_table()
        about = getattr(self, "provenance", None)
        return "".join(
            [
                f"<div><p><b>{escape(first)}</b>",
                *(f"<br>{escape(line)}" for line in further),
                "</p>",
                html_table(list(table.columns), table.head(ROWS).itertuples(index=False)),
                f"<p>{len(table) - ROWS} more rows: .to_pandas()</p>" * (len(table) > ROWS),
                _html_details("provenance", about) if about else "",
                "</div>",
            ]
        )


def html_table(columns: Sequence[Any], rows: Any) -> str:
    """A table as html, escaped, numbers short and to the right.

    Args:
        columns: heads.
        rows: of cells, as many as there are columns.

    Example:
        >>> "&lt;b&gt;" in html_table(["word"], [["<b>"]])
        True
    """
    cells = [list(row) for row in rows]
    numeric = [
        bool(cells) and all(_is_number(row[column]) for row in cells)
        for column in range(len(columns))
    ]
    sides = ["right" if number else "left" for number in numeric]

    def write_row(kind: str, row: Sequence[Any]) -> str:
        return (
            "<tr>"
            + "".join(
                f'<{kind} style="text-align:{side};{_SPACE}{_LINE}">{escape(format_cell(cell))}'
                f"</{kind}>"
                for cell, side in zip(row, sides, strict=True)
            )
            + "</tr>"
        )

    head, body = write_row("th", list(columns)), "".join(write_row("td", row) for row in cells)
    return (
        '<table style="border-collapse:collapse;color:inherit;font-size:inherit">'
        f"<thead>{head}</thead><tbody>{body}</tbody></table>"
    )


def format_cell(value: Any) -> str:
    """A value as a person reads it: numbers in three digits, long texts cut.

    Example:
        >>> format_cell(0.123456), format_cell(7), format_cell(float("nan")), format_cell(True)
        ('0.123', '7', '', 'yes')
    """
    if hasattr(value, "item"):  # of numpy
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    text = str(value)
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def keep_end(text: str, most: int = _CELL - 2) -> str:
    r"""The end of a text, from the beginning of a word, on one line.

    Example:
        >>> keep_end("once upon\na time", 11)
        '… / a time'
    """
    text = text.rstrip().replace("\n", " / ")
    if len(text) <= most:
        return text
    end = text[-most:]
    _, space, whole = end.partition(" ")
    return "… " + (whole if space and whole else end)


def list_some(values: Any, most: int = _NUMBERS) -> str:
    """The first of several values, and the last.

    Example:
        >>> list_some([9.0, 3.0, 1.0]), list_some(range(9))
        ('9, 3, 1', '0, 1, 2, 3, ..., 8')
    """
    texts = [format_cell(value) for value in values]
    if len(texts) <= most + 1:
        return ", ".join(texts)
    return ", ".join([*texts[:most], "...", texts[-1]])


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool | str) and hasattr(value, "__float__")


def _html_details(name: str, facts: Mapping[str, Any]) -> str:
    """Facts that are folded away."""
    table = html_table(["what", "value"], facts.items())
    return f"<details><summary>{escape(name)}</summary>{table}</details>"
