"""What each position of a window contributes to a direction's score, exactly.

An eigenvector v of a kernel J J^T is a direction of the weights too, u = J^T v. The score of window
n is J_n u over the eigenvalue, and the gradient J_n of a weight is a sum over the positions where
it is used; so the score is a sum over positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.directions.eigen import EigenDirections
from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.capture import frozen
from tl_entk.model.checks import Position
from tl_entk.model.memory import check_memory_budget
from tl_entk.model.readouts import FINAL_HIDDEN, ReadoutLike
from tl_entk.model.request import read_request
from tl_entk.model.sites import Components
from tl_entk.operator.build import check_readout
from tl_entk.tools.indices import is_index_tensor
from tl_entk.tools.matrix_products import fast_products
from tl_entk.tools.progress import Progress
from tl_entk.tools.values import check_kind, check_place
from tl_entk.weight_space.passes import gather, take_apart
from tl_entk.weight_space.work import batch_size, read_work, split_directions


@dataclass(frozen=True, eq=False)
class PositionContributions:
    """Scores of windows taken apart.

    Attributes:
        values: (b, t, k), what each position contributes.
        elsewhere: (b, k), what weights contribute whose use has no position of its own: biases,
            norms and position embeddings.
        offset: (k,), what is added to all windows alike: of a centered kernel, less the mean.
    """

    values: Float[Tensor, "b t k"]
    elsewhere: Float[Tensor, "b k"]
    offset: Float[Tensor, " k"]

    @property
    def scores(self) -> Float[Tensor, "b k"]:
        """The scores that they add up to."""
        return self.values.sum(1) + self.elsewhere + self.offset


def position_contributions(
    model: Any,
    tokens: Int[Tensor, "n t"],
    components: Components,
    eigen: EigenDirections,
    *,
    readout: ReadoutLike = FINAL_HIDDEN,
    position: Position = -1,
    normalization: str = "plain",
    each_component: bool = False,
    rows: Int[Tensor, " b"] | None = None,
    memory_budget: int | None = None,
    progress: bool = False,
) -> PositionContributions:
    """Take the scores of windows apart by position.

    Args:
        model: the one that the directions are of.
        tokens: (n, t) windows that the directions are of.
        components: weights that the kernel is of.
        eigen: directions of their kernel, with this readout.
        readout: as the directions were made: "final_hidden" for those of all logits, a readout of
            one number, or class traces.
        position: as they were made.
        normalization: of the kernel, as they were made.
        each_component: every component's kernel was normalized before it was added.
        rows: windows whose scores are taken apart; default all.
        memory_budget: bytes (default 4 GiB, on a GPU 40 % of its memory).
        progress: show a bar.

    Raises:
        UserError: for directions of other windows or of another readout, rows that there are not,
            and for components that this does not hold for.

    Source: this project; for u see arXiv 2510.00468, section 2.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> from tl_entk.operator.top_directions import top_eigendirections
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> eigen = top_eigendirections(model, data.tokens, "blocks.0.attn.W_V", 2, tol=1e-6)
        >>> parts = position_contributions(model, data.tokens, "blocks.0.attn.W_V", eigen)
        >>> tuple(parts.values.shape), bool((parts.scores - eigen.scores).abs().max() < 1e-4)
        ((25, 3, 2), True)
    """
    check_kind("eigen", eigen, EigenDirections, "EigenDirections")
    adapter = adapt_transformer(model)
    read = check_readout(readout) if readout == FINAL_HIDDEN else readout
    request = read_request(adapter, tokens, components, read, position=position)
    work, vectors = read_work(adapter, request, eigen, normalization, each_component)
    everything = torch.arange(len(tokens))
    chosen = everything if rows is None else _check_rows(rows, len(tokens))
    # of a centered kernel, the mean over all windows is needed too
    visited = everything if work.centered else chosen
    budget = check_memory_budget(memory_budget, adapter.device)
    groups = split_directions(work, budget)
    total = len(groups) * (len(tokens) + len(visited))
    found = []
    with (
        frozen(adapter.model),
        torch.enable_grad(),
        fast_products(request.task.inputs.device),
        Progress("token contributions", total, progress) as bar,
    ):
        for chosen_directions in groups:
            group = work.take(chosen_directions)
            batch = batch_size(group, budget)
            weights = gather(group, vectors[..., chosen_directions], batch, bar.advance)
            found.append(take_apart(group, weights, visited, batch, bar.advance))
    values = torch.cat([values for values, _ in found], 2)
    elsewhere = torch.cat([elsewhere for _, elsewhere in found], 1)
    offset = torch.zeros_like(elsewhere[0])
    if work.centered:
        offset = -(values.sum(1) + elsewhere).mean(0)
        values, elsewhere = values[chosen], elsewhere[chosen]
    return PositionContributions(values, elsewhere, offset)


def _check_rows(rows: Any, n: int) -> Int[Tensor, " b"]:
    """Places among n windows.

    Raises:
        UserError: for something else, or none.
    """
    if not is_index_tensor(rows) or rows.ndim != 1:
        raise UserError("rows is no tensor of integers: pass places of windows, (b,).")
    if len(rows) == 0:
        raise UserError("rows is empty: pass one place or more, or leave it out for all windows.")
    for row in rows.tolist():
        check_place("row", row, n)
    return rows
