"""What a direction scores: a histogram per label, one above the other on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import altair as alt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from feature_sets.errors import UserError
from feature_sets.windows import Windows
from tl_entk.directions.eigen import EigenDirections
from tl_entk.directions.examples import scores_along
from tl_entk.plot import style
from tl_entk.tools.arrays import Rows
from tl_entk.tools.values import check_at_least, read_labels, read_list

EVERYTHING = "all examples"
# height of the highest bar, in rows
_HEIGHT = 0.92

Labels: TypeAlias = Windows | Sequence[str] | np.ndarray | None


def windows_frame(
    eigen: EigenDirections | Rows,
    direction: int,
    windows: Labels = None,
    *,
    sign: int = 1,
    bins: int = 40,
) -> pd.DataFrame:
    """Histogram of a direction's scores by label, as a table.

    Args:
        eigen: directions, or scores (N, k).
        direction: which of them, from 0.
        windows: whose next words' tags are the labels; or a label per example; or None.
        sign: +1, or -1 to turn the direction round, as ``DirectionRow.sign`` has it.
        bins: of equal width, over all labels.

    Returns:
        A row per label and bin: label, start, end, count, share (of the label's examples) and
        median (of the label). Labels are in the order of their medians, the highest first.

    Raises:
        UserError: if there is no such direction, or numbers of examples differ.

    Example:
        >>> frame = windows_frame(np.array([[0.0], [1.0], [1.0]]), 0, ["a", "b", "b"], bins=2)
        >>> frame[["label", "count"]].values.tolist()
        [['b', 0], ['b', 2], ['a', 1], ['a', 0]]
    """
    check_at_least("bins", bins)
    values = scores_along(eigen, direction, sign).numpy()
    labels = np.array(_label_examples(windows, len(values)), dtype=object)
    edges = np.linspace(values.min(), values.max() + 1e-12, bins + 1)
    medians = {label: float(np.median(values[labels == label])) for label in dict.fromkeys(labels)}
    parts = []
    for label in sorted(medians, key=lambda name: -medians[name]):
        counts, _ = np.histogram(values[labels == label], edges)
        parts.append(
            pd.DataFrame(
                {
                    "label": str(label),
                    "start": edges[:-1],
                    "end": edges[1:],
                    "count": counts,
                    "share": counts / counts.sum(),
                    "median": medians[label],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _label_examples(windows: Labels, n: int) -> Sequence[str]:
    labels = windows.tags if isinstance(windows, Windows) else windows
    if labels is None:
        return [EVERYTHING] * n
    if isinstance(labels, str):
        raise UserError("windows is one text: pass a label per example, a list.")
    found = read_list("windows", labels, "labels, one per example, or Windows")
    return read_labels("labels", found, n)


def windows(
    eigen: EigenDirections | Rows,
    direction: int,
    windows: Labels = None,
    *,
    sign: int = 1,
    bins: int = 40,
    title: str | None = None,
    ax: Axes | None = None,
    interactive: bool = False,
    width: style.Width = style.DEFAULT_WIDTH,
) -> style.Figure:
    """Draw what a direction scores the examples, a histogram per label.

    Args:
        eigen: directions, or scores (N, k).
        direction: which of them, from 0.
        windows: whose next words' tags are the labels; or a label per example; or None.
        sign: +1, or -1 to turn the direction round, as ``DirectionRow.sign`` has it.
        bins: of equal width, over all labels.
        title: above the figure.
        ax: of matplotlib, to draw on; a new figure by default.
        interactive: return an Altair chart instead.
        width: of that chart, in pixels, or "container".

    Returns:
        The Axes, or the chart.

    Raises:
        UserError: if there is no such direction, or numbers of examples differ.

    Example:
        >>> from tl_entk import plot
        >>> plot.windows(np.array([[0.0], [1.0], [1.0]]), 0, ["a", "b", "b"]).get_xlabel()
        'score'
    """
    frame = windows_frame(eigen, direction, windows, sign=sign, bins=bins)
    turned = " (turned round)" * (sign < 0)
    labels = style.Labels(title or f"Scores of direction {direction}{turned}", "score", "")
    frame = _place_rows(frame)
    return _ridge_chart(frame, labels, width) if interactive else _ridge_axes(frame, labels, ax)


def _place_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with the bottom and the top of every bar, the first label highest."""
    names = list(dict.fromkeys(frame.label))
    bottom = frame.label.map({name: len(names) - 1 - i for i, name in enumerate(names)})
    highest = max(frame.share.max(), 1e-12)
    return frame.assign(bottom=bottom, top=bottom + _HEIGHT * frame.share / highest)


def _ridge_axes(frame: pd.DataFrame, labels: style.Labels, ax: Axes | None) -> Axes:
    names = list(dict.fromkeys(frame.label))
    ax = style.open_axes(ax, 7.0, 1.2 + 0.36 * len(names))
    for _, rows in frame.groupby("label", sort=False):
        edges = [*rows.start, rows.end.iloc[-1]]
        bottom = rows.bottom.iloc[0]
        ax.stairs(rows.top, edges, baseline=bottom, fill=True, color=style.PALETTE[0])
        ax.plot([rows["median"].iloc[0]] * 2, [bottom, bottom + 0.9], color=style.PALETTE[1], lw=2)
        ax.axhline(bottom, color=style.GRAY, lw=0.5)
    ax.axvline(0, color=style.GRAY, lw=1, ls=":")
    ax.set_yticks([len(names) - 1 - i + 0.35 for i in range(len(names))], names, fontsize=8)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    style.write_labels(ax, labels)
    return ax


def _ridge_chart(frame: pd.DataFrame, labels: style.Labels, width: style.Width) -> alt.LayerChart:
    names = list(dict.fromkeys(frame.label))
    bars = frame[frame["count"] > 0]
    places = {len(names) - 1 - i: name for i, name in enumerate(names)}
    named = " : ".join(f"datum.value === {at} ? {style.quote(name)}" for at, name in places.items())
    axis = alt.Axis(
        values=list(places), labelExpr=f"{named} : ''", title=None, ticks=False, domain=False,
        labelBaseline="bottom", labelLimit=180, gridOpacity=0.6,
    )  # fmt: skip
    y: dict[str, Any] = {"axis": axis, "scale": alt.Scale(domain=[0, len(names)], nice=False)}
    base = alt.Chart(style.inline(bars)).mark_bar(color=style.PALETTE[0], binSpacing=0)
    drawn = base.encode(
        x=alt.X(
            "start:Q",
            title=labels.x,
            bin="binned",
            axis=alt.Axis(grid=False, format="~g", tickCount=8),
        ),
        x2="end:Q",
        y=alt.Y("bottom:Q", **y),
        y2="top:Q",
        tooltip=[
            alt.Tooltip("label:N"),
            alt.Tooltip("start:Q", title="score from", format=".3g"),
            alt.Tooltip("end:Q", title="to", format=".3g"),
            alt.Tooltip("count:Q", title="examples"),
            alt.Tooltip("share:Q", title="share of the label", format=".1%"),
        ],
    )
    medians = frame.drop_duplicates("label").assign(top=lambda rows: rows.bottom + 0.9)
    ticks = (
        alt.Chart(style.inline(medians[["label", "median", "bottom", "top"]]))
        .mark_rule(color=style.PALETTE[1], strokeWidth=2.5)
        .encode(
            x="median:Q",
            y=alt.Y("bottom:Q", **y),
            y2="top:Q",
            tooltip=[alt.Tooltip("label:N"), alt.Tooltip("median:Q", format=".3g")],
        )
    )
    zero = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(
        color=style.GRAY, strokeDash=[2, 3]
    )
    said = "; ".join(
        f"{label} {median:.3g}"
        for label, median in medians[["label", "median"]].itertuples(index=False)
    )
    return style.finish(
        alt.layer(zero.encode(x="zero:Q"), drawn, ticks),
        title=labels.title,
        description=f"{labels.title} by label; medians: {said}.",
        width=width,
        height=34 * len(names),
        subtitle="share of each label's examples; orange: the label's median",
    )
