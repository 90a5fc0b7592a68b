"""Scores of windows that a kernel's directions were not found on.

The score of a window n is its gradient's product with the weights' direction, J_n u over
sqrt(lambda): the Nystroem extension K(n, old) v / lambda without the old windows.
"""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.directions.eigen import EigenDirections
from tl_entk.kernel.normalize import check_normalization
from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.capture import frozen
from tl_entk.model.checks import Position, check_model, check_position
from tl_entk.model.memory import check_memory_budget, examples_per_pass
from tl_entk.model.readouts import FINAL_HIDDEN, FINAL_HIDDEN_READOUT, Targets, bind_readout
from tl_entk.model.tables import check_positions
from tl_entk.model.task import Task
from tl_entk.tools.matrix_products import fast_products
from tl_entk.tools.progress import Progress
from tl_entk.tools.values import check_kind
from tl_entk.weight_space.directions import WeightDirections
from tl_entk.weight_space.gather import FOR_OWN_MODULES, weight_directions
from tl_entk.weight_space.layout import in_site, weight_of
from tl_entk.weight_space.passes import take_apart
from tl_entk.weight_space.tangent import Tangent
from tl_entk.weight_space.work import ScoreWork, batch_size, find_sites, first_row

Everywhere = Literal["all"]
# how a network refuses forward-mode derivatives
_REFUSALS = (RuntimeError, NotImplementedError)
# the counterparts of directions that were projected on before, as long as those are there
_FOUND: weakref.WeakKeyDictionary[EigenDirections, WeightDirections] = weakref.WeakKeyDictionary()


def project(
    directions: EigenDirections | WeightDirections,
    model: Any,
    tokens: Int[Tensor, "n t"],
    *,
    position: Position | Everywhere | None = None,
    targets: Targets = None,
    memory_budget: int | None = None,
    progress: bool = False,
) -> Float[Tensor, "n k"] | Float[Tensor, "n t k"]:
    r"""Scores of any windows along eigendirections, without the windows those were found on.

    .. math:: s_i(x) = J(x) u_i / \sqrt{\lambda_i} = K(x, X) v_i / \lambda_i

    On the windows X of the directions these are their own scores.

    Args:
        directions: eigendirections that know what they are of, or their counterparts in the
            weights, :func:`weight_directions`. Of the former, those are computed at the first
            call, and kept as long as the eigendirections are.
        model: whose gradients are taken.
        tokens: (n, t) windows of any length, one or more.
        position: where windows are read; default as the directions were made; "all" for every
            position.
        targets: (n,) classes of target readouts; default the model's own top token.
        memory_budget: bytes (default 4 GiB, on a GPU 40 % of its memory).
        progress: show a bar.

    Returns:
        (n, k) scores, or (n, t, k) at every position.

    Raises:
        UserError: for a model, tokens or a position that cannot be meant; the message says what
            to do.

    Source: this project; the Nystroem extension of kernel principal components.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> from tl_entk.directions.default import default_directions
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> eigen = default_directions(model, data.tokens[:20], k=3)
        >>> project(eigen, model, data.tokens[20:]).shape
        torch.Size([5, 3])
        >>> project(eigen, model, data.tokens[20:], position="all").shape
        torch.Size([5, 3, 3])
    """
    if isinstance(directions, EigenDirections):
        directions = _counterparts(directions, model, memory_budget, progress)
    check_kind("directions", directions, WeightDirections, "EigenDirections or WeightDirections")
    if isinstance(position, str):
        if position != "all":
            raise UserError(f"position {position!r}: pass an integer, one per window, or 'all'.")
        work, score = read_work(directions, model, tokens, -1, targets), _project_everywhere
    else:
        work, score = read_work(directions, model, tokens, position, targets), _project_at
    budget = check_memory_budget(memory_budget, work.adapter.device)
    return score(work, directions, budget, progress) + directions.offset.cpu()


def first_order_change(
    directions: WeightDirections,
    model: Any,
    tokens: Int[Tensor, "n t"],
    *,
    position: Position | None = None,
    targets: Targets = None,
    memory_budget: int | None = None,
) -> Float[Tensor, "n k"]:
    """J_n u: what is read of each window changes by this for a unit step along each direction.

    Of a plain kernel it is sqrt(lambda) times the scores.

    Args:
        directions: of the weights.
        model: whose gradients are taken.
        tokens: (n, t) windows.
        position: as for :func:`project`.
        targets: as for :func:`project`.
        memory_budget: bytes.

    Returns:
        (n, k), of the outputs' part that scores are along where every output has a row.

    Raises:
        UserError: as :func:`project`.
    """
    work = read_work(directions, model, tokens, position, targets)
    plain = replace(work, cosine=False, over=torch.ones_like(work.over))
    return _project_at(
        plain, directions, check_memory_budget(memory_budget, work.adapter.device), False
    )


def _counterparts(
    eigen: EigenDirections, model: Any, memory_budget: int | None, progress: bool
) -> WeightDirections:
    """The counterparts in the weights, of the model that the eigendirections are of."""
    if eigen not in _FOUND:
        known = None if eigen.origin is not None and eigen.origin.has_model else model
        _FOUND[eigen] = weight_directions(
            eigen, known, memory_budget=memory_budget, progress=progress
        )
    return _FOUND[eigen]


def read_work(
    directions: WeightDirections,
    model: Any,
    tokens: Any,
    position: Position | None,
    targets: Targets,
) -> ScoreWork:
    """Check what is asked of the model.

    Raises:
        UserError: for what cannot be meant.
    """
    adapter = adapt_transformer(model, FOR_OWN_MODULES)
    check_model(adapter)
    tokens = adapter.check_tokens(tokens)
    n, length = tokens.shape
    if position is None:
        position = directions.position
        if position is None:
            raise UserError(
                "the directions were read at a position of each window: pass position=, of these."
            )
    readout = directions.readout
    if readout == FINAL_HIDDEN:
        bound = FINAL_HIDDEN_READOUT
    else:
        bound = bind_readout(
            readout,
            n=n,
            d_vocab_out=adapter.n_outputs,
            targets=targets,
            class_slice=directions.class_slice,
            device=tokens.device,
        )
    positions = check_position(position, n, length).to(tokens.device)
    task = Task(adapter, tokens, positions, bound, length)
    sites, names = find_sites(adapter, task, list(directions.weights))
    adapter.check_components(names, tokens)
    for site, _ in sites:
        if site.kind == "position":
            check_positions(task, site)
    for name, part in directions.weights.items():
        if part.shape[1:] != weight_of(adapter, name).shape:
            raise UserError(
                f"the directions of {name} have shape {tuple(part.shape[1:])}, the weight "
                f"{tuple(weight_of(adapter, name).shape)}: pass the model that they are of."
            )
    kind, over = check_normalization(directions.normalization), directions.sizes.to(tokens.device)
    output = None if directions.output is None else directions.output.to(tokens.device)
    return ScoreWork(
        adapter, task, sites, names, output, over, kind.cosine, kind.centered,
        directions.each_component,
    )  # fmt: skip


def _project_at(
    work: ScoreWork, directions: WeightDirections, budget: int, progress: bool
) -> Float[Tensor, "n k"]:
    """Scores at one position of each window."""
    n = len(work.task)
    with (
        frozen(work.adapter.model),
        torch.enable_grad(),
        fast_products(work.task.inputs.device),
        Progress("scores", n, progress) as bar,
    ):
        first = first_row(work)
        rows = slice(first, first + work.task.inputs.shape[1])
        weights = {
            site.name: in_site(site, directions.weights, rows).to(work.over.device)
            for site, _ in work.sites
        }
        batch = batch_size(work, budget)
        values, rest = take_apart(work, weights, torch.arange(n), batch, bar.advance)
    return values.sum(1) + rest


def _project_everywhere(
    work: ScoreWork, directions: WeightDirections, budget: int, progress: bool
) -> Float[Tensor, "n t k"]:
    """Scores at every position."""
    if not work.cosine:
        try:
            return _push_everywhere(work, directions, budget, progress)
        except _REFUSALS as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
    # of normalized kernels, and networks without such derivatives, by backward passes
    found = []
    for position in range(work.task.inputs.shape[1]):
        task = replace(work.task, positions=torch.full_like(work.task.positions, position))
        found.append(_project_at(replace(work, task=task), directions, budget, progress))
    return torch.stack(found, 1)


def _push_everywhere(
    work: ScoreWork, directions: WeightDirections, budget: int, progress: bool
) -> Float[Tensor, "n t k"]:
    """Scores at every position, by a pass for each direction."""
    task, adapter = work.task, work.adapter
    n, length = task.inputs.shape
    floats = adapter.example_floats(length)
    if task.readout.reads == "logits":
        floats += 3 * length * adapter.n_outputs
    batch = examples_per_pass(n, floats, adapter.dtype.itemsize, budget)
    found = torch.zeros(n, length, len(directions), dtype=work.dtype)
    with (
        fast_products(task.inputs.device),
        Progress("scores", n * len(directions), progress) as bar,
    ):
        tangent = Tangent(adapter, task, directions.weights)
        for i, direction in enumerate(directions):
            changes = tangent.reached(direction.weights)
            for start in range(0, n, batch):
                rows = slice(start, min(start + batch, n))
                change = tangent.push(rows, changes).to(work.dtype)
                along = change[..., 0] if work.output is None else change @ work.output[:, i]
                found[rows, :, i] = (along / work.over[i]).cpu()
                bar.advance(rows.stop - rows.start)
    return found
