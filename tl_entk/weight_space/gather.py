r"""From eigenvectors to directions of the weights, u_i = J^T v_i / sqrt(lambda_i).

v_i is an eigenvector of J J^T, so that J u_i = sqrt(lambda_i) v_i: a step along u_i changes what is
read of window n by sqrt(lambda_i) v_i[n], and along the others' not at all. Of a kernel of cosines
J has rows of norm 1.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.directions.eigen import EigenDirections
from tl_entk.model.adapters import TransformerAdapter, adapt_transformer
from tl_entk.model.capture import frozen
from tl_entk.model.checks import Position
from tl_entk.model.factors import measure_uses
from tl_entk.model.memory import check_memory_budget
from tl_entk.model.origin import Origin
from tl_entk.model.readouts import FINAL_HIDDEN, ReadoutLike, Targets
from tl_entk.model.request import read_request
from tl_entk.model.sites import Components, select
from tl_entk.operator.build import check_readout
from tl_entk.tools.matrix_products import fast_products
from tl_entk.tools.progress import Progress
from tl_entk.tools.values import check_kind
from tl_entk.weight_space.directions import WeightDirections
from tl_entk.weight_space.layout import name_components
from tl_entk.weight_space.passes import gather, take_apart
from tl_entk.weight_space.work import (
    ScoreWork,
    batch_size,
    first_row,
    read_work,
    split_directions,
)

# how far |J^T v|^2 may be from the eigenvalue, relative to it
_TOLERANCE = 0.05

FOR_OWN_MODULES = (
    "J = tl_entk.jacobian(model, inputs), and J.adjoint(v) / lambda ** 0.5 of its eigendirections."
)


def weight_directions(
    eigen: EigenDirections,
    model: Any = None,
    *,
    tokens: Int[Tensor, "n t"] | None = None,
    components: Components = None,
    readout: ReadoutLike = FINAL_HIDDEN,
    position: Position = -1,
    targets: Targets = None,
    class_slice: slice | None = None,
    normalization: str = "plain",
    each_component: bool = False,
    memory_budget: int | None = None,
    progress: bool = False,
) -> WeightDirections:
    r"""The counterparts of eigendirections in the weights.

    .. math:: u_i = J^T v_i / \sqrt{\lambda_i}

    has norm 1 over all components together, and those of several eigenvectors are orthogonal. Of a
    plain kernel, a small step along it changes the readout of window n by
    :math:`\sqrt{\lambda_i} v_i[n]`; of a centered one, by that and the same for all windows. Of
    cosines, the rows of J have norm 1, and what a step changes is J u of the gradients as they are
    (:func:`tl_entk.nudge_response`).

    Args:
        eigen: directions. Those of ``top_eigendirections``, ``all_eigendirections``,
            ``default_directions`` and ``eigendecompose(blocks)`` know what they are of; of others
            say it by the arguments below.
        model: the one that they are of; where it is still there, it need not be passed.
        tokens: (n, t) windows that they are of.
        components: weights that the kernel is of.
        readout: as they were made.
        position: as they were made.
        targets: as they were made.
        class_slice: as they were made.
        normalization: of the kernel.
        each_component: each component's kernel was normalized before it was added.
        memory_budget: bytes (default 4 GiB, on a GPU 40 % of its memory); the directions come on
            top, k times the size of the weights.
        progress: show a bar.

    Returns:
        The directions: ``u[i]["blocks.0.mlp.W_out"]``, ``u.project(model, other_tokens)``.

    Raises:
        UserError: for directions that do not know what they are of, or are of something else,
            or are told a part of it without the windows; of an embedding that is the unembedding
            too, of W_U where the final hidden vector is read, and of a readout that has several
            outputs in one row of the kernel (class traces).

    Source: arXiv 2510.00468, section 2 (J); the singular value decomposition of J.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> from tl_entk.operator.top_directions import top_eigendirections
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> eigen = top_eigendirections(model, data.tokens, "blocks.0.mlp.W_out", k=2, tol=1e-6)
        >>> u = weight_directions(eigen)
        >>> u[0]["blocks.0.mlp.W_out"].shape == model.W_out[0].shape
        True
        >>> scores = u.project(model, data.tokens[:3])
        >>> bool((scores - eigen.scores[:3]).abs().max() < 1e-4)
        True
    """
    check_kind("eigen", eigen, EigenDirections, "EigenDirections")
    if tokens is None:
        told = any(one is not None for one in (components, targets, class_slice))
        told |= isinstance(position, Tensor) or position != -1
        told |= (readout, normalization, each_component) != (FINAL_HIDDEN, "plain", False)
        origin = _known_origin(eigen, told)
        adapter = adapt_transformer(origin.find_model(model), FOR_OWN_MODULES)
    else:
        check_kind("model", model, torch.nn.Module, "the model that the directions are of")
        adapter = adapt_transformer(model, FOR_OWN_MODULES)
        names = select(adapter.component_names, adapter.default_components, components)
        origin = Origin(
            tokens, tuple(names), readout, position, targets, class_slice, normalization,
            each_component,
        )  # fmt: skip
    return _gather_all(adapter, eigen, origin, memory_budget, progress)


def _known_origin(eigen: EigenDirections, told: bool) -> Origin:
    """What directions are of.

    Raises:
        UserError: if they do not know, or do and are told something all the same.
    """
    if eigen.origin is None:
        raise UserError(
            "the directions do not know what they are of (they come from a file, or of a bare "
            "matrix): pass model, tokens=, components= and readout= as they were made, or make "
            "them by eigendecompose(blocks, components=...) or top_eigendirections."
        )
    if told:
        raise UserError(
            "the directions know what they are of: pass tokens= too to say it anew, or leave "
            "components, readout, position, targets, class_slice and normalization out."
        )
    return eigen.origin


def _gather_all(
    adapter: TransformerAdapter,
    eigen: EigenDirections,
    origin: Origin,
    memory_budget: int | None,
    progress: bool,
) -> WeightDirections:
    """J^T v of every direction, as many at a time as there is room for."""
    readout = origin.readout
    request = read_request(
        adapter,
        origin.tokens,
        list(origin.components),
        check_readout(readout) if readout == FINAL_HIDDEN else readout,
        position=origin.position,
        targets=origin.targets,
        class_slice=origin.class_slice,
    )
    task, normalization = request.task, origin.normalization
    work, vectors = read_work(adapter, request, eigen, normalization, origin.each_component)
    budget = check_memory_budget(memory_budget, adapter.device)
    groups, n = split_directions(work, budget), len(task)
    parts: list[dict[str, Tensor]] = []
    offset = torch.zeros_like(work.over)
    with (
        frozen(adapter.model),
        torch.enable_grad(),
        fast_products(task.inputs.device),
        Progress("weight directions", n * len(groups) * (1 + work.centered), progress) as bar,
    ):
        _check_one_output(work)
        first = first_row(work)
        for chosen in groups:
            group = work.take(chosen)
            batch = batch_size(group, budget)
            found = gather(group, vectors[..., chosen], batch, bar.advance)
            if work.centered:
                values, rest = take_apart(group, found, torch.arange(n), batch, bar.advance)
                offset[chosen] = -(values.sum(1) + rest).mean(0).to(offset)
            sites = [site for site, _ in work.sites]
            parts.append(name_components(sites, work.names, found, first))
    whole = {name: torch.cat([part[name] for part in parts]) for name in work.names}
    sizes = work.over.sqrt()
    _check_sizes(whole, work.over)
    return WeightDirections(
        {name: _divide(part, sizes) for name, part in whole.items()},
        eigen.eigenvalues.to(sizes),
        sizes,
        readout,
        work.output,
        offset,
        None if isinstance(origin.position, Tensor) else int(origin.position),
        origin.class_slice,
        normalization,
        origin.each_component,
        eigen.provenance,
    )


def _divide(part: Float[Tensor, "k ..."], by: Float[Tensor, " k"]) -> Float[Tensor, "k ..."]:
    return part / by.reshape(-1, *[1] * (part.ndim - 1))


def _check_one_output(work: ScoreWork) -> None:
    """Refuse kernels that are sums over outputs, whose rows have a gradient for each.

    Raises:
        UserError: says what to take instead.
    """
    outputs = measure_uses(work.task, ())[1]
    if outputs > 1 and not work.flattened:
        raise UserError(
            f"readout {work.task.readout.name!r} has {outputs} outputs in one row of the kernel, "
            "so a direction has a change of the weights for each: take a readout of one number, or "
            "the flattened kernel (top_eigendirections)."
        )


def _check_sizes(weights: dict[str, Tensor], over: Float[Tensor, " k"]) -> None:
    """Refuse vectors that are no eigenvectors of what was gathered: |J^T v|^2 is the eigenvalue.

    Raises:
        UserError: says what may differ.
    """
    squares = torch.zeros_like(over)
    for part in weights.values():
        squares += part.flatten(1).square().sum(1)
    off = (squares / over - 1).abs()
    if bool((off > _TOLERANCE).any()):
        worst = int(off.argmax())
        raise UserError(
            f"direction {worst} is no eigendirection of these weights: |J^T v|^2 is "
            f"{float(squares[worst]):.4g}, the eigenvalue {float(over[worst]):.4g}. Has the model "
            "changed since? Are tokens, components, readout, position and normalization the same?"
        )
