"""What a label's tokens get: log-odds of the next token being one of them, and how far it moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.readouts import LOGITS_READOUT
from tl_entk.model.task import Task
from tl_entk.operator.rerun import Rerun, prepare_rerun

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
        rerun: the model and its windows; reads their last logits.
        targets: (n,) the true next tokens.
        members: (d_vocab, f) whether a token is one of a label's.
        before: (n, d_vocab) log probabilities of the model as it was.
    """

    rerun: Rerun
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
        adapter = adapt_transformer(model)
        tokens = adapter.check_tokens(tokens)
        n, length = tokens.shape
        last = torch.full((n,), length - 1, device=tokens.device)
        task = Task(adapter, tokens, last, LOGITS_READOUT, length)
        rerun = prepare_rerun(task, 0, _BATCH)
        before = torch.cat([_log_probabilities(logits) for _, logits in rerun.outputs()])
        members = torch.zeros(before.shape[1], len(labels), device=before.device)
        for column, label in enumerate(labels):
            members[list(by_label[label]), column] = 1
        return cls(rerun, targets.to(before.device), members, before)

    def from_layer(self, layer: int) -> OddsMeter:
        """The same for changes of a layer or of later ones: those before are not run again.

        Args:
            layer: the first that is changed; 0 where the embeddings may be.
        """
        return replace(self, rerun=prepare_rerun(self.rerun.suffix.task, layer, _BATCH))

    def measure(self) -> Odds:
        """What the model says now."""
        parts = [self._measure(rows, logits) for rows, logits in self.rerun.outputs()]
        return Odds(
            torch.cat([part.log_odds for part in parts]),
            torch.cat([part.loss for part in parts]),
            torch.cat([part.divergence for part in parts]),
        )

    def _measure(self, rows: slice, logits: Float[Tensor, "b d_vocab"]) -> Odds:
        now, before = _log_probabilities(logits), self.before[rows]
        loss = -now.gather(1, self.targets[rows, None])[:, 0]
        divergence = (before.exp() * (before - now)).sum(1)
        return Odds(label_log_odds(now, self.members).cpu(), loss.cpu(), divergence.cpu())


def _log_probabilities(logits: Float[Tensor, "b d_vocab"]) -> Float[Tensor, "b d_vocab"]:
    return logits.float().log_softmax(1)


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
