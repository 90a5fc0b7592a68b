"""What steps along some directions do, and models without them, on the test half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.experiments.language.causal.odds import Odds
from tl_entk.experiments.language.causal.protocol import take_step
from tl_entk.experiments.language.causal.rivals import Removal
from tl_entk.experiments.language.causal.setup import Meters
from tl_entk.experiments.language.causal.steps import Step


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Of several methods; several of what is drawn at random.

    Attributes:
        sizes: of the steps, with the sign.
        changes: (r, b, f) of log-odds.
        divergences: (r, b) of the next token's distribution.
        removed_odds: (r, b) changes of the label's log-odds without the direction.
        removed_loss: (r, b) changes of the loss.
    """

    sizes: dict[str, list[float]] = field(default_factory=dict)
    changes: dict[str, Float[Tensor, "r b f"]] = field(default_factory=dict)
    divergences: dict[str, Float[Tensor, "r b"]] = field(default_factory=dict)
    removed_odds: dict[str, Float[Tensor, "r b"]] = field(default_factory=dict)
    removed_loss: dict[str, Float[Tensor, "r b"]] = field(default_factory=dict)

    def __or__(self, other: Outcomes) -> Outcomes:
        return Outcomes(**{name: own | vars(other)[name] for name, own in vars(self).items()})


def take_steps(meters: Meters, steps: Mapping[str, Sequence[Step]], label: int) -> Outcomes:
    """What steps of equal divergence change on the test half.

    Args:
        meters: of both halves, from a layer on that no step comes before.
        steps: of every method.
        label: whose log-odds should rise.
    """
    found = Outcomes()
    for name, several in steps.items():
        taken = [take_step(step, meters.train, meters.test, label) for step in several]
        after = [one.odds for one in taken]
        found.sizes[name] = [one.size for one in taken]
        found.changes[name] = torch.stack([one.log_odds - meters.before.log_odds for one in after])
        found.divergences[name] = torch.stack([one.divergence for one in after])
    return found


def remove(meters: Meters, without: Mapping[str, Sequence[Removal]], label: int) -> Outcomes:
    """Changes of the label's log-odds and of the loss without each direction.

    Args:
        meters: as for :func:`take_steps`.
        without: models of every method.
        label: whose log-odds are looked at.
    """
    before, found = meters.before, Outcomes()
    for name, several in without.items():
        after: list[Odds] = []
        for removal in several:
            with removal:
                after.append(meters.test.measure())
        odds = [(one.log_odds - before.log_odds)[:, label] for one in after]
        found.removed_odds[name] = torch.stack(odds)
        found.removed_loss[name] = torch.stack([one.loss - before.loss for one in after])
    return found
