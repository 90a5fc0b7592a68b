"""How far the kernel's first-order prediction holds, as curves over the size of the step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd
from matplotlib.axes import Axes

from feature_sets.errors import UserError
from tl_entk.plot import style
from tl_entk.tools.values import check_kind
from tl_entk.weight_space.response import LINEAR, NudgeResponse

_X, _Y = "step, of the weights' norm", "relative error of the prediction"


def response_frame(responses: NudgeResponse | Mapping[str, NudgeResponse]) -> pd.DataFrame:
    """A row per step and name: name, step, correlation, error.

    Args:
        responses: one, or several by name.

    Raises:
        UserError: for something else, or none.

    Example:
        >>> import torch
        >>> step = torch.tensor([0.1])
        >>> change = torch.tensor([1.0, 2.0])
        >>> found = NudgeResponse(step, 1.0, change, 0.1 * change[None])
        >>> response_frame({"new windows": found}).columns.tolist()
        ['name', 'step', 'correlation', 'error']
    """
    several = {"windows": responses} if isinstance(responses, NudgeResponse) else responses
    check_kind("responses", several, Mapping, "a NudgeResponse, or several by name")
    for name, one in several.items():
        check_kind(f"response {name!r}", one, NudgeResponse, "what nudge_response returned")
    if not several:
        raise UserError("there are no responses: pass one or more.")
    parts = [one.to_pandas().assign(name=name) for name, one in several.items()]
    return pd.concat(parts, ignore_index=True)[["name", "step", "correlation", "error"]]


def response(
    responses: NudgeResponse | Mapping[str, NudgeResponse],
    *,
    title: str | None = None,
    ax: Axes | None = None,
    interactive: bool = False,
    width: style.Width = style.DEFAULT_WIDTH,
) -> style.Figure:
    """Draw how far measured changes are from predicted ones, by the size of the step.

    Args:
        responses: what :func:`tl_entk.nudge_response` returned, or several by name.
        title: above the figure.
        ax: of matplotlib, to draw on; a new figure by default.
        interactive: return an Altair chart instead.
        width: of that chart, in pixels, or "container".

    Returns:
        The Axes, or the chart.

    Raises:
        UserError: for something else, or none.

    Example:
        >>> import torch
        >>> from tl_entk import plot
        >>> step, change = torch.tensor([0.1, 0.5]), torch.tensor([1.0, 2.0])
        >>> measured = step[:, None] * change + torch.tensor([[0.0], [0.1]])
        >>> plot.response(NudgeResponse(step, 1.0, change, measured)).get_xscale()
        'log'
    """
    frame = response_frame(responses)
    labels = style.Labels(title or "How far the first order holds", _X, _Y)
    if interactive:
        return _response_chart(frame, labels, width)
    ax = style.open_axes(ax, 7.0, 3.2)
    names = list(dict.fromkeys(frame.name))
    for name, look in style.looks_of(names).items():
        rows = frame[frame.name == name]
        ax.plot(
            rows.step, rows.error, color=look.color, ls=look.linestyle, marker=look.marker, ms=4,
            label=name,
        )  # fmt: skip
    ax.axhline(LINEAR, color=style.GRAY, lw=1, ls=":")
    ax.set(xscale="log", yscale="log")
    ax.grid(axis="y", alpha=0.3)
    style.write_labels(ax, labels)
    style.add_legend(ax, names)
    return ax


def _response_chart(
    frame: pd.DataFrame, labels: style.Labels, width: style.Width
) -> alt.LayerChart:
    return style.finish(
        error_curves(frame, labels),
        title=labels.title,
        subtitle=f"dotted: an error of {LINEAR:g}",
        description=describe_errors(frame, labels.title),
        width=width,
        height=200,
    )


def error_curves(frame: pd.DataFrame, labels: style.Labels) -> Any:
    """The curves alone, for a chart of several panels.

    Args:
        frame: of :func:`response_frame`.
        labels: of the axes.
    """
    names = list(dict.fromkeys(frame.name))
    look, scale = style.encode_names("name", names), alt.Scale(type="log", nice=False, padding=8)
    picked = style.pick_names()
    base = (
        alt.Chart(style.inline(frame))
        .encode(
            x=alt.X("step:Q", title=labels.x, scale=scale, axis=_decades(frame.step)),
            y=alt.Y("error:Q", title=labels.y, scale=scale, axis=_decades(frame.error)),
            color=look.color,
            opacity=alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.15)),
            tooltip=[
                "name:N",
                alt.Tooltip("step:Q", format=".3g"),
                alt.Tooltip("correlation:Q", format=".5f"),
                alt.Tooltip("error:Q", format=".3g"),
            ],
        )
        .add_params(picked)
    )
    lines = base.mark_line().encode(strokeDash=look.dash)
    points = base.mark_point(filled=True, size=40, opacity=1).encode(shape=look.shape)
    rule = alt.Chart(alt.InlineData(values=[{"at": LINEAR}])).mark_rule(
        strokeDash=[2, 3], color=style.GRAY
    )
    return alt.layer(lines, points, rule.encode(y="at:Q"))


def _decades(values: pd.Series) -> alt.Axis:
    """An axis with a line for each power of ten: between them numbers run into one another."""
    positive = values[values > 0]
    if not len(positive):
        return alt.Axis(format="~g")
    lowest, highest = (math.floor(math.log10(v)) for v in (positive.min(), positive.max()))
    return alt.Axis(values=[10.0**n for n in range(lowest, highest + 2)], format="~g")


def describe_errors(frame: pd.DataFrame, title: str) -> str:
    """What a screen reader says of the curves.

    Args:
        frame: of :func:`response_frame`.
        title: of the chart.
    """
    smallest = frame[frame.step == frame.step.min()]
    errors = [f"{n}: {e:.2g}" for n, e in zip(smallest.name, smallest.error, strict=True)]
    return f"{title}. At the smallest step the relative error is {'; '.join(errors)}."
