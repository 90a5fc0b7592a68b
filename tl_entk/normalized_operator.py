"""A flattened kernel centred over the examples, or of gradients scaled to one size, matrix-free."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_entk.adapters import adapt
from tl_entk.blocks import kernel_blocks
from tl_entk.guards import Position
from tl_entk.normalize import Normalisation
from tl_entk.operator import KernelOperator
from tl_entk.readouts import Readout
from tl_entk.sites import Components
from tl_entk.whitening import whitening


class NormalizedOperator:
    """(H x I) D^-1 K~ D^-1 (H x I), with what :class:`KernelOperator` offers the solver.

    H = 1 - 11^T / N takes the mean over the examples away, apart for each of the d numbers; D has
    an example's gradient norm for each of its d rows. Either may be left out.

    Args:
        operator: the plain kernel.
        norms: gradient norm of every example, from :func:`gradient_norms`; None for no scaling.
        centred: whether the mean is taken away.
        name: of the normalisation, for the provenance.
    """

    def __init__(
        self,
        operator: KernelOperator,
        norms: Float[Tensor, " n"] | None,
        *,
        centred: bool,
        name: str,
    ) -> None:
        self.shape, self.n, self.d = operator.shape, operator.n, operator.d
        self.dtype, self.device = operator.dtype, operator.device
        self.provenance: dict[str, Any] = {**operator.provenance, "normalisation": name}
        self._operator, self._centred = operator, centred
        self._inverse = None if norms is None else (1 / norms).to(self.device, self.dtype)

    def __matmul__(self, x: Float[Tensor, nd * b]) -> Float[Tensor, nd * b]:
        """The product with a vector (N d,) or a block of vectors (N d, b)."""
        blocks = x.reshape(self.n, self.d, -1).to(self.device, self.dtype)
        inside = self._scaled(self._without_mean(blocks)).reshape(x.shape)
        product = (self._operator @ inside).reshape(blocks.shape)
        return self._without_mean(self._scaled(product)).reshape(x.shape)

    def _scaled(self, blocks: Float[Tensor, "n d b"]) -> Float[Tensor, "n d b"]:
        return blocks if self._inverse is None else blocks * self._inverse[:, None, None]

    def _without_mean(self, blocks: Float[Tensor, "n d b"]) -> Float[Tensor, "n d b"]:
        return blocks - blocks.mean(0) if self._centred else blocks


def normalized_operator(
    operator: KernelOperator,
    normalisation: Normalisation,
    name: str,
    model: torch.nn.Module,
    tokens: Int[Tensor, "n t"],
    component: Components,
    *,
    position: Position = -1,
    memory_budget: int | None = None,
) -> NormalizedOperator:
    """The operator of all logits after a normalisation; gradient norms are computed if needed."""
    norms = None
    if normalisation.cosine:
        norms = gradient_norms(
            model, tokens, component, position=position, memory_budget=memory_budget
        )
    return NormalizedOperator(operator, norms, centred=normalisation.centred, name=name)


def gradient_norms(
    model: torch.nn.Module,
    tokens: Int[Tensor, "n t"],
    component: Components,
    *,
    position: Position = -1,
    memory_budget: int | None = None,
) -> Float[Tensor, " n"]:
    """Size of every example's gradient of all logits, sqrt(tr K~_nn), by d backward passes.

    Args:
        model: in evaluation mode.
        tokens: (n, t).
        component: as for :func:`kernel_operator`.
        position: where the logits are read.
        memory_budget: bytes.

    Raises:
        ValueError: if an example has no gradient, so that it cannot be scaled.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> norms = gradient_norms(model, data.tokens, "blocks.0.mlp.W_out")
        >>> trace = kernel_blocks(model, data.tokens, "class_trace", "blocks.0.mlp.W_out").total()
        >>> bool(torch.allclose(norms**2, 6 * trace.diagonal(), rtol=1e-3))
        True
    """
    root = whitening(adapt(model).unembedding).root
    readout = Readout(lambda hidden: hidden @ root.to(hidden), reads="final_hidden", name="logits")
    blocks = kernel_blocks(
        model, tokens, readout, component, position=position, memory_budget=memory_budget
    )
    norms = blocks.total().diagonal().clamp_min(0).sqrt()
    if bool((norms == 0).any()):
        row = int((norms == 0).nonzero()[0])
        raise ValueError(f"example {row} has a zero gradient: leave it out to normalise.")
    return norms
