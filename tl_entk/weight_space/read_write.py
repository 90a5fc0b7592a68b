"""What a direction of a weight reads and writes: its singular vectors, as tokens, neurons, heads.

A direction u = sum_p s_p a_p b_p^T of a weight y = x W reads x along a_p and writes b_p. In the
residual stream a vector is told by tokens: what is read by the embeddings nearest to it, what is
written by the logits that it raises. Between, there are layers, so that this is a first look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.display import Shown
from feature_sets.errors import UserError
from tl_entk.model.adapters import TransformerAdapter, adapt_transformer
from tl_entk.model.sites import EMBEDDING
from tl_entk.tools.values import check_at_least, check_kind, check_place
from tl_entk.weight_space.directions import WeightDirection

Space = Literal["tokens", "positions", "residual", "neurons", "head"]
# what a weight's input and output are
_SPACES: dict[str, tuple[Space, Space]] = {
    "W_E": ("tokens", "residual"),
    "W_pos": ("positions", "residual"),
    "W_Q": ("residual", "head"),
    "W_K": ("residual", "head"),
    "W_V": ("residual", "head"),
    "W_O": ("head", "residual"),
    "W_in": ("residual", "neurons"),
    "W_gate": ("residual", "neurons"),
    "W_out": ("neurons", "residual"),
    "W_U": ("residual", "tokens"),
}


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a pair of singular vectors.

    Attributes:
        space: what its entries are; of "residual" the numbers below are those of tokens.
        vector: (d,) of norm 1.
        highest: numbers of the tokens, neurons or positions that have most of it, and how much.
        lowest: the same at the other end.
    """

    space: Space
    vector: Float[Tensor, " d"]
    highest: tuple[tuple[int, float], ...]
    lowest: tuple[tuple[int, float], ...]


@dataclass(frozen=True, eq=False, repr=False)
class ReadsAndWrites(Shown):
    """One pair of singular vectors of a direction's part in one weight.

    Attributes:
        component: the weight.
        head: that the pair is of; None for a weight without heads.
        head_shares: (h,) of every head in the squared norm; empty without heads.
        singular_values: (r,) of that head or weight.
        pair: which of them.
        reads: its left vector, in what comes in.
        writes: its right one, in what goes out.
    """

    component: str
    head: int | None
    head_shares: Float[Tensor, " h"]
    singular_values: Float[Tensor, " r"]
    pair: int
    reads: Side
    writes: Side

    @property
    def share(self) -> float:
        """Of the pair in the squared norm of its head or weight."""
        squares = self.singular_values.square()
        return float(squares[self.pair] / squares.sum().clamp_min(1e-300))

    def _lines(self) -> list[str]:
        where = self.component if self.head is None else f"{self.component}, head {self.head}"
        sides = [
            f"{what} {side.space}: {', '.join(str(number) for number, _ in side.highest)}"
            for what, side in (("reads", self.reads), ("writes", self.writes))
        ]
        return [f"{where}: pair {self.pair} has {self.share:.2f} of the squared norm", *sides]

    def to_pandas(self) -> Any:
        """A row per number at either end of either side."""
        import pandas as pd

        rows = [
            {"side": what, "space": side.space, "end": end, "number": number, "weight": weight}
            for what, side in (("reads", self.reads), ("writes", self.writes))
            for end, several in (("highest", side.highest), ("lowest", side.lowest))
            for number, weight in several
        ]
        return pd.DataFrame(rows)


def reads_and_writes(
    model: Any,
    direction: WeightDirection,
    component: str | None = None,
    *,
    pair: int = 0,
    head: int | None = None,
    count: int = 10,
) -> ReadsAndWrites:
    """The tokens, neurons or heads between which a direction changes a weight.

    Args:
        model: that it is of.
        direction: of the weights.
        component: which of its weights; default the one that has most of it.
        pair: of singular vectors, the largest first.
        head: whose; default the one that has most of it.
        count: numbers at either end.

    Returns:
        Singular values, and both sides of the pair; the largest entry of what is read is positive.

    Raises:
        UserError: for a weight that is no matrix, and a component, pair or head that there is not.

    Source: this project; tokens of what is written as by the logit lens.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> from tl_entk.directions.default import default_directions
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> u = default_directions(model, data.tokens, k=2).weight_direction(0)
        >>> found = reads_and_writes(model, u, count=2)
        >>> found.component, found.reads.space, len(found.writes.highest)
        ('blocks.0.mlp.W_out', 'neurons', 2)
    """
    adapter = adapt_transformer(model)
    check_kind("direction", direction, WeightDirection, "eigen.weight_direction(i)")
    check_at_least("count", count)
    if component is None:
        component = max(direction.shares, key=lambda name: direction.shares[name])
    part = direction[component].double().cpu()
    spaces = _SPACES.get(component.split("[")[0].rpartition(".")[2])
    if part.ndim < 2 or spaces is None:
        raise UserError(f"{component} is no matrix: it reads and writes number by number.")
    shares = torch.zeros(0, dtype=torch.float64)
    if part.ndim == 3:
        shares = part.square().sum((1, 2))
        shares = shares / shares.sum().clamp_min(1e-300)
        head = int(shares.argmax()) if head is None else head
        check_place("head", head, len(part))
        part = part[head]
    elif head is not None:
        raise UserError(f"{component} has no axis of heads: leave head out.")
    left, values, right = torch.linalg.svd(part, full_matrices=False)
    check_place("pair", pair, len(values))
    a, b = left[:, pair], right[pair]
    sign = 1.0 if a[a.abs().argmax()] >= 0 else -1.0
    return ReadsAndWrites(
        component,
        head,
        shares,
        values,
        pair,
        _side(adapter, spaces[0], sign * a, count, written=False),
        _side(adapter, spaces[1], sign * b, count, written=True),
    )


def _side(
    adapter: TransformerAdapter, space: Space, vector: Tensor, count: int, *, written: bool
) -> Side:
    """The numbers at either end of a vector; of the residual stream those of tokens."""
    entries = vector
    if space == "residual":
        entries = _tokens_written(adapter, vector) if written else _tokens_read(adapter, vector)
    most = min(count, len(entries))

    def ends(largest: bool) -> tuple[tuple[int, float], ...]:
        found = entries.topk(most, largest=largest)
        return tuple(zip(found.indices.tolist(), found.values.tolist(), strict=True))

    return Side(space, vector, ends(True), ends(False))


def _tokens_read(
    adapter: TransformerAdapter, vector: Float[Tensor, " d"]
) -> Float[Tensor, " d_vocab"]:
    """Cosines of the embeddings with a vector."""
    rows = adapter.by_name[EMBEDDING].parameter.detach().cpu().double()
    return (rows @ vector) / rows.norm(dim=1).clamp_min(1e-12)


def _tokens_written(
    adapter: TransformerAdapter, vector: Float[Tensor, " d"]
) -> Float[Tensor, " d_vocab_out"]:
    """Logits that a vector raises, less their mean."""
    logits = vector @ adapter.unembedding.cpu().double()
    return logits - logits.mean()
