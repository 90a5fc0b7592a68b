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
from typing import Any

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from tl_entk.results import Saveable, save
from tl_entk.tools.files import write_atomically, write_json

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
        write_text(path, text.getvalue())
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


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; in UTF-8, whatever the machine's own encoding is."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


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
    write_text(path, page)


def write_report(
    out: Path,
    title: str,
    lead: str,
    figures: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    *,
    results: Mapping[str, Saveable] | None = None,
    summary: Mapping[str, Any] | None = None,
) -> Path:
    """Write a run's outputs: report.html with its figures and tables, and what it is made of.

    Args:
        out: folder; made if missing.
        title: heading of the page.
        lead: a paragraph under it.
        figures: key figures (label, value) at the top.
        sections: the body.
        results: path within the folder to what :func:`tl_entk.save` writes there.
        summary: JSON values, for results.json.

    Returns:
        The path of report.html.

    Raises:
        OSError: if the folder cannot be written to.
    """
    for name, result in (results or {}).items():
        save(result, out / name)
    if summary is not None:
        write_json(out / "results.json", summary)
    page = out / "report.html"
    write_page(page, title, lead, figures, sections)
    return page
