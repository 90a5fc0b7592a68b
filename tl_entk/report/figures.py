"""Figures, drawn without a display. Each function takes plain numbers and returns a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.alignment.readout_sweep import TOGETHER

COLORS = ("#3b6fb6", "#d1603d", "#4c9f70", "#8a5fa8", "#b8962e", "#5b6770", "#c65b8a", "#2f9aa0")
GRAY = "#8d959c"


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained", dpi=130)
    axes = figure.subplots(1, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, list(axes.flat)


def _colors(count: int) -> Sequence[Any]:
    """Colors that can be told apart; of more lines than there are, from dark to light."""
    if count <= len(COLORS):
        return COLORS[:count]
    return list(colormaps["viridis"](np.linspace(0, 0.92, count)))


def training_curve(curve: Mapping[str, Sequence[float] | Sequence[int]]) -> Figure:
    """Accuracy and loss by epoch, on the training and the test part."""
    figure, (accuracy, loss) = _figure(9.0, 3.0, columns=2)
    for part, color in (("train", COLORS[0]), ("test", COLORS[1])):
        accuracy.plot(curve["epoch"], curve[f"{part}_accuracy"], color=color, label=part)
        loss.plot(curve["epoch"], curve[f"{part}_loss"], color=color, label=part)
    loss.set_yscale("log")
    accuracy.set(xlabel="epoch", ylabel="accuracy", ylim=(-0.02, 1.04))
    loss.set(xlabel="epoch", ylabel="cross-entropy (nats)")
    accuracy.legend(frameon=False, loc="lower right")
    return figure


def frequency_bars(
    weights: Mapping[int, float],
    kernel: Mapping[int, float],
    keys: tuple[Sequence[int], Sequence[int]],
) -> Figure:
    """Power of each frequency in the embedding and in the kernel; key frequencies in color."""
    figure, axes = _figure(9.0, 2.8, columns=2)
    titles = ("in the rows of W_E", "of the a + b pair in the W_U block")
    for axis, power, chosen, title in zip(axes, (weights, kernel), keys, titles, strict=True):
        colors = [COLORS[1] if k in chosen else "#c9cfd4" for k in power]
        axis.bar(list(power), list(power.values()), color=colors)
        axis.set_xticks(list(power))
        axis.set(xlabel="frequency k", ylabel="power" if power is weights else "energy")
        axis.set_title(title, fontsize=10)
    return figure


def spectra(eigenvalues: Mapping[str, Float[np.ndarray, " k"]], expected: Sequence[int]) -> Figure:
    """Leading eigenvalues of several kernels, relative to the first; expected cliffs marked."""
    figure, (axis,) = _figure(9.0, 3.6)
    for (name, values), color in zip(eigenvalues.items(), _colors(len(eigenvalues)), strict=True):
        relative = np.clip(scale_to_first(values), 1e-8, None)
        axis.plot(np.arange(len(values)), relative, "o-", ms=3, lw=1, color=color, label=name)
    for position in expected:
        axis.axvline(position - 0.5, color=GRAY, lw=1, ls=":")
    axis.set_yscale("log")
    axis.set(xlabel="mode (counted from 0)", ylabel="eigenvalue / first")
    axis.legend(frameon=False, fontsize=8, ncols=2)
    return figure


def scale_to_first(values: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """Eigenvalues relative to the first; a kernel of zeros has zeros.

    Example:
        >>> scale_to_first(np.array([4.0, 1.0])).tolist(), scale_to_first(np.zeros(2)).tolist()
        ([1.0, 0.25], [0.0, 0.0])
    """
    return values / values[0] if values[0] > 0 else np.zeros_like(values)


def heatmap(
    values: Float[np.ndarray, "rows columns"],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    label: str,
    row_label: str = "",
    highest: float = 1.0,
    numbers: bool = False,
    cuts: Sequence[int] = (),
    halves: tuple[str, str] | None = None,
) -> Figure:
    """A matrix of numbers from 0 to ``highest``, with rows and columns named.

    ``cuts`` draws lines above these rows; ``halves`` names the left and the right half.
    """
    per_column = 0.44 if numbers else 0.34
    figure, (axis,) = _figure(2.6 + per_column * len(columns), 1.5 + 0.21 * len(rows))
    image = axis.imshow(values, vmin=0, vmax=highest, cmap="viridis", aspect="auto")
    if halves:
        middle = len(columns) / 2
        axis.axvline(middle - 0.5, color="white", lw=3)
        for index, name in enumerate(halves):
            axis.text((index + 0.5) * middle - 0.5, -0.9, name, ha="center", fontsize=9)
    axis.set_xticks(range(len(columns)), columns, rotation=60, ha="right", fontsize=8)
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.set_ylabel(row_label)
    for cut in cuts:
        axis.axhline(cut - 0.5, color="white", lw=1.2)
    if numbers:
        for i, j in np.argwhere(np.isfinite(values)):
            value = values[i, j]
            color = "white" if value < 0.6 * highest else "black"
            axis.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=6, color=color)
    figure.colorbar(image, ax=axis, label=label, fraction=0.04)
    return figure


def stacked_shares(shares: Mapping[str, Mapping[str, float]]) -> Figure:
    """Shares of each feature family over components, as one bar per family."""
    figure, (axis,) = _figure(9.0, 1.4 + 0.36 * len(shares))
    components = list(next(iter(shares.values())))
    left = np.zeros(len(shares))
    palette = [*COLORS, "#a3b86c", "#7a4b3a", "#46505a", "#d9a5a0"]
    for index, component in enumerate(components):
        width = np.array([share[component] for share in shares.values()])
        axis.barh(
            range(len(shares)),
            width,
            left=left,
            color=palette[index % len(palette)],
            label=component,
        )
        left += width
    axis.set_yticks(range(len(shares)), list(shares))
    axis.invert_yaxis()
    axis.set(xlabel="share of the feature's kernel energy  u·K_b u / u·K u", xlim=(0, 1))
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def intervals(rows: Mapping[str, Mapping[str, IntervalEstimate]], label: str) -> Figure:
    """One line per row, one dot with its interval per basis."""
    figure, (axis,) = _figure(9.0, 1.2 + 0.26 * len(rows))
    bases = list(next(iter(rows.values())))
    for index, (basis, color) in enumerate(zip(bases, COLORS, strict=False)):
        found = [row[basis] for row in rows.values()]
        y = np.arange(len(rows)) + 0.16 * (index - (len(bases) - 1) / 2)
        value = np.array([f.value for f in found])
        spread = np.array([[f.value - f.low, f.high - f.value] for f in found]).T.clip(0)
        axis.errorbar(value, y, xerr=spread, fmt="o", ms=3.5, lw=1, color=color, label=basis)
    axis.set_yticks(range(len(rows)), list(rows), fontsize=8)
    axis.invert_yaxis()
    axis.axvline(0, color=GRAY, lw=0.8)
    axis.set(xlabel=label)
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def by_layer(curves: Mapping[str, Mapping[str, IntervalEstimate]], label: str) -> Figure:
    """One line per method over the layers, with its interval as a band.

    What belongs to all layers together has one figure: a dashed line.
    """
    figure, (axis,) = _figure(9.0, 3.6)
    for (name, layers), color in zip(curves.items(), COLORS, strict=False):
        if TOGETHER in layers:
            axis.axhline(layers[TOGETHER].value, color=color, ls="--", label=name)
            continue
        x, found = [int(layer) for layer in layers], list(layers.values())
        axis.plot(x, [f.value for f in found], "o-", ms=4, lw=1.3, color=color, label=name)
        low, high = [f.low for f in found], [f.high for f in found]
        axis.fill_between(x, low, high, color=color, alpha=0.12, lw=0)
    axis.set(xlabel="layer", ylabel=label)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def scores_by_group(groups: Mapping[str, Sequence[float]]) -> Figure:
    """Histogram of a direction's scores, one small row per group."""
    figure = Figure(figsize=(4.2, 0.5 + 0.24 * len(groups)), dpi=100)
    axis = figure.add_axes((0.14, 0.14, 0.84, 0.84))
    everything = np.concatenate([np.asarray(values) for values in groups.values()])
    edges = np.linspace(everything.min(), everything.max() + 1e-12, 41)
    for row, (values, color) in enumerate(zip(groups.values(), COLORS * 9, strict=False)):
        counts, _ = np.histogram(values, edges)
        height = 0.85 * counts / max(1, counts.max())
        axis.stairs(height - row, edges, baseline=-row, fill=True, color=color)
    axis.set_yticks([-row + 0.3 for row in range(len(groups))], list(groups), fontsize=7)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=7)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.axvline(0, color=GRAY, lw=0.6)
    return figure
