"""Figures and tables of courses: overlaps beside accuracy, and when grokking sets in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tl_entk.dynamics.course import Course
from tl_entk.dynamics.grokking import midpoint, onset, relation
from tl_entk.report.page import Picture, Table
from tl_entk.report.toys import figures as draw

ONSET_RULE = (
    "Onset of grokking: the first record from which on the test accuracy (a running median of "
    "three records) stays above its lowest value plus a tenth of its whole rise; midpoint: plus "
    "half of it; a rise of less than 0.2 is none. Peak: the record at which the overlap's "
    "derivative (central differences) is largest. It matches the onset if they are at most one "
    "record apart."
)


@dataclass(frozen=True)
class Timing:
    """When the overlap rises fastest, and when the test accuracy rises.

    Attributes:
        peak: epoch of the derivative's largest value.
        steepest: that value.
        plateau: first and last epoch at which the derivative is at least 0.9 of that.
        onset: epoch of the onset of grokking; None where there is none.
        midpoint: epoch of half the rise.
        spacing: epochs between records there.
        relation: of the peak to the onset; empty without one.
    """

    peak: int
    steepest: float
    plateau: tuple[int, int]
    onset: int | None
    midpoint: int | None
    spacing: int
    relation: str


def timing(course: Course, overlap: str) -> Timing:
    """Peak of an overlap's derivative, onset of grokking, and which comes first.

    Args:
        course: with test_accuracy among its metrics.
        overlap: name of the overlap.
    """
    steps, accuracy = course.steps.numpy(), course.metrics["test_accuracy"].numpy()
    peak, start = course.peak(overlap), onset(steps, accuracy)
    at = peak.step if start is None else start
    index = int(np.searchsorted(steps, at))
    spacing = int(np.diff(steps)[max(0, min(index, len(steps) - 1) - 1)])
    word = "" if start is None else relation(peak.step, start, spacing)
    high = steps[course.derivative(overlap).numpy() >= 0.9 * peak.value]
    plateau = (int(high[0]), int(high[-1]))
    return Timing(peak.step, peak.value, plateau, start, midpoint(steps, accuracy), spacing, word)


def course_picture(
    name: str, caption: str, course: Course, overlap: str, *, until: float | None = None
) -> Picture:
    """Accuracy, overlaps and derivatives of one training."""
    found = timing(course, overlap)
    accuracies = {part: course.metrics[f"{part}_accuracy"].numpy() for part in ("train", "test")}
    overlaps = {
        label: values.numpy() / course.max_overlap[label]
        for label, values in course.overlaps.items()
    }
    derivatives = {
        label: course.derivative(label).numpy() / course.max_overlap[label] for label in overlaps
    }
    picture = draw.course_panels(
        course.steps.numpy(),
        accuracies,
        overlaps,
        derivatives,
        onset=found.onset,
        peak=found.peak,
        until=until,
    )
    return Picture(name, caption, picture)


def timing_rows(
    courses: Mapping[int, Course], overlap: str, label: str
) -> list[list[str | float | int]]:
    """A row per seed: peak, onset, relation, final accuracy."""
    rows: list[list[str | float | int]] = []
    for seed, course in courses.items():
        found = timing(course, overlap)
        rows.append(
            [
                label,
                seed,
                f"{float(course.metrics['test_accuracy'][-1]):.1%}",
                found.peak,
                f"{found.plateau[0]} to {found.plateau[1]}",
                "none" if found.onset is None else found.onset,
                "none" if found.midpoint is None else found.midpoint,
                found.spacing,
                found.relation or "no grokking",
            ]
        )
    return rows


def timing_table(name: str, rows: Sequence[Sequence[str | float | int]]) -> Table:
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
    """Onset against peak, a dot per seed that groks; nothing where none does."""
    points = {
        name: [(t.onset, t.peak) for t in found.values() if t.onset is not None]
        for name, found in experiments.items()
    }
    shown = {name: pairs for name, pairs in points.items() if pairs}
    if not shown:
        return []
    caption = (
        "Onset of grokking against the derivative's peak, a dot per seed; below the line the peak "
        "comes first."
    )
    return [Picture("peak_and_onset", caption, draw.seeds_scatter(shown, "epoch"))]


def cost_table(rows: Mapping[str, tuple[Course, float]]) -> Table:
    """What tracking adds to training.

    Args:
        rows: training to its course and its own seconds, without tracking.
    """
    cells: list[list[str | float | int]] = []
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
