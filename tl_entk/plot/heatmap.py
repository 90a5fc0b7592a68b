"""One drawing for all heatmaps: a number per row and column, with hover and links."""

from __future__ import annotations

from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, Normalize, PowerNorm

from tl_entk.plot import style

# pixels of a row
_STEP = 18
# columns up to which numbers stand in the cells
_MOST_NUMBERS = 14
# columns up to which each has its name, by matplotlib and by Altair
_MOST_COLUMNS, _MOST_NAMES = 60, 40
# share of the scale above which a cell of viridis is bright, and one of two colors dark
_BRIGHT, _DARK = 0.6, 0.75


class Heatmap(NamedTuple):
    """What a heatmap shows.

    Attributes:
        frame: a row per cell: row, column and value; cells may be missing.
        labels: what is written on it.
        value: what a number is.
        highest: end of the scale, which starts at 0, or at -highest where ``signed``.
        signed: two colors from 0 on.
        root: colors by the square root, so that small numbers beside one large one are seen.
    """

    frame: pd.DataFrame
    labels: style.Labels
    value: str
    highest: float
    signed: bool = False
    root: bool = False

    @property
    def digits(self) -> int:
        """Digits after the point that tell cells apart."""
        return 2 if self.highest >= 0.1 else 3

    @property
    def rows(self) -> list[str]:
        """From top to bottom."""
        return list(dict.fromkeys(self.frame.row))

    @property
    def columns(self) -> list[str]:
        """From left to right."""
        return list(dict.fromkeys(self.frame.column))


def heatmap_axes(heatmap: Heatmap, ax: Axes | None) -> Axes:
    """The heatmap by matplotlib."""
    rows, columns = heatmap.rows, heatmap.columns
    ax = style.open_axes(ax, min(14.0, 3.2 + 0.34 * len(columns)), 1.6 + 0.24 * len(rows))
    grid = heatmap.frame.pivot(index="row", columns="column", values="value")
    values = grid.reindex(index=rows, columns=columns).to_numpy(float)
    image = ax.imshow(
        values,
        norm=_norm(heatmap),
        cmap="PuOr_r" if heatmap.signed else "viridis",
        aspect="auto",
    )
    if len(columns) <= _MOST_NUMBERS:
        for i, j in np.argwhere(np.isfinite(values)):
            color = _ink(values[i, j], heatmap)
            ax.text(
                j,
                i,
                _short(values[i, j], heatmap.digits),
                ha="center",
                va="center",
                fontsize=7,
                color=color,
            )
    step = -(-len(columns) // _MOST_COLUMNS)
    named = range(0, len(columns), step)
    ax.set_xticks(named, columns[::step], rotation=60, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(rows)), rows, fontsize=8)
    ax.tick_params(length=0, labelsize=8)
    ax.spines[["left", "bottom"]].set_visible(False)
    style.write_labels(ax, heatmap.labels)
    ax.figure.colorbar(image, ax=ax, label=heatmap.value, fraction=0.04)
    return ax


def _norm(heatmap: Heatmap) -> Normalize:
    if heatmap.signed:
        return CenteredNorm(halfrange=heatmap.highest)
    if heatmap.root:
        return PowerNorm(0.5, 0, heatmap.highest)
    return Normalize(0, heatmap.highest)


def _short(value: float, digits: int) -> str:
    """Some digits, without the zero before the point.

    Example:
        >>> _short(0.25, 2), _short(-0.031, 3), _short(1.0, 2)
        ('.25', '-.031', '1.00')
    """
    # 0.0 takes the sign off what rounds to nothing
    text = f"{round(value, digits) + 0.0:.{digits}f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.995 else text


def _ink(value: float, heatmap: Heatmap) -> str:
    """Black on bright cells, white on dark ones."""
    share = abs(value) / (heatmap.highest or 1)
    if heatmap.signed:
        return "white" if share > _DARK else "black"
    return "black" if (share**0.5 if heatmap.root else share) > _BRIGHT else "white"


def heatmap_chart(heatmap: Heatmap, width: style.Width) -> alt.LayerChart:
    """The heatmap by Altair."""
    rows, columns = heatmap.rows, heatmap.columns
    numbers = len(columns) <= _MOST_NUMBERS
    low = -heatmap.highest if heatmap.signed else 0
    scale = alt.Scale(
        type="sqrt" if heatmap.root else "linear",
        scheme="purpleorange" if heatmap.signed else "viridis",
        domain=[low, heatmap.highest],
    )
    legend = alt.Legend(
        orient="top", title=heatmap.value, gradientLength=160, titleLimit=300, format="~g"
    )
    base = alt.Chart(style.inline(heatmap.frame)).encode(
        x=alt.X(
            "column:N",
            sort=columns,
            axis=alt.Axis(
                title=heatmap.labels.x,
                labelAngle=-60,
                labelLimit=140,
                labelOverlap="greedy" if len(columns) > _MOST_NAMES else False,
                ticks=False,
            ),
            scale=alt.Scale(padding=0.04),
        ),
        y=alt.Y(
            "row:N",
            sort=rows,
            axis=alt.Axis(title=heatmap.labels.y, labelLimit=180, ticks=False),
            scale=alt.Scale(padding=0.04),
        ),
        tooltip=[
            alt.Tooltip("row:N", title=heatmap.labels.y),
            alt.Tooltip("column:N", title=heatmap.labels.x),
            alt.Tooltip("value:Q", title=heatmap.value, format=".3f"),
        ],
        **style.encode_links(heatmap.frame),
    )
    layers: list[Any] = [
        base.mark_rect().encode(color=alt.Color("value:Q", scale=scale, legend=legend))
    ]
    if numbers:
        share = f"abs(datum.value) / {heatmap.highest or 1}"
        share = f"sqrt({share})" if heatmap.root else share
        dark = f"{share} > {_DARK}" if heatmap.signed else f"{share} <= {_BRIGHT}"
        ink = alt.when(dark).then(alt.value("white")).otherwise(alt.value("black"))
        text = base.mark_text(fontSize=9).encode(
            text=alt.Text("value:Q", format=f".{heatmap.digits}f"), color=ink
        )
        layers.append(text)
    return style.finish(
        alt.layer(*layers),
        title=heatmap.labels.title,
        description=_describe(heatmap),
        width=width,
        height=_STEP * len(rows),
    )


def _describe(heatmap: Heatmap) -> str:
    best = heatmap.frame.sort_values("value", ascending=False).head(5)
    cells = [
        f"{row} and {column} {value:.2f}"
        for row, column, value in best[["row", "column", "value"]].itertuples(index=False)
    ]
    return (
        f"{heatmap.labels.title}: {heatmap.value}, {len(heatmap.rows)} rows by "
        f"{len(heatmap.columns)} columns. The largest: {'; '.join(cells)}."
    )
