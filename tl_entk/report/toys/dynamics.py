"""Figures and tables of courses: overlaps beside accuracy, and when grokking sets in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tl_entk.dynamics.course import Course
from tl_entk.dynamics.grokking import Relation, midpoint, onset, relation
from tl_entk.report import charts
from tl_entk.report.parts import Cells, Picture, Table
from tl_entk.report.toys.charts import seeds_scatter
from tl_entk.report.toys.panels import Line, Panel, line_panels
from tl_entk.report.toys.wording import NONE

# an onset is read off a running median of three records
ONSET_RECORDS = 3
ONSET_RULE = (
    "Onset of grokking: the first record from which on the test accuracy (a running median of "
    "three records) stays above its lowest value plus a tenth of its whole rise; midpoint: plus "
    "half of it; a rise of less than 0.2 is none. Peak: the record at which the overlap's "
    "derivative (central differences) is largest; an overlap that never rises has none. It "
    "matches the onset if they are at most one record apart."
)


@dataclass(frozen=True)
class Timing:
    """When the overlap rises fastest, and when the test accuracy rises; None for what never is.

    Attributes:
        peak: epoch of the derivative's largest value; None where the overlap never rises.
        plateau: first and last epoch at which the derivative is at least 0.9 of that value.
        onset: epoch of the onset of grokking; None where there is none, or too few records.
        midpoint: epoch of half the rise.
        spacing: epochs between records there; None for a single record.
        relation: of the peak to the onset; None without either.
    """

    peak: int | None
    plateau: tuple[int, int] | None
    onset: int | None
    midpoint: int | None
    spacing: int | None
    relation: Relation | None


def timing(course: Course, overlap: str) -> Timing:
    """Peak of an overlap's derivative, onset of grokking, and which comes first.

    Args:
        course: of one or more records, with test_accuracy among its metrics.
        overlap: name of the overlap.
    """
    steps, accuracy = course.steps.numpy(), course.metrics["test_accuracy"].numpy()
    peak, plateau = _find_peak(course, overlap)
    start = _find_rise(onset, steps, accuracy)
    at = start if start is not None else peak if peak is not None else int(steps[-1])
    spacing = _space_records(steps, at)
    known = peak is not None and start is not None and spacing is not None
    word = relation(peak, start, spacing) if known else None  # type: ignore[arg-type]
    return Timing(peak, plateau, start, _find_rise(midpoint, steps, accuracy), spacing, word)


def _find_peak(course: Course, overlap: str) -> tuple[int | None, tuple[int, int] | None]:
    """Epoch of the steepest rise, and the first and last at nine tenths of it; None for no rise."""
    if len(course) < 2:
        return None, None
    peak = course.peak(overlap)
    if not peak.value > 0:
        return None, None
    high = course.steps[course.derivative(overlap) >= 0.9 * peak.value]
    return peak.step, (int(high[0]), int(high[-1]))


def _find_rise(
    rule: Callable[..., int | None], steps: Int[np.ndarray, " s"], accuracy: Float[np.ndarray, " s"]
) -> int | None:
    """Onset or midpoint of the accuracy's rise; none where too few records have an accuracy."""
    return None if np.isfinite(accuracy).sum() < ONSET_RECORDS else rule(steps, accuracy)


def _space_records(steps: Int[np.ndarray, " s"], at: int) -> int | None:
    """Epochs from the record before an epoch to the one at it; at the first, to the second."""
    if len(steps) < 2:
        return None
    index = min(int(np.searchsorted(steps, at)), len(steps) - 1)
    return int(np.diff(steps)[max(0, index - 1)])


def course_picture(
    name: str, caption: str, course: Course, overlap: str, *, until: float | None = None
) -> Picture:
    """Accuracy, overlaps and derivatives of one training."""
    found, steps = timing(course, overlap), course.steps.numpy()
    accuracies = {part: course.metrics[f"{part}_accuracy"] for part in ("train", "test")}
    overlaps = {
        label: values / course.max_overlap[label] for label, values in course.overlaps.items()
    }
    derivatives = {
        label: course.derivative(label) / course.max_overlap[label]
        for label in overlaps
        if len(course) > 1
    }
    when = {"onset of grokking": found.onset, "derivative's peak": found.peak}
    marks = {text: at for text, at in when.items() if at is not None}
    panels = {
        title: Panel(
            {label: Line(steps, values.numpy()) for label, values in lines.items()},
            "epoch", label, until=until, marks=marks,
        )
        for title, label, lines in (
            ("Accuracy", "accuracy", accuracies),
            ("Overlaps", "overlap / its maximum", overlaps),
            ("How fast the overlaps rise", "derivative per epoch", derivatives),
        )
        if lines
    }  # fmt: skip
    picture = line_panels(panels, "Overlaps beside accuracy, through training")
    return Picture(name, caption, picture)


def spectrum_pictures(name: str, course: Course) -> list[Picture]:
    """The spectrum at every record, to be moved through; none of a course with one record."""
    if len(course) < 2:
        return []
    caption = "Eigenvalues at one step, over the first; the slider goes through training."
    return [Picture(f"{name}_spectrum_course", caption, charts.spectrum_course(course))]


def timing_rows(courses: Mapping[int, Course], overlap: str, label: str) -> list[Cells]:
    """A row per seed: peak, onset, relation, final accuracy."""
    rows: list[Cells] = []
    for seed, course in courses.items():
        found = timing(course, overlap)
        rows.append(
            [
                label,
                seed,
                f"{float(course.metrics['test_accuracy'][-1]):.1%}",
                NONE if found.peak is None else found.peak,
                NONE if found.plateau is None else "{} to {}".format(*found.plateau),
                NONE if found.onset is None else found.onset,
                NONE if found.midpoint is None else found.midpoint,
                NONE if found.spacing is None else found.spacing,
                _say_relation(found),
            ]
        )
    return rows


def _say_relation(found: Timing) -> str:
    """What the peak does to the onset, or which of the two is missing."""
    if found.onset is None:
        return "no grokking"
    return "no rise of the overlap" if found.relation is None else found.relation


def timing_table(name: str, rows: Sequence[Cells]) -> Table:
    """Does the derivative's peak precede, match or follow the onset?"""
    return Table(
        f"{name}_peak_and_onset",
        "Peak of the overlap's derivative and onset of grokking, in epochs.",
        (
            "experiment",
            "seed",
            "test accuracy",
            "derivative's peak",
            "at 0.9 of it or more",
            "onset",
            "midpoint",
            "record spacing",
            "the peak ... the onset",
        ),
        rows,
    )


def timing_pictures(experiments: Mapping[str, Mapping[int, Timing]]) -> list[Picture]:
    """Onset against peak, a dot per seed that has both; nothing where none does."""
    points = {
        name: [
            (found.onset, found.peak)
            for found in seeds.values()
            if found.onset is not None and found.peak is not None
        ]
        for name, seeds in experiments.items()
    }
    shown = {name: pairs for name, pairs in points.items() if pairs}
    if not shown:
        return []
    caption = (
        "Onset of grokking against the derivative's peak, a dot per seed; below the line the peak "
        "comes first."
    )
    return [Picture("peak_and_onset", caption, seeds_scatter(shown, "epoch"))]


def cost_table(rows: Mapping[str, tuple[Course, float]]) -> Table:
    """What tracking adds to training.

    Args:
        rows: training to its course and its own seconds, without tracking.
    """
    cells: list[Cells] = []
    for name, (course, training) in rows.items():
        kernels, eigen = (float(course.seconds[part].sum()) for part in ("kernels", "eigen"))
        count = len(course.steps)
        cells.append(
            [
                name,
                training,
                count,
                course.tracking_seconds,
                kernels / count,
                eigen / count,
                f"{course.share_of(training):.0%}",
            ]
        )
    return Table(
        "tracking_cost",
        "Seconds that tracking takes, beside the training's own.",
        (
            "training",
            "training alone",
            "records",
            "tracking",
            "kernels, each record",
            "eigendirections, each record",
            "tracking over training",
        ),
        cells,
    )
