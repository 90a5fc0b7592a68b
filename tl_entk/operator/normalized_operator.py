"""Flattened kernels centered over the examples, or of gradients of one size, matrix-free."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.kernel.blocks import kernel_blocks
from tl_entk.kernel.normalize import norms_of
from tl_entk.model.adapters import adapt
from tl_entk.model.checks import Position
from tl_entk.model.readouts import Readout
from tl_entk.model.request import read_request
from tl_entk.model.sites import TIED, UNEMBEDDING, Components
from tl_entk.operator.operator import KernelOperator
from tl_entk.operator.whitening import whitening
from tl_entk.tools.progress import Progress


class NormalizedOperator:
    """(H x I) D^-1 K~ D^-1 (H x I), with what :class:`KernelOperator` offers the solver.

    H = 1 - 11^T / N takes the mean over the examples away, apart for each of the d numbers; D has
    an example's gradient norm for each of its d rows. Either may be left out.

    Args:
        operator: the plain kernel.
        norms: gradient norm of every example, from :func:`gradient_norms`; None for no scaling.
        centered: whether the mean is taken away.
        name: of the normalization, for the provenance.
    """

    def __init__(
        self,
        operator: KernelOperator,
        norms: Float[Tensor, " n"] | None,
        *,
        centered: bool,
        name: str,
    ) -> None:
        self.shape, self.n, self.d = operator.shape, operator.n, operator.d
        self.dtype, self.device = operator.dtype, operator.device
        self.provenance: dict[str, Any] = {**operator.provenance, "normalization": name}
        self.identity = {**operator.identity, "normalization": name}
        self.exact = operator.exact
        self._operator, self._centered = operator, centered
        self._inverse = None if norms is None else (1 / norms).to(self.device, self.dtype)

    def __matmul__(self, x: Float[Tensor, "nd ..."]) -> Float[Tensor, "nd ..."]:
        """The product with a vector (N d,) or a block of vectors (N d, b)."""
        blocks = x.reshape(self.n, self.d, -1).to(self.device, self.dtype)
        inside = self._scaled(self._without_mean(blocks)).reshape(x.shape)
        product = (self._operator @ inside).reshape(blocks.shape)
        return self._without_mean(self._scaled(product)).reshape(x.shape)

    def _scaled(self, blocks: Float[Tensor, "n d b"]) -> Float[Tensor, "n d b"]:
        return blocks if self._inverse is None else blocks * self._inverse[:, None, None]

    def _without_mean(self, blocks: Float[Tensor, "n d b"]) -> Float[Tensor, "n d b"]:
        return blocks - blocks.mean(0) if self._centered else blocks


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
        >>> norms = gradient_norms(model, data.tokens, "blocks.0.mlp.W_out")
        >>> trace = kernel_blocks(model, data.tokens, "class_trace", "blocks.0.mlp.W_out").total()
        >>> bool(torch.allclose(norms**2, 6 * trace.diagonal(), rtol=1e-3))
        True
    """
    names = read_request(model, tokens, component, position, None).names
    after = sorted({UNEMBEDDING, "unembed.b_U", TIED}.intersection(names))
    if after:
        raise UserError(
            f"cosines of {', '.join(after)}: its gradient is the final hidden vector itself; "
            "leave it out of the components, or take another normalization."
        )
    root = whitening(adapt(model).unembedding).root
    readout = Readout(lambda hidden: hidden @ root.to(hidden), reads="final_hidden", name="logits")
    found = []
    with Progress("gradient norms", len(tokens), progress) as bar:
        for rows in _batches(len(tokens), batch_size):
            blocks = kernel_blocks(
                model,
                tokens[rows],
                readout,
                names,
                position=position if isinstance(position, int) else position[rows],
                memory_budget=memory_budget,
            )
            found.append(blocks.total().diagonal())
            bar.advance(len(rows))
    return norms_of(torch.cat(found))


def _batches(n: int, size: int) -> list[Int[Tensor, " b"]]:
    """Rows in batches; a kernel needs two, so that a last one alone joins those before it."""
    batches = list(torch.arange(n).split(size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches
