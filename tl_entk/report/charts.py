"""Charts that only a report has: figures by layer, with their intervals, and grids of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.alignment.readout_sweep import TOGETHER
from tl_entk.dynamics.course import Course
from tl_entk.plot import style
from tl_entk.plot.forest import Forest, forest_chart
from tl_entk.plot.heatmap import Heatmap, heatmap_chart


def by_layer(
    curves: Mapping[str, Mapping[str, IntervalEstimate]],
    title: str,
    label: str,
    *,
    names: Sequence[str] = (),
) -> Any:
    """One line per method over the layers, with its interval as a band.

    What belongs to all layers together has one figure: a line across.

    Args:
        curves: method to layer to figure.
        title: above the chart.
        label: of the vertical axis.
        names: of all methods of a page, so that a method looks the same in each of its figures.
    """
    layers = {layer for curve in curves.values() for layer in curve if layer != TOGETHER}
    ends = sorted(layers, key=int)
    rows = []
    for name, curve in curves.items():
        points = dict.fromkeys((ends[0], ends[-1]), curve[TOGETHER]) if TOGETHER in curve else curve
        rows += [
            {"name": name, "layer": int(layer), **vars(found), "all": TOGETHER in curve}
            for layer, found in points.items()
        ]
    frame = pd.DataFrame(rows)
    look = style.encode_names("name", list(names or curves), columns=2)
    for channel in (look.color, look.shape):
        if len(names or curves) > 1:
            channel["legend"]["values"] = list(curves)
    picked = style.pick_names()
    shown = alt.condition(picked, alt.value(1), alt.value(0.12))
    x = alt.X("layer:Q", title="layer", axis=alt.Axis(tickMinStep=1, format="d"))
    y = alt.Y("value:Q", title=label, scale=alt.Scale(zero=False))
    base = alt.Chart(style.inline(frame))
    band = base.mark_area(opacity=0.13).encode(
        x=x,
        y=alt.Y("low:Q", title=label),
        y2="high:Q",
        color=look.color,
        opacity=alt.condition(picked, alt.value(0.14), alt.value(0.02)),
    )
    line = base.mark_line(strokeWidth=1.8).encode(
        x=x, y=y, color=look.color, strokeDash=look.dash, opacity=shown
    )
    dots = base.mark_point(filled=True, size=46).encode(
        x=x,
        y=y,
        color=look.color,
        shape=look.shape,
        opacity=shown,
        tooltip=[
            alt.Tooltip("name:N", title="method"),
            "layer:Q",
            *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("value", "low", "high")),
        ],
    )
    best = max(rows, key=lambda row: row["value"])
    highest = f"{best['name']}, layer {best['layer']}, {best['value']:.2f}"
    return style.finish(
        (band + line + dots).add_params(picked),
        title=title,
        description=f"{title}. Highest: {highest}.",
        width="container",
        height=300,
    )


def spectrum_course(course: Course) -> Any:
    """Eigenvalues over the first at one step of training, with a slider over the steps.

    Args:
        course: of two records or more.
    """
    rows = [
        {"name": name, "record": record, "step": int(step), "mode": mode, "value": value}
        for name, eigenvalues in course.eigenvalues.items()
        for record, (step, values) in enumerate(
            zip(course.steps.tolist(), eigenvalues.tolist(), strict=True)
        )
        for mode, value in enumerate(_over_first(values))
    ]
    frame = pd.DataFrame(rows)
    names = style.encode_names("name", list(course.eigenvalues))
    last = len(course) - 1
    slider = alt.binding_range(min=0, max=last, step=1, name="record ")
    chosen = alt.param(name="record", value=last, bind=slider)
    base = alt.Chart(style.inline(frame)).transform_filter(alt.datum.record == chosen)
    line = base.mark_line(strokeWidth=1.4, point=alt.OverlayMarkDef(size=34)).encode(
        x=alt.X("mode:Q", title="mode (counted from 0)", axis=alt.Axis(tickMinStep=1)),
        y=alt.Y(
            "value:Q",
            title="eigenvalue / first",
            scale=alt.Scale(type="log", domain=[float(frame.value.min()), 1]),
        ),
        color=names.color,
        tooltip=["name:N", "step:Q", "mode:Q", alt.Tooltip("value:Q", format=".3g")],
    )
    said = base.transform_aggregate(step="max(step)").mark_text(
        align="right", dx=-6, dy=14, fontSize=12, color=style.GRAY
    )
    step = said.encode(
        x=alt.value("width"), y=alt.value(0), text=alt.Text("label:N")
    ).transform_calculate(label="'step ' + datum.step")
    return style.finish(
        (line + step).add_params(chosen),
        title="The spectrum through training",
        description=f"Eigenvalues at each of {last + 1} records of the training, by a slider.",
        width="container",
        height=260,
    )


def _over_first(values: Sequence[float]) -> list[float]:
    first = max(values[0], 1e-300)
    return [max(value / first, 1e-8) for value in values]


def intervals(
    rows: Mapping[str, Mapping[str, IntervalEstimate]], title: str, x: str, y: str
) -> Any:
    """A forest: one dot with its interval for every row and name."""
    frame = pd.DataFrame(
        [
            {"row": row, "name": name, **vars(found)}
            for row, by_name in rows.items()
            for name, found in by_name.items()
        ]
    )
    names = tuple(dict.fromkeys(name for found in rows.values() for name in found))
    return forest_chart(Forest(frame, style.Labels(title, x, y), False, {}, names), "container")


def grid(
    values: Mapping[str, Mapping[str, float]],
    columns: Sequence[str],
    title: str,
    labels: tuple[str, str],
    value: str,
    links: Mapping[Any, str] | None = None,
) -> Any:
    """A heatmap of rows that are Mappings, by the order of the columns.

    Args:
        values: row to column to number; cells may be missing.
        columns: in order.
        title: above the chart.
        labels: of columns and rows.
        value: what a number is.
        links: of cells, to where a click goes.
    """
    frame = pd.DataFrame(
        [
            {"row": row, "column": column, "value": found.get(column)}
            for row, found in values.items()
            for column in columns
        ]
    )
    frame = style.link_rows(frame, ["row", "column"], links)
    heatmap = Heatmap(frame, style.Labels(title, *labels), value, float(frame.value.max()))
    return heatmap_chart(heatmap, "container")
