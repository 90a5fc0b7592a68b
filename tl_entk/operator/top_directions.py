"""Top eigendirections of a component's kernel, from the model in one call."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.directions.checkpoint import check_resume
from tl_entk.directions.eigen import EigenDirections
from tl_entk.directions.solver import check_request, leading_eigenpairs, least_columns
from tl_entk.kernel.normalizations import check_normalization
from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.checks import Position
from tl_entk.model.memory import check_memory_budget
from tl_entk.model.origin import Origin
from tl_entk.model.readouts import FINAL_HIDDEN, ReadoutLike
from tl_entk.model.sites import Components
from tl_entk.operator.build import FOR_OWN_MODULES, kernel_operator
from tl_entk.operator.normalized_operator import gradient_norms, normalize_operator
from tl_entk.operator.operator import KernelOperator
from tl_entk.operator.precision import Precision
from tl_entk.tools.arrays import Array
from tl_entk.tools.lead import on_all_ranks
from tl_entk.tools.ranks import current_ranks
from tl_entk.tools.values import check_kind


@on_all_ranks
def top_eigendirections(
    model: torch.nn.Module,
    tokens: Int[Tensor, "n t"],
    component: Components,
    k: int = 25,
    *,
    readout: ReadoutLike = FINAL_HIDDEN,
    normalization: str = "plain",
    norms: Array | None = None,
    tol: float = 1e-3,
    seed: int = 0,
    resume: str | Path | None = None,
    start: EigenDirections | None = None,
    position: Position = -1,
    block_size: int | None = None,
    max_products: int | None = None,
    memory_budget: int | None = None,
    dtype: torch.dtype | None = None,
    precision: Precision = "full",
    progress: bool = False,
) -> EigenDirections:
    """The k largest eigenpairs of a component's matrix-free kernel.

    Args:
        model: a HookedTransformer (TransformerLens 3.9) or a TransformerBridge (3.9, 4.x), in
            evaluation mode. It comes back as it was.
        tokens: (n, t) token numbers; windows of one length without padding.
        component: as for :func:`kernel_operator`, for example ``"blocks.16.mlp.W_out"``.
        k: how many pairs.
        readout: as for :func:`kernel_operator`; by default all logits, in the whitened space of
            the final hidden vector.
        normalization: ``"plain"``; of the kernel of all logits also ``"centered"`` (over the
            examples), ``"cosine"`` (every example's gradient scaled to norm 1; as many backward
            passes more as the model is wide, which the estimate does not count) and
            ``"cosine+centered"``.
        norms: of the examples' gradients, from :func:`tl_entk.gradient_norms`,
            where they are at hand; default computed for the cosines.
        tol: residual, relative to the first eigenvalue, up to which a pair has converged; it must
            be below 10 tol of its own eigenvalue too.
        seed: of the solver's random start.
        resume: file for checkpoints; the run goes on from it if it is there.
        start: directions of the same kernel that are nearly right, from
            :func:`tl_entk.all_eigendirections`: the solver begins with a mixture of them, which
            saves a few products.
        position: where the readout is read.
        block_size: vectors multiplied at a time; by default one, or what is fastest by a short
            measurement where the forward pass does not fit and is run again for every product.
        max_products: give up after so many vectors, with a warning.
        memory_budget: bytes, of which a quarter is for the solver's basis (default 4 GiB; on
            a GPU 40 % of its memory).
        dtype: number format of the vectors.
        precision: of the network's matrix products.
        progress: print the estimate before the run, and show a bar with residuals.

    Returns:
        Eigenvalues, largest first; ``vectors`` (N, d, k); ``scores`` (N, k), one signed number
        per example: the leading left singular vector of a direction's N x d matrix times its
        singular value, with ``rank1_share`` the share of the norm that it holds. With
        ``progress``, the estimate is in ``provenance["estimate"]``.

    Raises:
        UserError: for input that cannot be meant; the message says what to do.
        OSError: if ``resume`` cannot be written to, before the model is run.

    Source: arXiv 2510.00468, section 2 and the language-model experiment.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> eigen = top_eigendirections(model, data.tokens, "blocks.0.mlp.W_out", k=4)
        >>> eigen.scores.shape, bool(eigen.converged.all())
        (torch.Size([25, 4]), True)
    """
    _check_options(readout, normalization, norms, start)
    check_resume(resume, current_ranks())
    budget = check_memory_budget(memory_budget, adapt_transformer(model, FOR_OWN_MODULES).device)
    basis_budget = budget // 4
    common: dict[str, Any] = dict(position=position, memory_budget=budget - basis_budget)
    measure_norms = partial(gradient_norms, model, tokens, component, progress=progress, **common)
    operator = kernel_operator(
        model, tokens, component, readout=readout, dtype=dtype, precision=precision, **common
    )
    block = 1 if block_size is None else block_size
    check_request(operator.shape[0], k, tol, block, max_products, seed)
    if block_size is None:
        block_size = _block_size_that_fits(operator, k, basis_budget)
    about = {}
    if progress and operator.ranks.first:
        estimate = operator.estimate(k, block_size=block_size)
        about["estimate"] = asdict(estimate)
        print(f"{operator.provenance['component']}: {estimate}")
    kernel = normalize_operator(operator, normalization, norms, measure_norms)
    operator.prepare(progress)
    eigen = leading_eigenpairs(
        kernel,
        k,
        tol=tol,
        seed=seed,
        block_size=block_size,
        max_products=max_products,
        basis_budget=basis_budget,
        resume=resume,
        start=None if start is None else _start_vectors(start, operator),
        progress=progress,
    )
    origin = Origin(
        tokens, tuple(operator.components), readout, position, normalization=normalization
    )
    return replace(eigen, provenance=eigen.provenance | about, origin=origin.of_model(model))


def _check_options(readout: ReadoutLike, normalization: str, norms: Any, start: Any) -> None:
    """Refuse options that do not go together.

    Raises:
        UserError: says which.
    """
    cosine = check_normalization(normalization).cosine
    if norms is not None and not cosine:
        raise UserError(
            "norms are used by cosines: leave them out, or pass normalization='cosine' or "
            "'cosine+centered'."
        )
    if normalization != "plain" and readout != FINAL_HIDDEN:
        raise UserError(
            f"normalization {normalization!r} is for the kernel of all logits: leave readout out, "
            "or normalize the dense kernel of kernel_blocks."
        )
    check_kind("start", start, (EigenDirections, type(None)), "EigenDirections")


def _start_vectors(start: EigenDirections, operator: KernelOperator) -> Float[Tensor, "rows m"]:
    """The vectors as columns of the kernel's rows.

    Raises:
        UserError: if they are of another kernel's shape.
    """
    flat = start.vectors.reshape(-1, start.vectors.shape[-1])
    if start.space != operator.space or len(flat) != operator.shape[0]:
        raise UserError(
            f"start has {len(flat)} rows of {start.space!r}, the kernel {operator.shape[0]} of "
            f"{operator.space!r}: pass directions of the same windows and readout."
        )
    return flat


def _block_size_that_fits(operator: KernelOperator, k: int, basis_budget: int) -> int:
    """The operator's own choice, or single vectors where a basis of such blocks does not fit."""
    block_size = min(operator.default_block_size(k), operator.shape[0])
    columns = basis_budget // (2 * operator.shape[0] * operator.dtype.itemsize)
    return block_size if columns >= least_columns(k, block_size) else 1
