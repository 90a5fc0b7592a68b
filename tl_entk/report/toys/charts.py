"""Bars, spectra and seeds of the toy settings, as Altair charts. Plain numbers in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Num

from tl_entk.plot import style
from tl_entk.report.toys.panels import Line, Panel, beside, line_panels

Values = Num[np.ndarray, " _k"]

# smallest eigenvalue over the first that is drawn
FLOOR = 1e-7


def spectrum_panels(
    spectra: Mapping[str, Mapping[str, Values]],
    marks: Mapping[str, Mapping[str, int]],
    title: str,
    *,
    faint: Mapping[str, Sequence[Values]] | None = None,
    room: bool = False,
) -> Any:
    """A panel per title: eigenvalues by mode, relative to the first.

    Args:
        spectra: title to lines (label, eigenvalues).
        marks: title to marks: label and the number of modes before the drop.
        title: of the whole.
        faint: title to further spectra, drawn in gray (other seeds).
        room: leave some above the spectra for the marks' texts.
    """
    panels = {
        name: Panel(
            {label: _spectrum(values) for label, values in lines.items()},
            "mode, from 1",
            "eigenvalue / first",
            log=True,
            limits=_leave_room(lines.values()) if room else None,
            marks={text: modes + 0.5 for text, modes in marks.get(name, {}).items()},
            faint=[_spectrum(values) for values in (faint or {}).get(name, ())],
        )
        for name, lines in spectra.items()
    }
    return line_panels(panels, title, columns=min(2, len(panels)))


def _spectrum(values: Values) -> Line:
    """Eigenvalues over the first; those that rounding makes are left out."""
    first = values[0] if values[0] > 0 else np.nan
    relative = np.where(values > FLOOR * first, values / first, np.nan)
    return Line(np.arange(1, len(values) + 1), relative)


def _leave_room(spectra: Iterable[Values]) -> tuple[float, float]:
    """Limits of the panel: as it would be, and a third higher on its logarithmic axis."""
    least = min(float(np.nanmin(_spectrum(values).y)) for values in spectra)
    return least, least**-0.33


def frequency_bars(
    spectra: Mapping[tuple[str, str], Mapping[int, float]],
    keys: Sequence[Sequence[int]],
    title: str,
) -> Any:
    """A panel per spectrum, a bar per frequency; key frequencies in color, with their numbers.

    Args:
        spectra: panel's title, and what a bar is, to frequency to number.
        keys: key frequencies of each.
        title: of the whole.
    """
    charts, said = [], []
    for ((name, what), power), chosen in zip(spectra.items(), keys, strict=True):
        frame = pd.DataFrame({"k": list(power), "power": list(power.values())})
        frame["key"] = frame.k.isin(list(chosen))
        base = alt.Chart(style.inline(frame)).encode(
            x=alt.X("k:O", title="frequency k", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("power:Q", title=what, axis=alt.Axis(tickCount=4, format="~g")),
            tooltip=[
                alt.Tooltip("k:O", title="frequency"),
                alt.Tooltip("power:Q", title=what, format=".3g"),
                alt.Tooltip("key:N", title="key frequency"),
            ],
        )
        color = alt.when("datum.key").then(alt.value(style.PALETTE[0]))
        bars = base.mark_bar().encode(color=color.otherwise(alt.value(style.GRAY)))
        text = base.transform_filter("datum.key").mark_text(dy=-7, color=style.GRAY)
        charts.append(
            (bars + text.encode(text="k:O")).properties(
                title=alt.Title(name, anchor="start"), width=370, height=200
            )
        )
        said.append(f"{name}: key frequencies {', '.join(map(str, chosen)) or 'none'}.")
    return beside(charts, title, f"{title}. {' '.join(said)}", columns=len(charts))


def grouped_bars(
    values: Mapping[str, Mapping[str, float]], title: str, label: str, *, highest: float = 1.0
) -> Any:
    """A group of bars per case, one for each series.

    Args:
        values: case to series to number; some may be missing.
        title: above the chart.
        label: what a number is.
        highest: end of the axis.
    """
    names = list(dict.fromkeys(name for bars in values.values() for name in bars))
    rows = [
        {"case": case, "name": name, "value": value}
        for case, bars in values.items()
        for name, value in bars.items()
    ]
    frame = pd.DataFrame(rows)
    picked = style.pick_names()
    chart = (
        alt.Chart(style.inline(frame))
        .mark_bar()
        .encode(
            x=alt.X(
                "value:Q",
                title=label,
                scale=alt.Scale(domain=[0, highest]),
                axis=alt.Axis(tickCount=6),
            ),
            y=alt.Y(
                "case:N", title=None, sort=list(values), axis=alt.Axis(labelLimit=260, ticks=False)
            ),
            yOffset=alt.YOffset("name:N", sort=names),
            color=style.encode_names("name", names).color,
            opacity=alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.15)),
            tooltip=["case:N", "name:N", alt.Tooltip("value:Q", title=label, format=".3f")],
        )
        .add_params(picked)
    )
    best = frame.loc[frame.value.idxmax()]
    return style.finish(
        chart,
        title=title,
        description=f"{title}: {label}. Highest: {best['case']}, {best['name']}, {best.value:.2f}.",
        width="container",
        height=len(values) * (10 + 12 * len(names)),
    )


def seeds_scatter(points: Mapping[str, Sequence[tuple[int, int]]], x_label: str) -> Any:
    """Onset against peak, a panel per experiment, a dot per seed; on the line they coincide.

    Args:
        points: experiment to the (onset, peak) of every seed.
        x_label: unit of both.
    """
    charts = []
    for name, pairs in points.items():
        high = 1.15 * max((max(pair) for pair in pairs), default=1)
        frame = pd.DataFrame(pairs, columns=["onset", "peak"])
        scale = alt.Scale(domain=[0, high], nice=False)
        x = alt.X("onset:Q", title=f"onset of grokking ({x_label})", scale=scale)
        y = alt.Y("peak:Q", title=f"derivative's peak ({x_label})", scale=scale)
        ends = pd.DataFrame({"onset": [0, high], "peak": [0, high]})
        line = alt.Chart(style.inline(ends)).mark_line(color=style.GRAY, strokeWidth=1)
        dots = alt.Chart(style.inline(frame)).mark_point(
            filled=True, size=70, opacity=0.7, color=style.PALETTE[0]
        )
        charts.append(
            alt.layer(
                line.encode(x=x, y=y), dots.encode(x=x, y=y, tooltip=["onset:Q", "peak:Q"])
            ).properties(title=alt.Title(name, anchor="start"), width=260, height=260)
        )
    title = "When the overlap rises fastest, and when grokking begins"
    seeds = " ".join(f"{name}: {len(pairs)} seeds." for name, pairs in points.items())
    return beside(charts, title, f"{title}: a dot per seed. {seeds}", columns=3)
