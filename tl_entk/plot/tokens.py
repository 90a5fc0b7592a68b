"""What each token of a window contributes to a direction's score, as bars."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd
from matplotlib.axes import Axes

from feature_sets.errors import UserError
from tl_entk.plot import style
from tl_entk.tools.values import check_kind, check_place
from tl_entk.weight_space.position_contributions import PositionContributions

_TEXTS = "for example [tokenizer.decode([token]) for token in window]"
_COLORS = {True: style.PALETTE[0], False: style.PALETTE[1]}


def contributions_frame(
    parts: PositionContributions, tokens: Sequence[str], row: int = 0, direction: int = 0
) -> pd.DataFrame:
    """A row per position of a window: position, token, value.

    Args:
        parts: scores taken apart.
        tokens: text of each of the window's tokens.
        row: which window of those taken apart, from 0.
        direction: which direction, from 0.

    Raises:
        UserError: if there is no such window or direction, or another number of tokens.

    Example:
        >>> import torch
        >>> parts = PositionContributions(
        ...     torch.tensor([[[0.5], [-0.25]]]), torch.zeros(1, 1), torch.zeros(1)
        ... )
        >>> contributions_frame(parts, ["the", " fox"]).values.tolist()
        [[0, 'the', 0.5], [1, ' fox', -0.25]]
    """
    check_kind("parts", parts, PositionContributions, "PositionContributions")
    n, length, k = parts.values.shape
    check_place("row", row, n)
    check_place("direction", direction, k)
    if not isinstance(tokens, list | tuple) or not all(isinstance(token, str) for token in tokens):
        raise UserError(f"tokens is no list of texts: pass {_TEXTS}.")
    if len(tokens) != length:
        raise UserError(f"{len(tokens)} texts for {length} tokens: pass one per token, {_TEXTS}.")
    values = parts.values[row, :, direction].detach().cpu().double()
    return pd.DataFrame({"position": range(length), "token": list(tokens), "value": values})


def contributions(
    parts: PositionContributions,
    tokens: Sequence[str],
    row: int = 0,
    direction: int = 0,
    *,
    title: str | None = None,
    ax: Axes | None = None,
    interactive: bool = False,
    width: style.Width = style.DEFAULT_WIDTH,
) -> style.Figure:
    """Draw what each token of a window adds to its score, and takes away.

    Args:
        parts: what :func:`tl_entk.position_contributions` gave.
        tokens: text of each of the window's tokens.
        row: which window of those taken apart, from 0.
        direction: which direction, from 0.
        title: above the figure.
        ax: of matplotlib, to draw on; a new figure by default.
        interactive: return an Altair chart instead.
        width: of that chart, in pixels, or "container".

    Returns:
        The Axes, or the chart.

    Raises:
        UserError: if there is no such window or direction, or another number of tokens.

    Example:
        >>> import torch
        >>> from tl_entk import plot
        >>> parts = PositionContributions(
        ...     torch.tensor([[[0.5], [-0.25]]]), torch.zeros(1, 1), torch.zeros(1)
        ... )
        >>> plot.contributions(parts, ["the", " fox"]).get_ylabel()
        'contribution to the score'
    """
    frame = contributions_frame(parts, tokens, row, direction)
    score = float(parts.scores[row, direction])
    rest = score - float(frame.value.sum())
    heading = title or f"Direction {direction} scores this window {score:.3g}"
    labels = style.Labels(heading, "token", "contribution to the score")
    said = f"{rest:.3g} of the score has no position" if abs(rest) > 0.005 * abs(score) else ""
    if interactive:
        return _bars_chart(frame, labels, said, width)
    return _bars_axes(frame, labels, said, ax)


def _bars_axes(frame: pd.DataFrame, labels: style.Labels, said: str, ax: Axes | None) -> Axes:
    ax = style.open_axes(ax, min(14.0, 2.0 + 0.28 * len(frame)), 3.2)
    ax.bar(frame.position, frame.value, color=[_COLORS[value >= 0] for value in frame.value])
    ax.axhline(0, color=style.GRAY, lw=0.8)
    # dollar signs would be mathematics
    texts = [_visible(token).replace("$", r"\$") for token in frame.token]
    ax.set_xticks(frame.position, texts, rotation=60, ha="right", rotation_mode="anchor")
    ax.tick_params(axis="x", length=0, labelsize=8)
    style.write_labels(ax, labels)
    if said:
        ax.annotate(said, (1, 1), xycoords="axes fraction", ha="right", va="top", fontsize=8)
    return ax


def _bars_chart(
    frame: pd.DataFrame, labels: style.Labels, said: str, width: style.Width
) -> alt.LayerChart:
    frame = frame.assign(token=[_visible(token) for token in frame.token])
    names = "{" + ", ".join(f"{i}: {style.quote(t)}" for i, t in enumerate(frame.token)) + "}"
    axis = alt.Axis(labelExpr=f"({names})[datum.value]", labelAngle=-60, labelLimit=90, ticks=False)
    base = alt.Chart(style.inline(frame))
    bars = base.mark_bar().encode(
        x=alt.X("position:O", title=labels.x, axis=axis),
        y=alt.Y("value:Q", title=labels.y, axis=alt.Axis(format="~g", tickCount=5)),
        color=alt.when("datum.value >= 0")
        .then(alt.value(_COLORS[True]))
        .otherwise(alt.value(_COLORS[False])),
        tooltip=["position:O", "token:N", alt.Tooltip("value:Q", format=".3g")],
    )
    zero = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color=style.GRAY)
    largest = frame.loc[frame.value.abs().idxmax()]
    return style.finish(
        alt.layer(bars, zero.encode(y="zero:Q")),
        title=labels.title,
        subtitle=said,
        description=f"{labels.title}. The largest part, {largest.value:.3g}, is that of "
        f"{largest.token!r} at position {largest.position}.",
        width=width,
        height=220,
    )


def _visible(token: str) -> str:
    """The token without spaces around it; one of white space alone is written out.

    Example:
        >>> _visible(" fox"), _visible(" ")
        ('fox', "' '")
    """
    return token.strip() or repr(token)
