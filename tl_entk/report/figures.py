"""Figures, drawn without a display. Each function takes plain numbers and returns a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


def scale_to_first(values: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """Eigenvalues relative to the first; a kernel of zeros has zeros.

    Example:
        >>> scale_to_first(np.array([4.0, 1.0])).tolist(), scale_to_first(np.zeros(2)).tolist()
        ([1.0, 0.25], [0.0, 0.0])
    """
    return values / values[0] if values[0] > 0 else np.zeros_like(values)
