"""The onset of grokking, read off a course of accuracies, and what comes before or after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError
from feature_sets.values import read_numbers
from tl_entk.tools.values import check_at_least, check_share

Relation = Literal["precedes", "matches", "follows"]

Steps = Sequence[int] | Int[np.ndarray, " s"] | Int[Tensor, " s"]
Accuracies = Sequence[float] | Float[np.ndarray, " s"] | Float[Tensor, " s"]


def onset(
    steps: Steps, accuracy: Accuracies, rise: float = 0.1, *, least_rise: float = 0.2
) -> int | None:
    """First step from which on accuracy >= low + rise (high - low), to the end of the course.

    The accuracy is read through a running median of three records, which leaves a steady rise as
    it is and passes over a dip or spike of a single record, a last one included. ``low`` and
    ``high`` are the smallest and the largest value of that median. The low level always lies
    before the onset, since no record after the onset is below the threshold.

    Args:
        steps: (S,) increasing steps of the records.
        accuracy: (S,) fractions between 0 and 1; records with NaN are left out.
        rise: share of the way from low to high that counts as the onset, between 0 and 1.
        least_rise: the smallest high - low that counts as a rise at all.

    Returns:
        One of the steps; None where the accuracy never rises by ``least_rise``, or is back below
        the threshold at the end.

    Raises:
        UserError: if lengths differ, steps are no integers or do not increase, fewer than three
            records have an accuracy, one is no fraction, or rise or least_rise is not between 0
            and 1.

    Source: arXiv 2510.00468, section 3 (the onset of grokking; the rule is ours).

    Example:
        >>> onset([0, 10, 20, 30, 40, 50], [0.03, 0.04, 0.2, 0.7, 1.0, 1.0])
        20
        >>> onset([0, 10, 20, 30], [0.03, 0.05, 0.04, 0.05]) is None
        True
    """
    when, values = _read_records(steps, accuracy)
    check_share("rise", rise, example=0.1)
    check_share("least_rise", least_rise, example=0.2)
    # at the end the record before stands in, so that one high last record is no rise for good
    padded = np.concatenate([values[:1], values, values[-2:-1]])
    level = np.median(np.lib.stride_tricks.sliding_window_view(padded, 3), axis=1)
    low, high = level.min(), level.max()
    if high - low < least_rise:
        return None
    last_below = np.flatnonzero(level < low + rise * (high - low))[-1]
    return int(when[last_below + 1]) if last_below + 1 < len(when) else None


def midpoint(steps: Steps, accuracy: Accuracies, *, least_rise: float = 0.2) -> int | None:
    """First step from which on the accuracy stays above the middle of its rise.

    The rule is that of :func:`onset` with ``rise=0.5``.

    Args:
        steps: (S,) increasing steps of the records.
        accuracy: (S,) fractions between 0 and 1; records with NaN are left out.
        least_rise: the smallest rise that counts as one.

    Returns:
        One of the steps, or None; see :func:`onset`.

    Raises:
        UserError: as :func:`onset`.

    Source: arXiv 2510.00468, section 3 (the rule is ours).

    Example:
        >>> midpoint([0, 10, 20, 30, 40, 50], [0.03, 0.04, 0.2, 0.7, 1.0, 1.0])
        30
    """
    return onset(steps, accuracy, 0.5, least_rise=least_rise)


def relation(peak_step: int, onset_step: int, spacing: int) -> Relation:
    """Whether a peak comes before, at or after the onset: |peak - onset| <= spacing is at it.

    Args:
        peak_step: for example ``course.peak(name).step``.
        onset_step: what :func:`onset` found, in the same unit.
        spacing: steps from one record to the next, below which the two cannot be told apart.

    Returns:
        What the peak does: it "precedes", "matches" or "follows" the onset.

    Raises:
        UserError: if spacing is not positive, or a step is no integer.

    Source: arXiv 2510.00468, section 3 (the overlap's derivative peaks near the onset).

    Example:
        >>> relation(85, 90, 5), relation(80, 90, 5), relation(100, 90, 5)
        ('matches', 'precedes', 'follows')
    """
    check_at_least("spacing", spacing)
    check_at_least("peak_step", peak_step, 0)
    check_at_least("onset_step", onset_step, 0)
    if abs(peak_step - onset_step) <= spacing:
        return "matches"
    return "precedes" if peak_step < onset_step else "follows"


def _read_records(steps: Steps, accuracy: Accuracies) -> tuple[np.ndarray, np.ndarray]:
    """Steps and accuracies of the records that have one."""
    when = read_numbers("steps", steps)
    values = read_numbers("accuracy", accuracy).astype(np.float64)
    if when.shape != values.shape or when.ndim != 1:
        raise UserError(
            f"steps and accuracy have shapes {when.shape} and {values.shape}: pass one accuracy "
            "per step."
        )
    if when.size and when.dtype.kind not in "iu":
        raise UserError(f"steps is of {when.dtype}: pass integers, the steps of the records.")
    if (np.diff(when) <= 0).any():
        raise UserError("the steps do not increase: sort the records and drop repeated ones.")
    known = ~np.isnan(values)
    when, values = when[known], values[known]
    if len(when) < 3:
        raise UserError(f"{len(when)} records with an accuracy: pass three or more.")
    if values.min() < 0 or values.max() > 1:
        raise UserError(
            f"accuracies from {values.min():g} to {values.max():g}: pass fractions between 0 and "
            "1, not percentages or losses."
        )
    return when, values
