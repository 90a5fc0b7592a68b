"""What a report is made of: pictures, tables, folds, sections."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import vl_convert
from matplotlib import rc_context
from matplotlib.figure import Figure

from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.tools.whole_files import write_atomically

# of a chart as a picture; on the page it is as wide as its column
_WIDTH = 860


class Link(NamedTuple):
    """A cell that leads to another place of the page."""

    text: str
    href: str


class Signed(NamedTuple):
    """A difference with its interval, whose sign is shown where it is positive too."""

    found: IntervalEstimate


Cell = str | float | int | IntervalEstimate | Signed | Link | None
Cells = list[Cell]


@dataclass(frozen=True)
class Table:
    """A table with a caption; numbers are formatted for reading on the page, whole in the CSV.

    ``text`` is for tables of words: left-aligned, and wrapped where they are too wide. A figure
    with its interval has three columns in the CSV: its name, and with " low" and " high".
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    text: bool = False

    def write(self, folder: Path) -> None:
        """The table as ``name.csv`` and ``name.json``."""
        columns, rows = self._plain()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        write_text(folder / f"{self.name}.csv", text.getvalue())
        records = [dict(zip(columns, row, strict=True)) for row in rows]
        write_text(folder / f"{self.name}.json", json.dumps(records, indent=1, ensure_ascii=False))

    def _plain(self) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows of plain values."""
        wide = [
            any(isinstance(row[i], IntervalEstimate | Signed) for row in self.rows)
            for i in range(len(self.columns))
        ]
        columns = []
        for name, has_interval in zip(self.columns, wide, strict=True):
            columns += [name, f"{name} low", f"{name} high"] if has_interval else [name]
        rows = []
        for row in self.rows:
            cells: list[Any] = []
            for cell, has_interval in zip(row, wide, strict=True):
                match cell:
                    case IntervalEstimate(value, low, high) | Signed(
                        IntervalEstimate(value, low, high)
                    ):
                        cells += [value, low, high]
                    case Link(text, _):
                        cells += [text] + ["", ""] * has_interval
                    case _:
                        cells += ["" if cell is None else cell] + ["", ""] * has_interval
            rows.append(cells)
        return columns, rows


@dataclass(frozen=True)
class Picture:
    """A figure with what it shows: of matplotlib, or a chart of Altair that the page draws.

    Attributes:
        name: of its files.
        caption: what it shows.
        figure: of matplotlib, or an Altair chart.
        kept: written as files too, and shown where there is no JavaScript.
    """

    name: str
    caption: str
    figure: Figure | alt.TopLevelMixin
    kept: bool = True

    @cached_property
    def spec(self) -> dict[str, Any] | None:
        """The chart in Vega-Lite, None for a figure of matplotlib."""
        if isinstance(self.figure, Figure):
            return None
        # checked against the schema by the tests of tl_entk.plot: here it takes seconds a page
        return self.figure.to_dict(validate=False)

    def svg(self) -> str:
        """The figure as SVG."""
        if isinstance(self.figure, Figure):
            buffer = io.StringIO()
            # the same figure is the same file
            with rc_context({"svg.hashsalt": self.name}):
                self.figure.savefig(buffer, format="svg", metadata={"Date": None})
            return buffer.getvalue()
        return str(vl_convert.vegalite_to_svg(self._sized))

    def png(self) -> bytes:
        """The figure as PNG, twice as fine as a screen."""
        if isinstance(self.figure, Figure):
            buffer = io.BytesIO()
            self.figure.savefig(buffer, format="png", dpi=200)
            return buffer.getvalue()
        return bytes(vl_convert.vegalite_to_png(self._sized, scale=2))

    @property
    def _sized(self) -> dict[str, Any]:
        """The chart at a width of its own, where it would have that of its place on a page."""
        assert self.spec is not None
        wide = self.spec.get("width") == "container"
        return self.spec | {"width": _WIDTH} if wide else self.spec


@dataclass(frozen=True)
class Fold:
    """Parts that the reader opens."""

    title: str
    parts: Sequence[Picture | Table]
    text: str = ""


Part = Picture | Table | Fold


@dataclass(frozen=True)
class Section:
    """A view of the page: a heading, paragraphs (an empty line between), and parts.

    Attributes:
        title: heading, and entry of the navigation.
        text: paragraphs.
        parts: figures, tables, folds.
        folded: the reader opens the parts.
        question: that the view answers, for the overview.
    """

    title: str
    text: str
    parts: Sequence[Part] = ()
    folded: bool = False
    question: str = ""

    @property
    def id(self) -> str:
        """Address of the view."""
        return slug(self.title)


def slug(text: str) -> str:
    """A text as an address within the page.

    Example:
        >>> slug("Where a feature lives"), slug("eNTK, all logits: layer 3, direction 7")
        ('where-a-feature-lives', 'entk-all-logits-layer-3-direction-7')
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def interval(found: IntervalEstimate, sign: str = "") -> str:
    """A figure with its interval, as text.

    Example:
        >>> found = IntervalEstimate(0.1, 0.0, 0.2)
        >>> interval(found), interval(found, "+")
        ('0.10 (0.00 to 0.20)', '+0.10 (+0.00 to +0.20)')
    """
    return f"{found.value:{sign}.2f} ({found.low:{sign}.2f} to {found.high:{sign}.2f})"


def show_cell(cell: Cell) -> Mapping[str, Any]:
    """What the page writes for a cell: text, interval, address, and the value that it sorts by."""
    text, bounds, order, href = "", "", None, ""
    match cell:
        case IntervalEstimate(value, low, high):
            text, bounds, order = f"{value:.2f}", f"{low:.2f} to {high:.2f}", value
        case Signed(IntervalEstimate(value, low, high)):
            text, bounds, order = f"{value:+.2f}", f"{low:+.2f} to {high:+.2f}", value
        case Link(text, href):
            pass
        case bool() | str():
            text = str(cell)
        case float():
            text, order = f"{cell:.3f}", cell
        case int():
            text, order = str(cell), cell
    left = cell is not None and order is None
    return {"text": text, "interval": bounds, "order": order, "href": href, "left": left}


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; in UTF-8, whatever the machine's own encoding is."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
