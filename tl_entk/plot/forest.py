"""One drawing for all forest plots: a dot with its interval per row and name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from feature_sets.errors import UserError
from tl_entk.plot import style

# pixels from one name to the next within a row, and between rows
_STEP, _GAP = 12, 12
# pixels of a letter, of the longest label, and of what stands beside the panels
_LETTER, _LONGEST, _MARGIN = 6.2, 180, 70


class Forest(NamedTuple):
    """What one forest plot shows.

    Attributes:
        frame: a row per mark: row, name, value, low and high; where there is one, chance.
        labels: what is written on it.
        zero: mark 0 with a line.
        tooltip: further columns to their titles.
        names: all that are told apart, those of other panels too.
    """

    frame: pd.DataFrame
    labels: style.Labels
    zero: bool
    tooltip: Mapping[str, str]
    names: tuple[str, ...]

    @property
    def rows(self) -> list[str]:
        """From top to bottom."""
        return list(dict.fromkeys(self.frame.row))

    @property
    def drawn(self) -> list[str]:
        """The names that this panel has, in order."""
        return [name for name in self.names if name in set(self.frame.name)]


def forest_axes(forest: Forest, ax: Axes | None, *, legend: bool = True) -> Axes:
    """The forest by matplotlib."""
    rows, drawn = forest.rows, forest.drawn
    ax = style.open_axes(ax, 8.0, 1.4 + len(rows) * (0.14 + 0.15 * len(drawn)))
    looks = style.looks_of(forest.names)
    place = {row: index for index, row in enumerate(rows)}
    for index, name in enumerate(drawn):
        part = forest.frame[forest.frame.name == name]
        y = part.row.map(place).to_numpy() + 0.7 * ((index + 0.5) / len(drawn) - 0.5)
        value = part.value.to_numpy()
        spread = np.nan_to_num(np.stack([value - part.low, part.high - value])).clip(0)
        look = looks[name]
        ax.errorbar(
            value, y, xerr=spread, fmt=look.marker, ms=4, lw=1.2, color=look.color, label=name
        )
        if "chance" in part:
            ax.plot(part.chance, y, "|", color=style.GRAY, ms=6, mew=1.2)
    if forest.zero:
        ax.axvline(0, color=style.GRAY, lw=1)
    ax.set_yticks(range(len(rows)), rows, fontsize=8)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", alpha=0.3)
    style.write_labels(ax, forest.labels._replace(y=""))
    if legend:
        style.add_legend(ax, forest.names)
    return ax


def both_axes(
    forests: Sequence[Forest], ax: Axes | Sequence[Axes] | np.ndarray | None
) -> tuple[Axes, ...]:
    """Two forests of the same rows side by side.

    Raises:
        UserError: for axes that are not two.
    """
    first = forests[0]
    if ax is None:
        height = 1.4 + len(first.rows) * (0.14 + 0.15 * len(first.drawn))
        _, ax = plt.subplots(1, 2, figsize=(9.5, height), layout="constrained", width_ratios=(3, 2))
    panels = np.atleast_1d(np.asarray(ax)).ravel()
    if len(panels) != len(forests):
        raise UserError(
            f"{len(panels)} axes for two panels: pass two, or panel='scores' or 'difference'."
        )
    for forest, panel in zip(forests, panels, strict=True):
        forest_axes(forest, panel, legend=forest is first)
    panels[1].set_yticklabels([])
    return tuple(panels)


def forest_chart(forest: Forest, width: style.Width) -> alt.LayerChart:
    """The forest by Altair."""
    return style.finish(
        _marks(forest, style.pick_names()),
        title=forest.labels.title,
        description=_describe(forest),
        width=width,
        height=_height(forest),
        subtitle="gray tick: chance" if "chance" in forest.frame else (),
    )


def both_charts(forests: Sequence[Forest], width: style.Width) -> alt.HConcatChart:
    """Two forests of the same rows side by side, with one legend and one list of rows.

    Raises:
        UserError: for a width that is no number of pixels.
    """
    style.check_width(width)
    if isinstance(width, str):
        raise UserError(
            "two panels side by side have no width of their container: pass pixels, or make two "
            "charts with panel='scores' and panel='difference'."
        )
    label = min(_LONGEST, _LETTER * max(len(row) for row in forests[0].rows))
    room = max(200.0, width - label - _MARGIN)
    picked = style.pick_names()
    charts = [
        _marks(forest, picked, first=forest is forests[0]).properties(
            title=alt.Title(forest.labels.title, anchor="start", frame="group", limit=share * room),
            width=share * room,
            height=_height(forests[0]),
        )
        for forest, share in zip(forests, (0.55, 0.45), strict=True)
    ]
    both = alt.hconcat(*charts, spacing=16).resolve_scale(yOffset="independent")
    return both.properties(description=" ".join(_describe(forest) for forest in forests))


def _height(forest: Forest) -> int:
    return len(forest.rows) * (_STEP * len(forest.drawn) + _GAP)


def _marks(forest: Forest, picked: alt.Parameter, *, first: bool = True) -> Any:
    """Rules and dots; labels of the rows, and the choice by the legend, in the first panel only."""
    look = style.encode_names("name", forest.names)
    axis = alt.Axis(
        title=None, labelLimit=_LONGEST, ticks=False, grid=False, labels=first, domain=False
    )
    base = alt.Chart(style.inline(forest.frame)).encode(
        y=alt.Y(
            "row:N",
            sort=forest.rows,
            axis=axis,
            scale=alt.Scale(paddingInner=0.3, paddingOuter=0.2),
        ),
        yOffset=alt.YOffset("name:N", sort=forest.drawn, scale=alt.Scale(domain=forest.drawn)),
        opacity=alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.12)),
        tooltip=[
            alt.Tooltip("row:N", title=forest.labels.y),
            alt.Tooltip("name:N", title="method"),
            alt.Tooltip("value:Q", format=".3f"),
            alt.Tooltip("low:Q", title="interval from", format=".3f"),
            alt.Tooltip("high:Q", title="to", format=".3f"),
            *(_tooltip(forest.frame, column, title) for column, title in forest.tooltip.items()),
        ],
    )
    x: dict[str, Any] = {
        "title": forest.labels.x,
        "scale": alt.Scale(zero=forest.zero, nice=True),
        "axis": alt.Axis(tickCount=6, format="~g"),
    }
    points = base.mark_point(filled=True, size=46, opacity=1).encode(
        x=alt.X("value:Q", **x),
        color=look.color,
        shape=look.shape,
        **style.encode_links(forest.frame),
    )
    layers: list[Any] = [
        base.mark_rule(strokeWidth=1.6).encode(
            x=alt.X("low:Q", **x), x2="high:Q", color=look.color
        ),
        points.add_params(picked) if first else points,
    ]
    if "chance" in forest.frame:
        chance = base.mark_tick(color=style.GRAY, thickness=1.5, size=8)
        layers.insert(0, chance.encode(x="chance:Q"))
    if forest.zero:
        zero = alt.Chart(alt.InlineData(values=[{"zero": 0}]))
        layers.insert(0, zero.mark_rule(color=style.GRAY).encode(x="zero:Q"))
    return alt.layer(*layers)


def _tooltip(frame: pd.DataFrame, column: str, title: str) -> alt.Tooltip:
    if pd.api.types.is_float_dtype(frame[column]):
        return alt.Tooltip(f"{column}:Q", title=title, format=".3g")
    return alt.Tooltip(f"{column}:N", title=title)


def _describe(forest: Forest) -> str:
    """The figures themselves, as a screen reader has them, of up to a dozen marks."""
    marks = forest.frame[["row", "name", "value", "low", "high"]].head(12)
    parts = [
        f"{row}, {name}: {value:.2f} ({low:.2f} to {high:.2f})"
        for row, name, value, low, high in marks.itertuples(index=False, name=None)
    ]
    more = "; ..." * (len(forest.frame) > len(parts))
    return f"{forest.labels.title}. {forest.labels.x}. {'; '.join(parts)}{more}"
