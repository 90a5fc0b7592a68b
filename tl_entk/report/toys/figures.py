"""Figures of the toy settings and of training dynamics. Plain numbers in, a figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Num, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tl_entk.report.figures import COLORS, GRAY, scale_to_first

Values = Num[np.ndarray, " _k"]
Matrix = Float[np.ndarray, "_rows _columns"]


def panels(
    width: float, height: float, rows: int = 1, columns: int = 1, *, sharex: bool = False
) -> tuple[Figure, Shaped[np.ndarray, "rows columns"]]:
    """A figure with a grid of axes, without boxes."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=130)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def spectrum_panels(
    spectra: Mapping[str, Mapping[str, Values]],
    marks: Mapping[str, Mapping[str, int]],
    *,
    faint: Mapping[str, Sequence[Values]] | None = None,
    floor: float = 1e-8,
) -> Figure:
    """One panel per title: eigenvalues by mode, relative to the first, marks as dotted lines.

    Args:
        spectra: title to lines (label, eigenvalues).
        marks: title to marks: label and the number of modes before the drop.
        faint: title to further spectra, drawn in gray (other seeds).
        floor: smaller ratios are left out.
    """
    figure, axes = panels(3.6 * max(2, len(spectra)), 3.5, 1, len(spectra))
    for axis, (title, lines) in zip(axes.flat, spectra.items(), strict=True):
        others = (faint or {}).get(title, ())
        for values in others:
            _draw_spectrum(axis, values, floor, color="#c4cad0", lw=0.8, zorder=1)
        for (label, values), color in zip(lines.items(), COLORS * 2, strict=False):
            _draw_spectrum(axis, values, floor, color=color, label=label, lw=1.1, marker="o", ms=2)
        for (label, position), style in zip(
            marks.get(title, {}).items(), (":", "--", "-.") * 2, strict=False
        ):
            axis.axvline(position + 0.5, color=GRAY, lw=1, ls=style, label=label)
        # kernels of zeros leave nothing that a logarithm could show
        if any(values[0] > 0 for values in (*lines.values(), *others)):
            axis.set_yscale("log")
        axis.set(xlabel="number of the mode, from 1")
        axis.set_title(title, fontsize=10)
        axis.legend(fontsize=7, edgecolor="none", framealpha=0.85)
    axes[0, 0].set_ylabel("eigenvalue / first")
    return figure


def _draw_spectrum(axis: Axes, values: Values, floor: float, **style: object) -> None:
    relative = scale_to_first(values)
    shown = relative > floor
    axis.plot(np.arange(1, len(values) + 1)[shown], relative[shown], **style)  # type: ignore[arg-type]


def heatmap_grid(
    values: Mapping[tuple[str, str], Matrix],
    *,
    label: str,
    row_label: str,
    column_label: str,
    highest: float = 1.0,
    size: float = 2.7,
    cuts: Sequence[int] = (),
    ticks: Mapping[int, str] | None = None,
) -> Figure:
    """Matrices side by side: keys are (row's title, column's title); one color scale.

    ``cuts`` draws lines before these columns of every matrix; ``ticks`` names columns.
    """
    rows = list(dict.fromkeys(key[0] for key in values))
    columns = list(dict.fromkeys(key[1] for key in values))
    figure, axes = panels(
        size * len(columns) + 1.2, size * len(rows) + 0.4, len(rows), len(columns)
    )
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            axis = axes[i, j]
            image = axis.imshow(
                values[row, column], vmin=0, vmax=highest, cmap="viridis", aspect="auto"
            )
            for cut in cuts:
                axis.axvline(cut - 0.5, color="white", lw=1)
            axis.tick_params(labelsize=7)
            if ticks:
                axis.set_xticks(list(ticks), list(ticks.values()))
            if i == 0:
                axis.set_title(column, fontsize=9)
            if i == len(rows) - 1:
                axis.set_xlabel(column_label, fontsize=8)
            if j == 0:
                axis.set_ylabel(f"{row}\n{row_label}", fontsize=8)
    figure.colorbar(image, ax=axes, label=label, fraction=0.03)
    return figure


def sweep(
    x: Sequence[float],
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    x_label: str,
    limits: Mapping[str, float],
) -> Figure:
    """A panel per quantity, a line per case."""
    figure, axes = panels(4.4 * len(curves), 3.0, 1, len(curves))
    for axis, (quantity, lines) in zip(axes.flat, curves.items(), strict=True):
        for (name, y), color in zip(lines.items(), COLORS, strict=False):
            axis.plot(x, y, "o-", ms=3.5, lw=1.2, color=color, label=name)
        axis.set(xlabel=x_label, ylabel=quantity, ylim=(0, limits[quantity]))
    axes[0, 0].legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def course_panels(
    steps: Values,
    accuracies: Mapping[str, Values],
    overlaps: Mapping[str, Values],
    derivatives: Mapping[str, Values],
    *,
    onset: int | None,
    peak: int | None,
    x_label: str = "epoch",
    until: float | None = None,
) -> Figure:
    """Accuracy, overlaps over their maximum, and the overlaps' derivative, one above the other.

    The dashed line is the onset of grokking, the dotted one the derivative's peak, if there is one.
    """
    figure, axes = panels(9.0, 6.6, 3, 1, sharex=True)
    pairs = (
        (accuracies, "accuracy"),
        (overlaps, "overlap / its maximum"),
        (derivatives, f"derivative per {x_label}"),
    )
    for axis, (lines, label) in zip(axes.flat, pairs, strict=True):
        for (name, y), color in zip(lines.items(), COLORS, strict=False):
            axis.plot(steps, y, "-", lw=1.3, color=color, label=name)
        if onset is not None:
            axis.axvline(onset, color="black", lw=0.9, ls="--")
        if peak is not None:
            axis.axvline(peak, color="black", lw=0.9, ls=":")
        axis.set_ylabel(label)
        if lines:
            axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes[-1, 0].set_xlabel(x_label)
    if until:
        axes[-1, 0].set_xlim(-0.01 * until, until)
    return figure


def seeds_scatter(points: Mapping[str, Sequence[tuple[int, int]]], x_label: str) -> Figure:
    """Onset against peak, a panel per experiment, a dot per seed; on the line they coincide."""
    figure, axes = panels(3.6 * max(2, len(points)), 3.3, 1, len(points))
    for axis, (name, pairs), color in zip(axes.flat, points.items(), COLORS, strict=False):
        high = 1.15 * max((max(pair) for pair in pairs), default=1)
        axis.plot([0, high], [0, high], color=GRAY, lw=0.8)
        axis.plot(*zip(*pairs, strict=True), "o", ms=6, color=color, alpha=0.7)
        axis.set(xlim=(0, high), ylim=(0, high), xlabel=f"onset of grokking ({x_label})")
        axis.set_ylabel(f"derivative's peak ({x_label})")
        axis.set_title(name, fontsize=10)
    return figure


def grouped_bars(
    values: Mapping[str, Mapping[str, float]], label: str, *, highest: float = 1.0
) -> Figure:
    """A group of bars per case, a color per series."""
    series = list(dict.fromkeys(name for bars in values.values() for name in bars))
    figure, axes = panels(9.0, 0.8 + 0.19 * len(values) * (len(series) + 1))
    axis = axes[0, 0]
    height = 0.85 / len(series)
    for index, name in enumerate(series):
        y = np.arange(len(values)) + height * (index - (len(series) - 1) / 2)
        widths = [bars.get(name, np.nan) for bars in values.values()]
        axis.barh(y, widths, height=height, color=(COLORS * 2)[index], label=name)
    axis.set_yticks(range(len(values)), list(values), fontsize=8)
    axis.invert_yaxis()
    axis.set(xlabel=label, xlim=(0, highest))
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
