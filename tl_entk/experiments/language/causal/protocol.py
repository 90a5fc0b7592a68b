"""Steps of equal size along different directions, and what each does to the labels.

A step's size is set on the train half, such that the next token's distribution moves by the same
mean divergence whatever the direction; so is its sign, such that the label's log-odds rise. What
it does is then measured on the test half.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from tl_entk.experiments.language.causal.odds import Odds, OddsMeter
from tl_entk.experiments.language.causal.steps import Step

# nats that the next token's distribution moves by on average
DIVERGENCE = 0.05
# how near to that a step must come, and how often it is tried
_NEAR, _TRIES = 0.2, 6
# by how much a try may differ from the one before
_FURTHEST = 30.0


@dataclass(frozen=True)
class Sized:
    """A step's size.

    Attributes:
        size: with its sign.
        divergence: mean over the train half.
    """

    size: float
    divergence: float


def match_size(model: nn.Module, step: Step, meter: OddsMeter, label: int) -> Sized:
    """The size at which a step moves the next token's distribution by ``DIVERGENCE``.

    Args:
        model: to be changed.
        step: along a direction.
        meter: of windows of the train half.
        label: whose log-odds should rise.

    Returns:
        Of the two signs, the one that raises them more.
    """
    there, raised = _match(model, step, step.unit, meter, label)
    # the divergence of a small step is the same either way
    back, lowered = _match(model, step, -there.size, meter, label)
    return there if raised >= lowered else back


def _match(
    model: nn.Module, step: Step, size: float, meter: OddsMeter, label: int
) -> tuple[Sized, float]:
    """A size of this sign, from a first guess, and the mean log-odds after it."""
    found, after = Sized(size, 0.0), 0.0
    for _ in range(_TRIES):
        now = measure_step(model, step, size, meter)
        found = Sized(size, float(now.divergence.mean()))
        after = float(now.log_odds[:, label].mean())
        if abs(found.divergence / DIVERGENCE - 1) <= _NEAR:
            break
        # the divergence of a small step grows as its square
        factor = (DIVERGENCE / max(found.divergence, 1e-30)) ** 0.5
        size *= min(max(factor, 1 / _FURTHEST), _FURTHEST)
    return found, after


def measure_step(model: nn.Module, step: Step, size: float, meter: OddsMeter) -> Odds:
    """What a model says after a step.

    Args:
        model: to be changed.
        step: along a direction.
        size: with its sign.
        meter: of windows.
    """
    with step.apply(size):
        return meter.measure(model)


def specificity(changes: Float[Tensor, "... n f"], label: int) -> Float[Tensor, " ..."]:
    r"""How much more a label's log-odds change than the others'.

    .. math:: \bar\Delta_l / \sqrt{\overline{\Delta_{g}^2}}, g \ne l

    Mean change of the label over windows, over the root mean square of all other labels' changes.

    Args:
        changes: of log-odds, windows and labels last.
        label: the one that was meant.

    Example:
        >>> specificity(torch.tensor([[2.0, 1.0], [4.0, -1.0]]), 0).item()
        3.0
    """
    others = [g for g in range(changes.shape[-1]) if g != label]
    beside = changes[..., others].square().mean((-2, -1)).sqrt()
    return changes[..., label].mean(-1) / beside.clamp_min(1e-12)
