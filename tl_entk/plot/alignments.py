"""Directions beside features: a heatmap of their cosines, or the angles of two subspaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from feature_sets.errors import UserError
from feature_sets.feature_set import FeatureSet, check_feature_set
from tl_entk.alignment.overlap import SubspaceOverlap, abs_cosines, group_projections
from tl_entk.directions.eigen import EigenDirections, scores_of
from tl_entk.plot import style
from tl_entk.plot.heatmap import Heatmap, heatmap_axes, heatmap_chart
from tl_entk.tools.arrays import Rows
from tl_entk.tools.values import check_known, read_names

COSINE, SHARE = "|cos|", "share of the direction's squared norm"


def alignment_frame(
    directions: EigenDirections | Rows,
    features: FeatureSet | None = None,
    *,
    by: Literal["feature", "group"] = "feature",
    names: tuple[Sequence[str], Sequence[str]] | None = None,
) -> pd.DataFrame:
    """How every direction goes along with every feature, as a table.

    Args:
        directions: (N, k) directions; without features, the matrix (k, F) of numbers itself.
        features: of the same N examples.
        by: |cos| with every "feature", or the share of the direction's squared norm in the span of
            every "group", such as cosine and sine of one frequency.
        names: of the rows (directions) and of the columns (features); by default those of the
            features, and the directions counted from 0.

    Returns:
        A row per pair: row (the direction), column (the feature or group) and value.

    Raises:
        UserError: if numbers of examples or of names differ.

    Example:
        >>> features = FeatureSet.from_dict({"even": [1, 0, 1, 0]})
        >>> alignment_frame(np.array([[1.0], [-1.0], [1.0], [-1.0]]), features).values.tolist()
        [['direction 0', 'even', 1.0]]
    """
    check_known("by", by, ("feature", "group"))
    vectors = scores_of(directions)
    if features is None and by == "group":
        raise UserError("by='group' takes the features of groups: pass a FeatureSet.")
    if features is None:
        matrix, columns = vectors, None
    elif by == "group":
        matrix, columns = group_projections(vectors, features)
    else:
        check_feature_set(features)
        matrix, columns = abs_cosines(vectors, features), list(features.names)
    values = matrix.cpu().double().numpy().round(12)
    rows = [f"direction {i}" for i in range(len(values))]
    columns = columns or [str(j) for j in range(values.shape[1])]
    if names is not None:
        if not isinstance(names, tuple | list) or len(names) != 2:
            raise UserError("names is no pair: pass (names of rows, names of columns).")
        rows, columns = (read_names("names", one, unique=False) for one in names)
    if (len(rows), len(columns)) != values.shape:
        raise UserError(
            f"{len(rows)} names of rows and {len(columns)} of columns for a matrix of shape "
            f"{values.shape}: pass one each."
        )
    return pd.DataFrame(
        {
            "row": np.repeat(rows, len(columns)),
            "column": np.tile(columns, len(rows)),
            "value": values.ravel(),
        }
    )


def alignment(
    directions: SubspaceOverlap | EigenDirections | Rows,
    features: FeatureSet | None = None,
    *,
    by: Literal["feature", "group"] = "feature",
    names: tuple[Sequence[str], Sequence[str]] | None = None,
    links: Mapping[Any, str] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    interactive: bool = False,
    width: style.Width = style.DEFAULT_WIDTH,
) -> style.Figure:
    """Draw how directions go along with features: a heatmap, or the cosines of principal angles.

    Args:
        directions: (N, k) directions with features beside; a matrix (k, F) of numbers from 0 to 1
            without; or a SubspaceOverlap, whose principal angles are drawn.
        features: of the same N examples.
        by: |cos| with every "feature", or share in the span of every "group".
        names: of the rows and of the columns of the heatmap.
        links: direction, feature, or (direction, feature), to where a click goes (Altair).
        title: above the figure.
        ax: of matplotlib, to draw on; a new figure by default.
        interactive: return an Altair chart instead.
        width: of that chart, in pixels, or "container".

    Returns:
        The Axes, or the chart.

    Raises:
        UserError: if numbers of examples or of names differ.

    Example:
        >>> from tl_entk.plot import alignment
        >>> features = FeatureSet.from_dict({"even": [1, 0, 1, 0], "first": [1, 0, 0, 0]})
        >>> directions = np.array([[1.0], [-1.0], [1.0], [-1.0]])
        >>> alignment(directions, features).get_ylabel()
        'direction'
    """
    if isinstance(directions, SubspaceOverlap):
        if features is not None:
            raise UserError(
                "a SubspaceOverlap is of directions and features already: leave features out, or "
                "pass the directions."
            )
        return _angles(directions, title, ax, interactive, width)
    frame = alignment_frame(directions, features, by=by, names=names)
    labels = style.Labels(title or "Directions beside features", by, "direction")
    value = SHARE if by == "group" else COSINE
    # of a matrix that is drawn as it is, nobody knows
    value = "value" if features is None else value
    heatmap = Heatmap(style.link_rows(frame, ["row", "column"], links), labels, value, 1.0)
    return heatmap_chart(heatmap, width) if interactive else heatmap_axes(heatmap, ax)


def _angles(
    overlap: SubspaceOverlap,
    title: str | None,
    ax: Axes | None,
    interactive: bool,
    width: style.Width,
) -> style.Figure:
    """Cosines of the principal angles as bars; full bars are shared dimensions."""
    frame = overlap.to_pandas()
    said = f"overlap {overlap.overlap:.2f} of {overlap.max_overlap} ({overlap.share:.0%})"
    labels = style.Labels(
        title or f"Two subspaces: {said}", "principal angle, smallest first", "cosine of the angle"
    )
    if not interactive:
        ax = style.open_axes(ax, 7.0, 3.0)
        ax.bar(frame.angle, frame.cosine, color=style.PALETTE[0], width=0.8)
        ax.axhline(1, color=style.GRAY, lw=1, ls=":")
        ax.set_ylim(0, 1.05)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        style.write_labels(ax, labels)
        return ax
    chart = (
        alt.Chart(style.inline(frame))
        .mark_bar(color=style.PALETTE[0])
        .encode(
            x=alt.X("angle:O", title=labels.x, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("cosine:Q", title=labels.y, scale=alt.Scale(domain=[0, 1])),
            tooltip=[
                alt.Tooltip("angle:O", title="principal angle"),
                alt.Tooltip("cosine:Q", format=".3f"),
                alt.Tooltip("degrees:Q", format=".1f"),
            ],
        )
    )
    return style.finish(
        chart,
        title=labels.title,
        description=f"{labels.title}. Cosines from {frame.cosine.max():.2f} to "
        f"{frame.cosine.min():.2f}.",
        width=width,
        height=200,
    )
