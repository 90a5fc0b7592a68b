"""Flattened kernels centered over the examples, or of gradients of one size, matrix-free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.directions.symmetric_operator import SymmetricOperator
from tl_entk.kernel.gradient_norms import squared_gradient_norms
from tl_entk.kernel.normalizations import check_normalization
from tl_entk.kernel.normalize import norms_of
from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.checks import Position
from tl_entk.model.memory import check_memory_budget
from tl_entk.model.readouts import Readout
from tl_entk.model.request import read_request
from tl_entk.model.sites import TIED, UNEMBEDDING, Components
from tl_entk.operator.whitening import whitening
from tl_entk.tools.arrays import Array, to_vector
from tl_entk.tools.lead import on_all_ranks
from tl_entk.tools.progress import Progress
from tl_entk.tools.values import check_at_least


class NormalizedOperator(SymmetricOperator):
    """(H x I) D^-1 K~ D^-1 (H x I) of an operator K~.

    H = 1 - 11^T / N takes the mean over the examples away, separately for each of the d numbers;
    D has an example's gradient norm for each of its d rows. Either may be left out.

    Args:
        operator: the plain kernel.
        norms: gradient norm of every example, from :func:`gradient_norms`; None for no scaling.
        centered: whether the mean is taken away.
        name: of the normalization, for the provenance.
    """

    def __init__(
        self,
        operator: SymmetricOperator,
        norms: Float[Tensor, " n"] | None,
        *,
        centered: bool,
        name: str,
    ) -> None:
        super().__init__(
            operator.n,
            operator.d,
            dtype=operator.dtype,
            device=operator.device,
            provenance={**operator.provenance, "normalization": name},
            identity={**operator.identity, "normalization": name},
            exact=operator.exact,
            space=operator.space,
            ranks=operator.ranks,
        )
        self._operator, self._centered = operator, centered
        self._inverse: Tensor | None = None
        if norms is not None:
            own = norms[self.ranks.share(self.n)]
            self._inverse = (1 / own).to(self.device, self.dtype)

    def _multiply(self, x: Float[Tensor, "n d b"]) -> Float[Tensor, "n d b"]:
        inside = self._scale(self._take_mean_away(x))
        product = self._operator.multiply_own(inside.flatten(0, 1))
        return self._take_mean_away(self._scale(product.reshape(x.shape)))

    def _scale(self, blocks: Float[Tensor, "n d b"]) -> Float[Tensor, "n d b"]:
        return blocks if self._inverse is None else blocks * self._inverse[:, None, None]

    def _take_mean_away(self, blocks: Float[Tensor, "n d b"]) -> Float[Tensor, "n d b"]:
        if not self._centered:
            return blocks
        total = blocks.sum(0)
        self.ranks.add_up(total)
        return blocks - total / self.n


def normalize_operator(
    operator: SymmetricOperator,
    normalization: str,
    norms: Array | None,
    measure_norms: Callable[[], Float[Tensor, " n"]],
) -> SymmetricOperator:
    """An operator after one of ``NORMALIZATIONS``.

    Args:
        operator: the plain kernel.
        normalization: its name; "plain" leaves the operator as it is.
        norms: gradient norm of every example, where they are at hand.
        measure_norms: computes them where a cosine needs them.

    Raises:
        UserError: for an unknown normalization, and norms that are not positive, one for each
            example.
    """
    wanted = check_normalization(normalization)
    if normalization == "plain":
        return operator
    sizes = None
    if wanted.cosine:
        sizes = measure_norms() if norms is None else _check_norms(norms, operator.n)
    return NormalizedOperator(operator, sizes, centered=wanted.centered, name=normalization)


def _check_norms(norms: Any, n: int) -> Float[Tensor, " n"]:
    """Norms of n examples' gradients.

    Raises:
        UserError: for another shape, and for one that is not positive.
    """
    found = to_vector(norms, "norms", "norm")
    if len(found) != n:
        raise UserError(f"norms of {len(found)} examples, the kernel has {n}: pass one each.")
    if not bool((found > 0).all()):
        bad = int((found <= 0).nonzero()[0])
        raise UserError(
            f"the norm of example {bad} is {float(found[bad]):g}: pass positive ones, as "
            "gradient_norms gives them."
        )
    return found


@on_all_ranks
def gradient_norms(
    model: torch.nn.Module,
    tokens: Int[Tensor, "n t"],
    component: Components,
    *,
    position: Position = -1,
    memory_budget: int | None = None,
    batch_size: int = 16,
    progress: bool = False,
) -> Float[Tensor, " n"]:
    """Size of every example's gradient of all logits, sqrt(tr K~_nn), exactly: d backward passes.

    Args:
        model: in evaluation mode.
        tokens: (n, t).
        component: as for :func:`kernel_operator`, but for the unembedding.
        position: where the logits are read: an integer, or one per example.
        memory_budget: bytes.
        batch_size: examples at a time.
        progress: show a bar.

    Raises:
        UserError: if an example has no gradient, so that it cannot be scaled, or the component
            holds the unembedding, whose gradient is the final hidden vector.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> from tl_entk.kernel.blocks import kernel_blocks
        >>> norms = gradient_norms(model, data.tokens, "blocks.0.mlp.W_out")
        >>> trace = kernel_blocks(model, data.tokens, "class_trace", "blocks.0.mlp.W_out").total()
        >>> bool(torch.allclose(norms**2, 6 * trace.diagonal(), rtol=1e-3))
        True
    """
    check_at_least("batch_size", batch_size)
    adapter = adapt_transformer(model)
    root = whitening(adapter.unembedding).root
    readout = Readout(lambda hidden: hidden @ root.to(hidden), reads="final_hidden", name="logits")
    request = read_request(adapter, tokens, component, readout, position=position)
    after = sorted({UNEMBEDDING, "unembed.b_U", TIED}.intersection(request.names))
    if after:
        raise UserError(
            f"cosines of {', '.join(after)}: its gradient is the final hidden vector itself; "
            "leave it out of the components, or take another normalization."
        )
    with Progress("gradient norms", len(request.task), progress) as bar:
        squares = squared_gradient_norms(
            request,
            batch_size=batch_size,
            memory_budget=check_memory_budget(memory_budget, adapter.device),
            advance=bar.advance,
        )
    return norms_of(squares)
