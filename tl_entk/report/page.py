"""One self-contained HTML page: figures inlined as PNG, tables as HTML, no network."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from tl_entk.tools.files import write_atomically

Cells = list[str | float | int]


@dataclass(frozen=True)
class Table:
    """A table with a caption; numbers are formatted for reading on the page, whole in the CSV.

    ``text`` is for tables of words: left-aligned, and wrapped where they are too wide.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str | float | int]]
    text: bool = False

    def write_csv(self, folder: Path) -> Path:
        """The table as ``name.csv``."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        path = folder / f"{self.name}.csv"
        write_atomically(path, lambda temporary: temporary.write_text(text.getvalue()))
        return path

    def cells(self) -> list[list[str]]:
        """Rows as text."""
        return [
            [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row]
            for row in self.rows
        ]


@dataclass(frozen=True)
class Picture:
    """A figure with what it shows."""

    name: str
    caption: str
    figure: Figure

    def png(self) -> bytes:
        """The figure as PNG."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png")
        return buffer.getvalue()


@dataclass(frozen=True)
class Card:
    """One thing to look at closely: facts, a picture, lists of examples.

    Attributes:
        title: what it is.
        facts: (label, value).
        picture: beside the facts.
        examples: heading to rows of cells; the first row is the head of the columns.
        notes: lines under the facts.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    picture: Picture
    examples: Mapping[str, Sequence[Sequence[str]]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs (an empty line between), and parts; the reader opens a folded one."""

    title: str
    text: str
    parts: Sequence[Picture | Table | Card] = ()
    folded: bool = False


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _inline(picture: Picture, folder: Path) -> str:
    """Write the figure's file; its bytes as a data address."""
    png = picture.png()
    target = folder / "figures" / f"{picture.name}.png"
    write_atomically(target, partial(_write_bytes, data=png))
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def write_page(
    path: Path,
    title: str,
    lead: str,
    figures: Sequence[tuple[str, str]],
    sections: Sequence[Section],
) -> None:
    """Write PNGs and CSVs beside the page, and the page with everything inlined.

    Args:
        path: the HTML file.
        title: heading of the page.
        lead: a paragraph under it.
        figures: key figures (label, value) at the top.
        sections: the body.

    Raises:
        OSError: if the folder cannot be written to.
    """
    blocks = []
    for section in sections:
        parts = []
        for part in section.parts:
            if isinstance(part, Table):
                part.write_csv(path.parent / "tables")
                parts.append({"table": part, "rows": part.cells()})
            elif isinstance(part, Card):
                parts.append({"card": part, "source": _inline(part.picture, path.parent)})
            else:
                parts.append({"picture": part, "source": _inline(part, path.parent)})
        blocks.append({"section": section, "parts": parts})
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(
        (files("tl_entk.report") / "template.html.j2").read_text(encoding="utf-8")
    )
    page = template.render(title=title, lead=lead, figures=figures, blocks=blocks)
    write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
