"""Courses of a training: overlaps and metrics by step, with the marks of what happened when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.dynamics.course import Course
from tl_entk.plot import style
from tl_entk.tools.values import check_kind, is_number, read_names

# share of the height that a line of text of a mark takes, above the curves
_LINE = 0.075
# records up to which every one is marked
_MOST_MARKERS = 60
OVERLAP, METRIC = "overlap / maximum", "metric"


def course_frame(
    course: Course, overlaps: Sequence[str] | None = None, metrics: Sequence[str] = ()
) -> pd.DataFrame:
    """Overlaps and metrics by training step, as a table.

    Args:
        course: what a Track gathered.
        overlaps: names of watches; None for all.
        metrics: names of metrics.

    Returns:
        A row per record and curve: kind, name, step, value (of an overlap over its maximum),
        overlap and most (as they are; NaN for metrics). Records without a metric are left out.

    Raises:
        UserError: for an unknown name, or nothing to draw.

    Example:
        >>> import torch
        >>> steps, flat = torch.tensor([0, 5]), torch.ones(2, 1)
        >>> course = Course(steps, {"total": flat}, {"sum": torch.tensor([1.0, 3.0])}, {"sum": 4},
        ...                 {}, {})
        >>> course_frame(course)[["name", "step", "value"]].values.tolist()
        [['sum', 0, 0.25], ['sum', 5, 0.75]]
    """
    check_kind("course", course, Course, "a Course")
    given = list(course.overlaps) if overlaps is None else overlaps
    chosen = read_names("overlaps", given, some=False)
    metrics = read_names("metrics", metrics, some=False)
    unknown = [name for name in chosen if name not in course.overlaps]
    unknown += [name for name in metrics if name not in course.metrics]
    if unknown or not (chosen or metrics):
        raise UserError(
            f"{unknown or 'nothing'} to draw: there are the overlaps {list(course.overlaps)} and "
            f"the metrics {list(course.metrics)}."
        )
    steps = course.steps.tolist()
    curves = [
        (OVERLAP, name, course.overlaps[name], float(course.max_overlap[name])) for name in chosen
    ]
    curves += [(METRIC, name, course.metrics[name], np.nan) for name in metrics]
    parts = [_curve(steps, *curve) for curve in curves]
    frame = pd.concat(parts, ignore_index=True)
    return frame[frame.value.notna()].reset_index(drop=True)


def _curve(
    steps: list[int], kind: str, name: str, values: Float[Tensor, " s"], most: float
) -> pd.DataFrame:
    recorded = values.cpu().double().numpy()
    whole = kind == OVERLAP
    return pd.DataFrame(
        {
            "kind": kind,
            "name": name,
            "step": steps,
            "value": recorded / most if whole else recorded,
            "overlap": recorded if whole else np.nan,
            "most": most,
        }
    )


def course(
    course: Course,
    *,
    overlaps: Sequence[str] | None = None,
    metrics: Sequence[str] = (),
    marks: Mapping[str, int | None] | None = None,
    log: bool = False,
    title: str | None = None,
    ax: Axes | None = None,
    interactive: bool = False,
    width: style.Width = style.DEFAULT_WIDTH,
) -> style.Figure:
    """Draw overlaps over their maxima, and metrics, by training step.

    Args:
        course: what :class:`tl_entk.Track` gathered.
        overlaps: names of watches; None for all.
        metrics: names of metrics to draw beside them, best fractions such as accuracies: there is
            one axis.
        marks: text to the step at which a vertical line stands, for example
            ``{"onset": tl_entk.onset(course.steps, course.metrics["test_accuracy"])}``; a mark at
            None is left out.
        log: logarithmic steps, from 1 on.
        title: above the figure.
        ax: of matplotlib, to draw on; a new figure by default.
        interactive: return an Altair chart instead.
        width: of that chart, in pixels, or "container".

    Returns:
        The Axes, or the chart.

    Raises:
        UserError: for an unknown name, or nothing to draw.

    Example:
        >>> import torch
        >>> from tl_entk import plot
        >>> steps, flat = torch.tensor([0, 5, 10]), torch.ones(3, 1)
        >>> overlaps = {"sum": torch.tensor([0.0, 1.0, 4.0])}
        >>> course = Course(steps, {"total": flat}, overlaps, {"sum": 4}, {}, {})
        >>> plot.course(course, marks={"steepest rise": course.peak("sum").step}).get_xlabel()
        'training step'
    """
    frame = course_frame(course, overlaps, metrics)
    frame = frame[frame.step > 0] if log else frame
    if frame.empty:
        raise UserError("no record after step 0: pass log=False.")
    check_kind("marks", marks, (Mapping, type(None)), "a mapping from texts to steps")
    when = {text: step for text, step in (marks or {}).items() if step is not None}
    for text, step in when.items():
        if not is_number(step):
            raise UserError(f"mark {text!r} is at {step!r}: pass a number, a step.")
    kinds = list(dict.fromkeys(frame.kind))
    labels = style.Labels(
        title or "Course of the training",
        "training step",
        kinds[0] if len(kinds) == 1 else f"{OVERLAP}, or metric",
    )
    if interactive:
        return _course_chart(frame, when, labels, log, width)
    return _course_axes(frame, when, labels, log, ax)


def _course_axes(
    frame: pd.DataFrame, marks: Mapping[str, int], labels: style.Labels, log: bool, ax: Axes | None
) -> Axes:
    ax = style.open_axes(ax, 8.0, 3.6)
    names = list(dict.fromkeys(frame.name))
    for name, look in style.looks_of(names).items():
        rows = frame[frame.name == name]
        ax.plot(
            rows.step,
            rows.value,
            color=look.color,
            ls=look.linestyle,
            lw=1.6,
            marker=look.marker if len(rows) <= _MOST_MARKERS else None,
            ms=4,
            label=name,
        )
    for index, (text, step) in enumerate(marks.items()):
        ax.axvline(step, color=style.GRAY, lw=1, ls=":")
        ax.annotate(
            f"{text} ({step})",
            (step, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -2 - 11 * index),
            textcoords="offset points",
            va="top",
            fontsize=8,
            color="#666666",
        )
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + _LINE * len(marks) * (high - low))
    if log:
        ax.set_xscale("log")
    ax.grid(axis="y", alpha=0.3)
    style.write_labels(ax, labels)
    style.add_legend(ax, names)
    return ax


def _course_chart(
    frame: pd.DataFrame,
    marks: Mapping[str, int],
    labels: style.Labels,
    log: bool,
    width: style.Width,
) -> alt.LayerChart:
    names = list(dict.fromkeys(frame.name))
    look = style.encode_names("name", names)
    picked = style.pick_names()
    least, most = frame.value.min(), max(frame.value.max(), 1e-12)
    base = alt.Chart(style.inline(frame)).encode(
        x=alt.X(
            "step:Q",
            title=labels.x,
            scale=alt.Scale(type="log" if log else "linear", nice=False, padding=6),
            axis=alt.Axis(grid=False, format=",d", tickCount=8, labelOverlap=True),
        ),
        y=alt.Y(
            "value:Q",
            title=labels.y,
            axis=alt.Axis(gridOpacity=0.5, tickCount=6),
            scale=alt.Scale(domain=[min(0.0, least), most + _LINE * len(marks) * (most - least)]),
        ),
        color=look.color,
        opacity=alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.12)),
        tooltip=[
            alt.Tooltip("name:N", title="curve"),
            alt.Tooltip("step:Q"),
            alt.Tooltip("value:Q", title=labels.y, format=".3f"),
            alt.Tooltip("overlap:Q", format=".2f"),
            alt.Tooltip("most:Q", title="largest there could be", format=".0f"),
        ],
    )
    # many records are hovered over, not seen
    size = 30 if frame.groupby("name").size().max() <= _MOST_MARKERS else 12
    layers = [
        base.mark_line(strokeWidth=1.8).encode(strokeDash=look.dash).add_params(picked),
        base.mark_point(filled=True, size=size, opacity=1).encode(shape=look.shape),
        *style.mark_rules({f"{text} ({step})": step for text, step in marks.items()}),
    ]
    what = ", ".join(
        f"{name} from {rows.value.iloc[0]:.2f} to {rows.value.iloc[-1]:.2f}"
        for name, rows in frame.groupby("name", sort=False)
    )
    said = "; ".join(f"{text} at step {step}" for text, step in marks.items())
    return style.finish(
        alt.layer(*layers),
        title=labels.title,
        description=f"{labels.title}, steps {frame.step.min()} to {frame.step.max()}: {what}. "
        f"{said}",
        width=width,
    )
