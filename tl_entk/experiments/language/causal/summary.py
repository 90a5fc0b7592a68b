"""How specific steps along directions are, over labels, with intervals; and a sentence of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.experiments.language.causal.protocol import DIVERGENCE, NEAR, specificity
from tl_entk.experiments.language.causal.result import (
    KERNEL,
    PCA,
    STANDARDIZED,
    Causal,
    CausalDirection,
)
from tl_entk.experiments.seeds import mean_over_seeds

_RESAMPLES = 500


@dataclass(frozen=True)
class MethodRow:
    """What steps along one method's directions do, on average over the labels.

    Attributes:
        method: whose directions.
        specificity: mean change of the label's log-odds over the root mean square of the others'.
        change: mean change of the label's log-odds.
        divergence: mean over the test half, of the next token's distribution.
        off: steps that moved it by more or less than all should.
        less: specificity of the kernel's directions less this method's.
    """

    method: str
    specificity: IntervalEstimate
    change: IntervalEstimate
    divergence: float
    off: int
    less: IntervalEstimate


def method_rows(
    directions: Sequence[CausalDirection], seed: int = 0, n_bootstrap: int = _RESAMPLES
) -> list[MethodRow]:
    """Every method over all labels of one kernel; intervals resample windows and labels.

    Args:
        directions: of one kernel, a label each.
        seed: of the resamples.
        n_bootstrap: how many.
    """
    rng = np.random.default_rng(seed)
    windows = rng.integers(len(directions[0].scores), size=(n_bootstrap, len(directions[0].scores)))
    labels = rng.integers(len(directions), size=(n_bootstrap, len(directions)))
    specific, change = {}, {}
    for method in directions[0].changes:
        pairs = [_resample(one, method, windows) for one in directions]
        specific[method] = np.stack([pair[0] for pair in pairs], 1)
        change[method] = np.stack([pair[1] for pair in pairs], 1)
    return [
        MethodRow(
            method,
            _estimate(specific[method], labels),
            _estimate(change[method], labels),
            float(np.mean([float(one.divergences[method].mean()) for one in directions])),
            sum(_count_off(one.divergences[method]) for one in directions),
            _estimate(specific[KERNEL] - specific[method], labels),
        )
        for method in specific
    ]


def _count_off(divergences: Float[Tensor, "r b"]) -> int:
    """Steps whose mean divergence is not the one that all should have."""
    return int(((divergences.mean(1) / DIVERGENCE - 1).abs() > NEAR).sum())


def _resample(
    one: CausalDirection, method: str, windows: np.ndarray
) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
    """Specificity and change of one label, on all windows and then on every resample of them."""
    changes, label = one.changes[method].double(), one.label_index
    others = [g for g in range(changes.shape[2]) if g != label]
    own = changes[..., label].numpy()
    beside = changes[..., others].square().mean(2).numpy()
    every = np.concatenate([np.arange(own.shape[1])[None], windows])
    mean = own[:, every].mean(2)
    size = np.sqrt(beside[:, every].mean(2))
    # what is drawn at random is averaged over its draws
    return (mean / np.maximum(size, 1e-12)).mean(0), mean.mean(0)


def _estimate(values: Float[np.ndarray, "b labels"], labels: np.ndarray) -> IntervalEstimate:
    """The mean over labels, and its 95 % interval over resampled windows and labels."""
    value = float(values[0].mean())
    drawn = np.take_along_axis(values[1:], labels, 1).mean(1)
    spread = np.percentile(drawn, (2.5, 97.5)) - drawn.mean()
    low, high = value + spread * _widen(labels.shape[1])
    return IntervalEstimate(value, float(low), float(high))


def _widen(n: int) -> float:
    """What the spread of resamples of n labels is multiplied by; 1 for a single one.

    Resamples of a few spread less than their mean does, by sqrt((n - 1) / n), and their 2.5 % is
    the normal distribution's, not Student's: of 8 labels the interval would be 0.78 as wide.

    Source: Hesterberg, What Teachers Should Know About the Bootstrap (2015), expanded percentiles.
    """
    if n < 2:
        return 1.0
    return float((n / (n - 1)) ** 0.5 * stats.t.ppf(0.975, n - 1) / stats.norm.ppf(0.975))


def by_score(one: CausalDirection, method: str = KERNEL) -> dict[str, IntervalEstimate]:
    """Mean change of the label's log-odds where the kernel's score is high, near zero, and low.

    Args:
        one: a direction.
        method: whose step.

    Returns:
        Group of a quarter of the test half to the mean, with its 95 % t interval over windows.
    """
    count = max(2, len(one.scores) // 4)
    order = one.scores.argsort()
    groups = {
        "high score": order[-count:],
        "no score": one.scores.abs().argsort()[:count],
        "low score": order[:count],
    }
    own = one.changes[method][..., one.label_index].mean(0)
    return {name: mean_over_seeds(own[rows].tolist()) for name, rows in groups.items()}


def removal_rows(
    directions: Sequence[CausalDirection],
) -> dict[str, dict[str, IntervalEstimate]]:
    """What is lost without each direction, over the labels.

    Args:
        directions: of one kernel, a label each.

    Returns:
        Method to the mean change of the loss on windows whose next word has the label and on the
        others, and of the label's log-odds on the former; 95 % t intervals over the labels.
    """
    found: dict[str, dict[str, IntervalEstimate]] = {}
    for method in directions[0].removed_loss:
        several = [one for one in directions if method in one.removed_loss]
        parts = {
            "loss, windows with the label": [
                _mean(one.removed_loss[method], one.has_label > 0) for one in several
            ],
            "loss, other windows": [
                _mean(one.removed_loss[method], one.has_label == 0) for one in several
            ],
            "log-odds, windows with the label": [
                _mean(one.removed_odds[method], one.has_label > 0) for one in several
            ],
        }
        found[method] = {name: mean_over_seeds(values) for name, values in parts.items()}
    return found


def _mean(values: Float[Tensor, "r b"], chosen: Tensor) -> float:
    return float(values[:, chosen].mean())


def statements(causal: Causal) -> list[str]:
    """For every kernel: how far its prediction holds, and how specific it is beside PCA."""
    found = []
    for kernel in dict.fromkeys(one.kernel for one in causal.directions):
        directions = [one for one in causal.directions if one.kernel == kernel]
        rows = {row.method: row for row in method_rows(directions)}
        first = float(np.mean([float(one.new.correlation[0]) for one in directions]))
        until = float(np.median([one.new.linear_until for one in directions]))
        own = rows[KERNEL].specificity
        text = (
            f"{kernel}: over {len(directions)} labels, predicted and measured changes of the "
            f"readout have correlation {first:.4f} on windows that the kernel has not, at a step "
            f"of {float(directions[0].steps[0]):g} of the weights' norm, and the median direction "
            f"is linear (error up to 10 %) up to {until:g}. A step moves the label's log-odds by "
            f"{own.value:.2f} ({own.low:.2f} to {own.high:.2f}) times the size at which it moves "
            "the other labels'"
        )
        beside = [
            f"{rows[name].less.value:+.2f} ({rows[name].less.low:+.2f} to "
            f"{rows[name].less.high:+.2f}) beside {name}"
            for name in (PCA, STANDARDIZED)
            if name in rows
        ]
        found.append(f"{text}; the difference is {' and '.join(beside)} at {_place(directions)}.")
    return found


def _place(directions: Sequence[CausalDirection]) -> str:
    """The layer of the rivals: a kernel of several layers has none of its own."""
    if all(one.layer == one.rival_layer for one in directions):
        return "the same layer"
    return f"layer {directions[0].rival_layer}, which is best for PCA"


def raises_high_scores(one: CausalDirection) -> bool:
    """Whether the step of the kernel raises what is read where its score is high, or lowers it."""
    moved = one.sizes[KERNEL][0] * one.new_predicted
    return bool(((moved - moved.mean()) * (one.scores - one.scores.mean())).sum() > 0)


def mean_specificity(one: CausalDirection, method: str) -> float:
    """Of one direction's step, the mean over draws."""
    return float(specificity(one.changes[method], one.label_index).mean())
