"""What a label's tokens get: log-odds of the next token being one of them, and how far it moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_entk.model.last_logits import last_logits

# windows in a forward pass
_BATCH = 64


@dataclass(frozen=True, eq=False)
class Odds:
    """What a model says next after some windows.

    Attributes:
        log_odds: (n, f) of the next token being one of a label's.
        loss: (n,) minus log probability of the true next token.
        divergence: (n,) Kullback-Leibler divergence from the model as it was; zeros of itself.
    """

    log_odds: Float[Tensor, "n f"]
    loss: Float[Tensor, " n"]
    divergence: Float[Tensor, " n"]


@dataclass(frozen=True, eq=False)
class OddsMeter:
    """Measures :class:`Odds` of a model that may have been changed.

    Attributes:
        tokens: (n, t) windows.
        targets: (n,) the true next tokens.
        members: (d_vocab, f) whether a token is one of a label's.
        before: (n, d_vocab) log probabilities of the model as it was.
    """

    tokens: Int[Tensor, "n t"]
    targets: Int[Tensor, " n"]
    members: Float[Tensor, "d_vocab f"]
    before: Float[Tensor, "n d_vocab"]

    @classmethod
    def of(
        cls,
        model: torch.nn.Module,
        tokens: Int[Tensor, "n t"],
        targets: Int[Tensor, " n"],
        labels: Sequence[str],
        by_label: Mapping[str, Sequence[int]],
    ) -> OddsMeter:
        """A meter of windows, with the model as it is now to compare with.

        Args:
            model: as it was.
            tokens: windows.
            targets: the true next tokens.
            labels: whose tokens are looked at, in this order.
            by_label: the tokens of every label.
        """
        before = last_logits(model, tokens, _BATCH).float().log_softmax(1)
        members = torch.zeros(before.shape[1], len(labels), device=before.device)
        for column, label in enumerate(labels):
            members[list(by_label[label]), column] = 1
        return cls(tokens, targets.to(before.device), members, before)

    def measure(self, model: torch.nn.Module) -> Odds:
        """What the model says now."""
        parts = [
            self._measure_rows(model, slice(start, start + _BATCH))
            for start in range(0, len(self.tokens), _BATCH)
        ]
        return Odds(
            torch.cat([part.log_odds for part in parts]),
            torch.cat([part.loss for part in parts]),
            torch.cat([part.divergence for part in parts]),
        )

    def _measure_rows(self, model: torch.nn.Module, rows: slice) -> Odds:
        now = last_logits(model, self.tokens[rows], _BATCH).float().log_softmax(1)
        before = self.before[rows]
        loss = -now.gather(1, self.targets[rows, None])[:, 0]
        divergence = (before.exp() * (before - now)).sum(1)
        return Odds(label_log_odds(now, self.members).cpu(), loss.cpu(), divergence.cpu())


def label_log_odds(
    log_probabilities: Float[Tensor, "n d_vocab"], members: Float[Tensor, "d_vocab f"]
) -> Float[Tensor, "n f"]:
    """Log-odds of the next token being one of a label's, log(p / (1 - p)).

    Args:
        log_probabilities: of the next token.
        members: 1 where a token is one of a label's, else 0.

    Example:
        >>> p = torch.tensor([[0.2, 0.3, 0.5]])
        >>> members = torch.tensor([[1.0], [0.0], [1.0]])
        >>> bool((label_log_odds(p.log(), members).exp() - 0.7 / 0.3).abs() < 1e-5)
        True
    """
    p = log_probabilities.exp()
    # either sum by itself: one less the other loses the digits of what is small
    inside, outside = p @ members, p @ (1 - members)
    tiny = torch.finfo(p.dtype).tiny
    return inside.clamp_min(tiny).log() - outside.clamp_min(tiny).log()
