"""Spectra: the eigenvalues of one or several kernels, with the cliffs that one expects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import altair as alt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter, MaxNLocator

from feature_sets.errors import UserError
from tl_entk.directions.eigen import EigenDirections
from tl_entk.plot import style
from tl_entk.tools.arrays import Array, to_vector
from tl_entk.tools.values import read_integers

# smallest eigenvalue over the first that is drawn on a logarithmic axis: below is rounding
_FLOOR = 1e-8

Spectrum: TypeAlias = EigenDirections | Array


def spectrum_frame(eigen: Spectrum | Mapping[str, Spectrum]) -> pd.DataFrame:
    """The eigenvalues as a table: name, mode (from 0), eigenvalue, relative, converged, residual.

    Args:
        eigen: directions, or eigenvalues (k,), largest first; or several by name.

    Returns:
        A row per eigenvalue; ``relative`` is that over the kernel's first, ``residual`` is NaN of
        eigenvalues without one.

    Raises:
        UserError: if eigenvalues are no vector.

    Example:
        >>> spectrum_frame(np.array([4.0, 1.0])).relative.tolist()
        [1.0, 0.25]
    """
    several = eigen if isinstance(eigen, Mapping) else {"kernel": eigen}
    if not several:
        raise UserError("no spectrum: pass one or more.")
    return pd.concat([_one_spectrum(name, one) for name, one in several.items()], ignore_index=True)


def _one_spectrum(name: str, eigen: Spectrum) -> pd.DataFrame:
    if isinstance(eigen, EigenDirections):
        frame = eigen.to_pandas().rename(columns={"direction": "mode"})
        return frame.drop(columns="rank1_share").assign(name=name)
    values = to_vector(eigen, f"spectrum {name!r}", "eigenvalue").cpu().double().numpy()
    first = values[0] if values[0] > 0 else 1.0
    return pd.DataFrame(
        {
            "name": name,
            "mode": np.arange(len(values)),
            "eigenvalue": values,
            "relative": values / first,
            "converged": True,
            "residual": np.nan,
        }
    )


def spectrum(
    eigen: Spectrum | Mapping[str, Spectrum],
    expected: Sequence[int] = (),
    *,
    log: bool = True,
    relative: bool = True,
    title: str | None = None,
    ax: Axes | None = None,
    interactive: bool = False,
    width: style.Width = style.DEFAULT_WIDTH,
) -> style.Figure:
    """Draw eigenvalues, largest first; hollow where an eigenpair has not converged.

    Args:
        eigen: directions, or eigenvalues (k,); or several by name, such as one per layer.
        expected: how many modes lie before each expected cliff: ``(1, 57)`` for one constant mode
            and 56 waves.
        log: logarithmic eigenvalues. What is below 1e-8 of the first, or negative, is left out.
        relative: over each kernel's first eigenvalue.
        title: above the figure.
        ax: of matplotlib, to draw on; a new figure by default.
        interactive: return an Altair chart instead.
        width: of that chart, in pixels, or "container".

    Returns:
        The Axes, or the chart.

    Raises:
        UserError: if eigenvalues are no vector, or none can be drawn.

    Example:
        >>> from tl_entk import eigendecompose
        >>> from tl_entk.plot import spectrum
        >>> eigen = eigendecompose(np.diag([9.0, 3.0, 3.0, 0.1]), k=4)
        >>> spectrum(eigen, expected=[1, 3]).get_ylabel()
        'eigenvalue / first'
    """
    frame = spectrum_frame(eigen)
    expected = read_integers("expected", expected)
    names = list(dict.fromkeys(frame.name))
    value = "relative" if relative else "eigenvalue"
    # a kernel's own first eigenvalue sets what is rounding
    frame = frame[frame.relative > _FLOOR] if log else frame
    if frame.empty:
        raise UserError("no eigenvalue is positive: pass log=False to see them.")
    labels = style.Labels(
        title or ("Spectrum" if len(names) == 1 else f"Spectra of {len(names)} kernels"),
        "mode, largest first (counted from 0)",
        "eigenvalue / first" if relative else "eigenvalue",
    )
    if interactive:
        return _spectrum_chart(frame, value, expected, labels, log, width)
    return _spectrum_axes(frame, value, expected, labels, log, ax)


def _spectrum_axes(
    frame: pd.DataFrame,
    value: str,
    expected: Sequence[int],
    labels: style.Labels,
    log: bool,
    ax: Axes | None,
) -> Axes:
    ax = style.open_axes(ax, 8.0, 3.8)
    names = list(dict.fromkeys(frame.name))
    for name, look in style.looks_of(names).items():
        rows = frame[frame.name == name]
        ax.plot(
            rows["mode"],
            rows[value],
            color=look.color,
            ls=look.linestyle,
            lw=1,
            marker=look.marker,
            ms=4,
            label=name,
        )
        open_rows = rows[~rows.converged]
        ax.plot(open_rows["mode"], open_rows[value], look.marker, ms=4, mfc="white", mec=look.color)
    for modes in expected:
        ax.axvline(modes - 0.5, color=style.GRAY, lw=1, ls=":")
        ax.annotate(
            str(modes),
            (modes - 0.5, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -2),
            textcoords="offset points",
            va="top",
            fontsize=8,
            color="#666666",
        )
    if log:
        ax.set_yscale("log")
        for axis_format in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
            axis_format(LogFormatter(minor_thresholds=(2, 0.5)))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.write_labels(ax, labels)
    style.add_legend(ax, names)
    return ax


def _spectrum_chart(
    frame: pd.DataFrame,
    value: str,
    expected: Sequence[int],
    labels: style.Labels,
    log: bool,
    width: style.Width,
) -> alt.LayerChart:
    names = list(dict.fromkeys(frame.name))
    look = style.encode_names("name", names)
    picked = style.pick_names()
    scale = alt.Scale(type="log", nice=False, padding=8) if log else alt.Scale(zero=True)
    modes = alt.Axis(tickMinStep=1, tickCount=12, format="d", grid=False)
    sizes = alt.Axis(format="~g", gridOpacity=0.5, tickCount=6)
    base = alt.Chart(style.inline(frame)).encode(
        x=alt.X("mode:Q", title=labels.x, axis=modes, scale=alt.Scale(nice=False, padding=8)),
        y=alt.Y(f"{value}:Q", title=labels.y, scale=scale, axis=sizes),
        color=look.color,
        opacity=alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.12)),
        tooltip=[
            alt.Tooltip("name:N", title="kernel"),
            alt.Tooltip("mode:Q"),
            alt.Tooltip("eigenvalue:Q", format=".4g"),
            alt.Tooltip("relative:Q", title="over the first", format=".3g"),
            alt.Tooltip("residual:Q", format=".1e"),
            alt.Tooltip("converged:N"),
        ],
    )
    lines = base.mark_line(strokeWidth=1.2, clip=True).encode(strokeDash=look.dash)
    points = base.encode(shape=look.shape)
    layers = [lines.add_params(picked)]
    # a layer without rows would have no extent
    if frame.converged.any():
        layers.append(points.transform_filter("datum.converged").mark_point(filled=True, size=34))
    if not frame.converged.all():
        layers.append(points.transform_filter("!datum.converged").mark_point(size=34))
    layers += _cliff_marks(expected, len(frame["mode"].unique()))
    return style.finish(
        alt.layer(*layers),
        title=labels.title,
        description=_describe(frame, expected),
        width=width,
        subtitle="dotted: expected cliffs, with the modes before them" if expected else (),
    )


def _cliff_marks(expected: Sequence[int], modes: int) -> list[alt.Chart]:
    """Dotted rules where cliffs are expected, with how many modes lie before each."""
    inside = [count for count in expected if 0 < count < modes]
    if not inside:
        return []
    frame = pd.DataFrame({"at": [count - 0.5 for count in inside], "modes": inside})
    base = alt.Chart(style.inline(frame)).encode(
        x="at:Q", tooltip=[alt.Tooltip("modes:Q", title="modes before the expected cliff")]
    )
    text = base.mark_text(align="left", baseline="top", dx=3, color=style.GRAY)
    return [
        base.mark_rule(strokeDash=[2, 3], color=style.GRAY, strokeWidth=1.2),
        text.encode(y=alt.value(2), text="modes:Q"),
    ]


def _describe(frame: pd.DataFrame, expected: Sequence[int]) -> str:
    names = list(dict.fromkeys(frame.name))
    cliffs = f" Cliffs are expected after {', '.join(map(str, expected))} modes." * bool(expected)
    return (
        f"Eigenvalues, largest first, of {', '.join(names)}: "
        f"{frame['mode'].max() + 1} modes, down to {frame.relative.min():.2g} of the first.{cliffs}"
    )
