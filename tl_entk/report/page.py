"""One self-contained HTML page: charts, tables and directions in views, no network."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import itables
import vl_convert
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from tl_entk.report.direction_pages import DirectionPages
from tl_entk.report.parts import Fold, Part, Picture, Section, Table, show_cell, slug, write_text
from tl_entk.results import Saveable, save
from tl_entk.tools.files import write_kept
from tl_entk.tools.whole_files import write_atomically


def write_report(
    out: Path,
    title: str,
    lead: str,
    figures: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    *,
    answer: str = "",
    hero: Sequence[Part] = (),
    directions: DirectionPages | None = None,
    results: Mapping[str, Saveable] | None = None,
    summary: Mapping[str, Any] | None = None,
) -> Path:
    """Write a run's outputs: report.html with its figures and tables, and what it is made of.

    Args:
        out: folder; made if missing.
        title: heading of the page, the question that it answers.
        lead: a paragraph on what was done.
        figures: key figures (label, value).
        sections: views of the page.
        answer: in one sentence.
        hero: what the answer is seen in.
        directions: a page for each.
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
        write_kept(out / "results.json", summary)
    writer = _Writer(out)
    pages = [] if directions is None else directions.pages
    text = _environment().from_string(_asset("page.html.j2")).render(
        title=title,
        lead=lead,
        answer=answer[:1].upper() + answer[1:],
        figures=figures,
        hero=[writer.show(part) for part in hero],
        views=[_show_section(section, writer) for section in sections],
        pages=[page.show(writer.show(page.picture)) for page in pages],
        directory=writer.show(directions.directory) if directions else None,
        windows=directions.windows if directions else None,
        charts=writer.specs,
        search_index=list(_index(sections, directions)),
        style=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
        chart_library=Markup(chart_library() if writer.specs else ""),
        table_style=Markup(table_library(".css")),
        table_library=Markup(table_library(".js")),
    )  # fmt: skip
    page = out / "report.html"
    write_text(page, text)
    return page


class _Writer:
    """Writes what is beside the page, and says what the page shows.

    Attributes:
        specs: name of a chart to its Vega-Lite.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.specs: dict[str, Any] = {}

    def show(self, part: Part) -> dict[str, Any]:
        """A part as the template takes it."""
        match part:
            case Table():
                part.write(self._folder / "tables")
                rows = [[show_cell(cell) for cell in row] for row in part.rows]
                shown = {"kind": "table", "rows": rows, "columns": part.columns, "text": part.text}
                return shown | {"id": f"table-{slug(part.name)}", "caption": part.caption}
            case Fold():
                inside = [self.show(one) for one in part.parts]
                shown = {"kind": "fold", "title": part.title, "text": part.text}
                return shown | {"parts": inside, "id": f"fold-{slug(part.title)}"}
            case Picture():
                return self._show_picture(part)

    def _show_picture(self, picture: Picture) -> dict[str, Any]:
        if (spec := picture.spec) is not None:
            self.specs[picture.name] = spec
        return {
            "kind": "picture",
            "id": f"figure-{slug(picture.name)}",
            "name": picture.name,
            "chart": spec is not None,
            "caption": picture.caption,
            "source": self._write_picture(picture) if picture.kept else "",
        }

    def _write_picture(self, picture: Picture) -> str:
        """The figure's files; its SVG as a data address."""
        svg = picture.svg().encode()
        for ending, data in ((".svg", svg), (".png", picture.png())):
            target = self._folder / "figures" / f"{picture.name}{ending}"
            write_atomically(target, partial(_write_bytes, data=data))
        return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _show_section(section: Section, writer: _Writer) -> dict[str, Any]:
    parts = [writer.show(part) for part in section.parts]
    if section.folded:
        parts = [{"kind": "fold", "title": "Show", "text": "", "parts": parts, "id": ""}]
    shown = {"id": section.id, "title": section.title, "text": section.text}
    return shown | {"question": section.question, "parts": parts}


def _index(
    sections: Sequence[Section], directions: DirectionPages | None
) -> Iterator[tuple[str, str, str, str]]:
    """What the search finds: label, kind, address, further words."""
    for section in sections:
        yield section.title, "view", f"#{section.id}", section.question
        for part in section.parts:
            for one in part.parts if isinstance(part, Fold) else (part,):
                kind = "table" if isinstance(one, Table) else "figure"
                if isinstance(one, Table | Picture):
                    yield one.caption, kind, f"#{kind}-{slug(one.name)}", section.title
    if directions is not None:
        yield from directions.index()


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _environment() -> Environment:
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)


def _asset(name: str) -> str:
    return (files("tl_entk.report") / "assets" / name).read_text(encoding="utf-8")


@cache
def chart_library() -> str:
    """Vega-Lite's JavaScript, which draws the charts."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


@cache
def table_library(ending: str) -> str:
    """DataTables' JavaScript or its style, which sorts and filters tables."""
    text = (files(itables) / "html" / f"dt_bundle{ending}").read_text(encoding="utf-8")
    assert "</script" not in text
    return text
