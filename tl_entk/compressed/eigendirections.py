"""Top eigendirections of the flattened kernels of many components, from a few backward passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from tl_entk.compressed.collect import compressed_jacobians
from tl_entk.compressed.cost import estimate_compressed
from tl_entk.compressed.output_space import OutputSpace, find_output_space
from tl_entk.compressed.work import (
    ERROR_OUTPUTS,
    CompressionWork,
    compress,
    read_work,
)
from tl_entk.directions.eigen import EigenDirections
from tl_entk.directions.solver import leading_eigenpairs
from tl_entk.kernel.gram import gram_diagonal
from tl_entk.linearization.jacobian import FlattenedKernel, Jacobian
from tl_entk.model.checks import Position
from tl_entk.model.origin import Origin
from tl_entk.model.provenance import position_label, provenance
from tl_entk.model.readouts import FINAL_HIDDEN, ReadoutLike
from tl_entk.model.sites import Components
from tl_entk.operator.top_directions import top_eigendirections
from tl_entk.tools.lead import on_all_ranks
from tl_entk.tools.matrix_products import fast_products
from tl_entk.tools.ranks import current_ranks
from tl_entk.tools.values import check_seed

# examples whose gradients' norms are taken at a time
_ROWS = 64


@on_all_ranks
def all_eigendirections(
    model: torch.nn.Module,
    tokens: Int[Tensor, "n t"],
    components: Sequence[str] | Mapping[str, Components],
    k: int = 25,
    *,
    outputs: int = 32,
    readout: ReadoutLike = FINAL_HIDDEN,
    position: Position = -1,
    tol: float = 1e-3,
    seed: int = 0,
    memory_budget: int | None = None,
    dtype: torch.dtype | None = None,
    progress: bool = False,
) -> dict[str, EigenDirections]:
    """Leading eigenpairs of the flattened kernel of each of many components, nearly.

    The kernels are compressed to a few directions of the outputs, the same for all: those along
    which the gradients of single examples are largest, found by random products. One backward pass
    for each of them gives the compressed kernels of all components, which are solved without the
    network, and lifted. The fewer are asked for at a time, the nearer their outputs. An eigenvalue
    is the Rayleigh quotient of its vector with the whole kernel, never above the exact
    one but for the rounding of the factors. Some exact eigenvalue lies within the residual of it;
    what the outputs kept miss altogether leaves no residual, but energy.

    Args:
        model: a HookedTransformer or a TransformerBridge, in evaluation mode. It comes back as it
            was.
        tokens: (n, t) token numbers; windows of one length without padding.
        components: names or globs, each a kernel of its own; or name to components as for
            :func:`kernel_operator`.
        k: pairs of each.
        outputs: directions of the outputs that kernels are compressed to. With as many as there
            are (the width of the model) the kernels are exact.
        readout: as for :func:`top_eigendirections`; by default all logits.
        position: where it is read.
        tol: residual, relative to the first eigenvalue, up to which a pair has converged.
        seed: of what is random.
        memory_budget: bytes (default 4 GiB; on a GPU 40 % of its memory). Where not all factors
            fit, the network is gone back through in stages.
        dtype: number format of the factors; default the model's, float32 for half precision.
        progress: show bars.

    Returns:
        Name to eigenpairs, largest first, as of :func:`top_eigendirections`; fewer than k where
        the compressed kernel has fewer. ``residuals`` are estimated from the part of the products
        along 8 random outputs, the same for all pairs: of relative standard error about 1/4 where
        a residual lies along one output, less along many. In the provenance
        ``outputs`` is how many were kept, and ``energy_left_out`` the share of the kernel's trace
        that lies outside them (estimated likewise). Components with the unembedding, whose kernels
        do not compress, are solved exactly.

    Raises:
        UserError: for input that cannot be meant, and factors of one weight that do not fit.

    Source: arXiv 2510.00468, section 2 (the kernels); the compression is this project's.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> found = all_eigendirections(model, data.tokens, ["blocks.0.mlp.*", "*W_Q"], k=4)
        >>> {name: tuple(eigen.scores.shape) for name, eigen in found.items()}
        {'blocks.0.mlp.*': (25, 4), '*W_Q': (25, 4)}
    """
    check_seed(seed)
    work = read_work(
        model, tokens, components, k, outputs, readout, position, tol, memory_budget, dtype
    )
    found = {}
    if work.wanted:
        with fast_products(work.task.inputs.device):
            if progress and current_ranks().first:
                print(f"{len(work.wanted)} kernels: {estimate_compressed(work)}")
            found = _solve_all(work, tol, seed, position_label(position), progress)
    for name in work.exact:
        found[name] = top_eigendirections(
            model, tokens, work.kernels[name], k, readout=readout, position=position, tol=tol,
            seed=seed, memory_budget=memory_budget, dtype=dtype, progress=progress,
        )  # fmt: skip
    origin = Origin(tokens, (), readout, position).of_model(model)
    return {
        name: found[name]
        if name in work.exact
        else replace(found[name], origin=replace(origin, components=tuple(work.wanted[name])))
        for name in work.kernels
    }


def _solve_all(
    work: CompressionWork, tol: float, seed: int, position: int | str, progress: bool
) -> dict[str, EigenDirections]:
    """Compress, solve and lift each kernel as soon as its factors are there."""
    task, root = work.task, work.root
    ranks = current_ranks()
    space = ranks.from_first(_find_space(work, seed) if ranks.first else None)
    assert space is not None
    about: dict[str, Any] = {
        "readout": "final_hidden, whitened by W_U" if root is not None else task.readout.name,
        "kernel_dtype": str(work.dtype),
        "outputs": space.leading.shape[1],
        "position": position,
        "seed": seed,
    }
    compressed = compress(task, torch.cat([space.leading, space.others], 1), root, work.dtype)
    found = {}
    for name, jacobian in compressed_jacobians(
        compressed,
        work.wanted,
        dtype=work.dtype,
        memory_budget=work.memory_budget,
        progress=progress,
    ):
        info = provenance(task, component=", ".join(work.wanted[name]), **about)
        eigen = _solve(jacobian, len(task), space, work.k, tol, seed)
        if root is not None:
            eigen = replace(eigen, space="final_hidden")
        found[name] = replace(eigen, provenance=info | {"tol": tol} | eigen.provenance)
        del jacobian  # its factors, before those of the next stage come
    return found


def _find_space(work: CompressionWork, seed: int) -> OutputSpace:
    return find_output_space(
        work.task,
        work.wanted,
        work.root,
        work.width,
        work.outputs,
        ERROR_OUTPUTS,
        products=work.products,
        examples=work.examples,
        seed=seed,
        dtype=work.dtype,
        memory_budget=work.memory_budget,
    )


def _solve(
    jacobian: Jacobian, n: int, space: OutputSpace, k: int, tol: float, seed: int
) -> EigenDirections:
    """Eigenpairs of the compressed kernel, lifted, with what the lift leaves out."""
    q, ranks = space.leading.shape[1], current_ranks()
    inside, outside = jacobian.outputs_between(0, q), jacobian.outputs_between(q, jacobian.outputs)
    kernel = FlattenedKernel(inside, n, ranks)
    pairs = min(k, n * q, inside.shape[1])
    if ranks.count == 1:
        eigen = inside.eigendecompose(pairs, tol=tol / 10, seed=seed)
    else:
        eigen = leading_eigenpairs(kernel, pairs, tol=tol / 10, seed=seed)
    vectors = eigen.vectors.reshape(n, q, -1)
    errors = eigen.residuals.square()
    first = eigen.eigenvalues[0].clamp_min(torch.finfo(torch.float64).tiny)
    energy, rest = _trace(inside), 0.0
    if outside.outputs:
        own = vectors[ranks.share(n)].to(jacobian.row_weights)
        images = [outside.apply(kernel.adjoint(v)) for v in own.unbind(2)]
        sizes = torch.stack([image.double().square().sum() for image in images])
        ranks.add_up(sizes)
        errors = errors + space.left_out * (sizes.cpu().sqrt() / first).square()
        rest = space.left_out * _trace(outside)
    residuals = errors.sqrt()
    lifted = torch.einsum("rq,nqk->nrk", space.leading.to(vectors), vectors)
    total = energy + rest
    return EigenDirections(
        eigen.eigenvalues,
        eigen.scores,
        lifted if space.total > 1 else lifted[:, 0],
        eigen.rank1_share,
        residuals,
        (residuals <= tol) & eigen.converged,
        {"energy_left_out": rest / total if total > 0 else 0.0},
        "outputs" if space.total > 1 else "examples",
    )


def _trace(jacobian: Jacobian) -> float:
    """Of J J^T, up to the cross terms of a parameter with two roles."""
    total = 0.0
    for rows in torch.arange(jacobian.n).split(_ROWS):
        chosen = slice(int(rows[0]), int(rows[-1]) + 1)
        total += sum(
            float(gram_diagonal(part.examples_between(chosen)).sum()) for part in jacobian.maps
        )
    found = torch.tensor(total * float(jacobian.row_weights[0, 0]) ** 2, dtype=torch.float64)
    found = found.to(jacobian.row_weights.device)
    current_ranks().add_up(found)
    return float(found)
