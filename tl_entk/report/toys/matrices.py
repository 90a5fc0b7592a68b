"""Matrices of thousands of cells, side by side: pictures by matplotlib, one pixel grid each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Matrix = Float[np.ndarray, "_rows _columns"]


def matrix_panels(
    values: Mapping[tuple[str, str], Matrix],
    *,
    label: str,
    row_label: str,
    column_label: str,
    highest: float = 1.0,
    size: float = 2.7,
    cuts: Sequence[int] = (),
    ticks: Mapping[int, str] | None = None,
    row_ticks: Mapping[int, str] | None = None,
) -> Figure:
    """Matrices in rows and columns, with one color scale.

    Args:
        values: (row's title, column's title) to matrix.
        label: what a cell is.
        row_label: what a matrix' row is.
        column_label: what its column is.
        highest: end of the scale, which begins at 0.
        size: inches of a panel.
        cuts: lines before these columns of every matrix.
        ticks: names of columns.
        row_ticks: names of rows.
    """
    rows = list(dict.fromkeys(key[0] for key in values))
    columns = list(dict.fromkeys(key[1] for key in values))
    figure = Figure(
        figsize=(size * len(columns) + 1.2, size * len(rows) + 0.4), layout="constrained", dpi=130
    )
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            axis = axes[i, j]
            axis.spines[["top", "right"]].set_visible(False)
            image = axis.imshow(
                values[row, column], vmin=0, vmax=highest, cmap="viridis", aspect="auto"
            )
            for cut in cuts:
                axis.axvline(cut - 0.5, color="white", lw=1)
            axis.tick_params(labelsize=7)
            for numbers in (axis.xaxis, axis.yaxis):
                numbers.set_major_locator(MaxNLocator(integer=True))
            if ticks:
                axis.set_xticks(list(ticks), list(ticks.values()))
            if row_ticks:
                axis.set_yticks(list(row_ticks), list(row_ticks.values()))
            if i == 0:
                axis.set_title(column, fontsize=9)
            if i == len(rows) - 1:
                axis.set_xlabel(column_label, fontsize=8)
            if j == 0:
                axis.set_ylabel(f"{row}\n{row_label}", fontsize=8)
    figure.colorbar(image, ax=axes, label=label, fraction=0.03)
    return figure
