"""Charts of lines, each in a panel of its own. Plain numbers in, an Altair chart out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Num

from tl_entk.plot import style

# pixels of all panels of a row, and of what stands beside each
_WIDTH, _BESIDE = 900, 75
# points up to which every one has a symbol
_MOST_POINTS = 80


class Line(NamedTuple):
    """One line of a panel; points that are not finite are left out.

    Attributes:
        x: along the panel.
        y: as many.
    """

    x: Sequence[float] | Sequence[int] | Num[np.ndarray, " n"]
    y: Sequence[float] | Sequence[int] | Num[np.ndarray, " n"]


class Panel(NamedTuple):
    """What a panel shows.

    Attributes:
        lines: name to line.
        x: meaning of its axis.
        y: meaning of its axis.
        log: logarithmic y; what is not positive is left out.
        limits: of y; by the data where None.
        until: end of x; that of the data where None.
        marks: text to the x at which a dotted line stands.
        faint: further lines, in gray.
    """

    lines: Mapping[str, Line]
    x: str
    y: str
    log: bool = False
    limits: tuple[float, float] | None = None
    until: float | None = None
    marks: Mapping[str, float] = {}
    faint: Sequence[Line] = ()


def line_panels(panels: Mapping[str, Panel], title: str, *, columns: int = 1) -> Any:
    """Panels with their titles; one legend where all have the same names.

    Args:
        panels: title to panel.
        title: of the whole.
        columns: panels beside each other.
    """
    # a panel without a point says nothing, unless there is no other
    frames = {name: _frame(panel) for name, panel in panels.items()}
    drawn = {name: panel for name, panel in panels.items() if len(frames[name])} or panels
    said = [_describe(name, panel, frames[name]) for name, panel in drawn.items()]
    described = f"{title}. {' '.join(said)}"
    if len(drawn) == 1:
        ((name, panel),) = drawn.items()
        return style.finish(
            _draw(panel, frames[name]), title=title, subtitle="" if name == title else name,
            description=described, width="container",
        )  # fmt: skip
    alike = len({tuple(panel.lines) for panel in drawn.values()}) == 1
    charts = [
        # a click on a legend is heard by every panel that has the legend's field
        _draw(panel, frames[name], index, "name" if alike else f"name{index}").properties(
            title=alt.Title(name, anchor="start"),
            width=_WIDTH // columns - _BESIDE,
            height=230 if columns > 1 else 170,
        )
        for index, (name, panel) in enumerate(drawn.items())
    ]
    same: Literal["shared", "independent"] = "shared" if alike else "independent"
    found = beside(charts, title, described, columns=columns)
    return found.resolve_scale(color=same, shape=same, strokeDash=same)


def beside(charts: Sequence[Any], title: str, description: str, *, columns: int) -> Any:
    """Charts with titles of their own, under one of all.

    Args:
        charts: each of a fixed size.
        title: of the whole.
        description: for a reader of the page's text.
        columns: charts beside each other.
    """
    return alt.concat(*charts, columns=columns).properties(
        title=alt.Title(title, anchor="start", offset=12), description=description
    )


def _frame(panel: Panel) -> pd.DataFrame:
    """A row per point that can be drawn; faint lines have no name."""
    lines: list[tuple[str | None, Line]] = [*panel.lines.items()]
    lines += [(None, line) for line in panel.faint]
    frame = pd.concat(
        [
            pd.DataFrame({"name": name, "line": i, "x": line.x, "y": line.y}).astype(
                {"x": float, "y": float}
            )
            for i, (name, line) in enumerate(lines)
        ],
        ignore_index=True,
    )
    shown = np.isfinite(frame.y)
    if panel.log:
        shown &= frame.y > 0
    if panel.until is not None:
        shown &= frame.x <= panel.until
    return frame[shown]


def _draw(panel: Panel, frame: pd.DataFrame, index: int = 0, field: str = "name") -> Any:
    names = style.encode_names(field, list(panel.lines))
    picked = style.pick_names(field, index)
    shown = alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.12))
    log = panel.log and len(frame) > 0
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=False)
    if panel.limits:
        scale = alt.Scale(domain=list(panel.limits), type="log" if log else "linear")
    x = alt.X(
        "x:Q", title=panel.x, scale=alt.Scale(nice=False, padding=6), axis=alt.Axis(grid=False)
    )
    y = alt.Y("y:Q", title=panel.y, scale=scale, axis=alt.Axis(tickCount=5, format="~g"))
    named, faint = frame[frame.name.notna()], frame[frame.name.isna()]
    layers: list[Any] = []
    if len(faint):
        base = alt.Chart(style.inline(faint[["line", "x", "y"]]))
        layers.append(
            base.mark_line(color=style.GRAY, opacity=0.45, strokeWidth=0.9).encode(
                x=x, y=y, detail="line:N"
            )
        )
    points = named[["name", "x", "y"]].rename(columns={"name": field})
    base = alt.Chart(style.inline(points)).encode(
        x=x,
        y=y,
        color=names.color,
        opacity=shown,
        tooltip=[
            alt.Tooltip(f"{field}:N", title="name"),
            alt.Tooltip("x:Q", title=panel.x),
            alt.Tooltip("y:Q", title=panel.y, format=".4g"),
        ],
    )
    layers.append(base.mark_line(strokeWidth=1.6).encode(strokeDash=names.dash).add_params(picked))
    few = len(named) == 0 or named.groupby("name").size().max() <= _MOST_POINTS
    if few:
        layers.append(base.mark_point(filled=True, size=30).encode(shape=names.shape))
    else:  # seen by the pointer alone
        layers.append(base.mark_point(filled=True, size=12).encode(opacity=alt.value(0)))
    return alt.layer(*layers, *_marks(panel, frame))


def _marks(panel: Panel, frame: pd.DataFrame) -> list[alt.Chart]:
    """Dotted lines with their texts, each on a line of its own."""
    # a mark between two points stands half a step beyond the last where that drops out of sight
    inside = {
        text: at for text, at in panel.marks.items() if frame.x.min() <= at <= frame.x.max() + 0.5
    }
    return style.mark_rules(inside, middle=(frame.x.min() + frame.x.max()) / 2)


def _describe(title: str, panel: Panel, frame: pd.DataFrame) -> str:
    """Ends of every line, for a reader of the page's text."""
    ends = []
    for name in panel.lines:
        y = frame[frame.name == name].y
        if len(y):
            ends.append(f"{name} from {y.iloc[0]:.3g} to {y.iloc[-1]:.3g}")
    return f"{title}: {panel.y} by {panel.x}; {'; '.join(ends)}."
