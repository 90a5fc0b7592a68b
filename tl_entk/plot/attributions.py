"""Where features live: shares of kernel energy by layer and component."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import pandas as pd
from matplotlib.axes import Axes

from feature_sets.errors import UserError
from tl_entk.alignment.attribution import check_shares
from tl_entk.model.sites import partition
from tl_entk.plot import style
from tl_entk.plot.heatmap import Heatmap, heatmap_axes, heatmap_chart
from tl_entk.tools.values import check_kind

Shares: TypeAlias = Mapping[str, float]
OUTSIDE = "outside of blocks"


def shares_frame(
    shares: Shares | Mapping[str, Shares], *, heads: bool = False, less_mean: bool = False
) -> pd.DataFrame:
    """Shares of components as a table.

    Args:
        shares: one feature's, from :func:`tl_entk.component_shares` or ``head_shares``, which are
            laid out by layer and component; or those of several features by name, which are laid
            out by feature and component.
        heads: every head instead of the weight that it is part of, where both are there.
        less_mean: of several features, every share less the mean over the features.

    Returns:
        A row per cell: row, column, value, component (its full name).

    Raises:
        UserError: if there are none, or the mean of one feature is asked for.

    Example:
        >>> shares_frame({"blocks.0.mlp.W_in": 0.25, "unembed.W_U": 0.75}).values.tolist()
        [['0', 'mlp.W_in', 0.25, 'blocks.0.mlp.W_in'], \
['outside of blocks', 'unembed.W_U', 0.75, 'unembed.W_U']]
    """
    check_kind("shares", shares, Mapping, "what component_shares returns")
    several = {name: row for name, row in shares.items() if isinstance(row, Mapping)}
    if not shares or any(not row for row in several.values()):
        raise UserError("no shares: pass what component_shares returns.")
    if several and len(several) < len(shares):
        single = next(name for name in shares if name not in several)
        raise UserError(f"shares of {single!r} stand beside those of features: pass one kind.")
    for row in several.values() if several else [shares]:
        check_shares(row)
    if several:
        rows = [
            (feature, component, share, component)
            for feature, row in several.items()
            for component, share in _choose(row, heads).items()
        ]
    else:
        one: Any = shares
        rows = [(*_locate(name), share, name) for name, share in _choose(one, heads).items()]
        # what is outside of the blocks goes last
        rows.sort(key=lambda row: row[0] == OUTSIDE)
    frame = pd.DataFrame(rows, columns=["row", "column", "value", "component"])
    if not less_mean:
        return frame
    if len(several) < 2:
        raise UserError("less_mean takes the shares of two features or more: pass them by name.")
    return frame.assign(value=frame.value - frame.groupby("column").value.transform("mean"))


def _choose(shares: Shares, heads: bool) -> dict[str, float]:
    """Components that add up to the whole, by weight or by head."""
    if not heads:
        return {name: shares[name] for name in partition(list(shares))}
    whole = {name.rpartition("[")[0] for name in shares if name.endswith("]")}
    return {name: share for name, share in shares.items() if name not in whole}


def _locate(component: str) -> tuple[str, str]:
    """Layer and the rest of a component's name."""
    match = re.fullmatch(r"blocks\.(\d+)\.?(.*)", component)
    return (match[1], match[2] or "block") if match else (OUTSIDE, component)


def shares(
    shares: Shares | Mapping[str, Shares],
    *,
    heads: bool = False,
    less_mean: bool = False,
    links: Mapping[Any, str] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    interactive: bool = False,
    width: style.Width = style.DEFAULT_WIDTH,
) -> style.Figure:
    """Draw which components a feature lives in: layers by weights, or features by components.

    Args:
        shares: one feature's, from :func:`tl_entk.component_shares`, ``head_shares`` or
            ``layer_shares``; or those of several features by name.
        heads: every head instead of the weight that it is part of.
        less_mean: of several features, every share less the mean over the features: what is
            a feature's own, where one component is large for all of them.
        links: row, column, component, or (row, column), to where a click goes (Altair).
        title: above the figure.
        ax: of matplotlib, to draw on; a new figure by default.
        interactive: return an Altair chart instead.
        width: of that chart, in pixels, or "container".

    Returns:
        The Axes, or the chart.

    Raises:
        UserError: if there are none, or the mean of one feature is asked for.

    Example:
        >>> from tl_entk.plot import shares
        >>> found = {"blocks.0.mlp.W_in": 0.25, "blocks.1.mlp.W_in": 0.5, "unembed.W_U": 0.25}
        >>> shares(found).get_ylabel()
        'layer'
    """
    frame = shares_frame(shares, heads=heads, less_mean=less_mean)
    frame = style.link_rows(frame, ["row", "column", "component"], links)
    one = not any(isinstance(row, Mapping) for row in shares.values())
    labels = style.Labels(
        title or ("Where the feature lives" if one else "Where the features live"),
        "component",
        "layer" if one else "feature",
    )
    value = f"share of kernel energy{', less the mean' * less_mean}"
    highest = float(frame.value.abs().max())
    heatmap = Heatmap(frame, labels, value, highest, signed=less_mean, root=not less_mean)
    return heatmap_chart(heatmap, width) if interactive else heatmap_axes(heatmap, ax)
