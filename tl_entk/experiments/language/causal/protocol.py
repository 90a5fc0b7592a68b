"""Steps of equal size along different directions, and what each does to the labels.

A step's size is set such that the next token's distribution moves by the same mean divergence on
the test half whatever the direction, which knows no label; its sign on the train half, such that
the label's log-odds rise there. What it does is then measured on the test half.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from tl_entk.experiments.language.causal.odds import Odds, OddsMeter
from tl_entk.experiments.language.causal.steps import Step

# nats that the next token's distribution moves by on average
DIVERGENCE = 0.05
# how near to that a step must come, and how often it is tried
NEAR, _TRIES = 0.05, 8
# by how much a try may differ from the one before
_FURTHEST = 30.0


@dataclass(frozen=True, eq=False)
class Taken:
    """A step that was taken.

    Attributes:
        size: with its sign.
        odds: what the model says after it on the test half.
    """

    size: float
    odds: Odds


def take_step(step: Step, train: OddsMeter, test: OddsMeter, label: int) -> Taken:
    """A step that moves the next token's distribution by ``DIVERGENCE`` on the test half.

    Args:
        step: along a direction.
        train: of windows of the train half, whose log-odds tell the sign.
        test: of the test half.
        label: whose log-odds should rise.
    """
    there = _match(step, step.unit, test)
    raised, lowered = (
        measure_step(step, size, train).log_odds[:, label].mean()
        for size in (there.size, -there.size)
    )
    # the divergence of a small step is the same either way
    return there if raised >= lowered else _match(step, -there.size, test)


def _match(step: Step, size: float, test: OddsMeter) -> Taken:
    """A step of this sign, from a first guess of its size."""
    for tried in range(1, _TRIES + 1):
        found = Taken(size, measure_step(step, size, test))
        moved = float(found.odds.divergence.mean())
        if abs(moved / DIVERGENCE - 1) <= NEAR or tried == _TRIES:
            break
        # the divergence of a small step grows as its square
        factor = (DIVERGENCE / max(moved, 1e-30)) ** 0.5
        size *= min(max(factor, 1 / _FURTHEST), _FURTHEST)
    return found


def measure_step(step: Step, size: float, meter: OddsMeter) -> Odds:
    """What a model says after a step.

    Args:
        step: along a direction.
        size: with its sign.
        meter: of windows.
    """
    with step.apply(size):
        return meter.measure()


def specificity(changes: Float[Tensor, "... n f"], label: int) -> Float[Tensor, " ..."]:
    r"""How much more a label's log-odds change than the others'.

    .. math:: \bar\Delta_l / \sqrt{\overline{\Delta_{g}^2}}, g \ne l

    Mean change of the label over windows, over the root mean square of all other labels' changes.

    Args:
        changes: of log-odds, windows and labels last.
        label: the one that was meant.

    Example:
        >>> import torch
        >>> specificity(torch.tensor([[2.0, 1.0], [4.0, -1.0]]), 0).item()
        3.0
    """
    others = [g for g in range(changes.shape[-1]) if g != label]
    beside = changes[..., others].square().mean((-2, -1)).sqrt()
    return changes[..., label].mean(-1) / beside.clamp_min(1e-12)
