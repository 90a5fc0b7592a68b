"""Building the Jacobian of all outputs from the factors of the sites."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.linearization.jacobian import Jacobian
from tl_entk.model.adapters import ModelAdapter, adapt
from tl_entk.model.capture import frozen
from tl_entk.model.checks import Position
from tl_entk.model.factors import Direct, Factors, OneHot, Outer, collect, measure_uses
from tl_entk.model.finite import check_finite
from tl_entk.model.gradient_map import GradientMap
from tl_entk.model.memory import check_memory_budget, examples_per_pass
from tl_entk.model.provenance import provenance
from tl_entk.model.readouts import LOGITS, ReadoutLike
from tl_entk.model.request import Request, read_request
from tl_entk.model.sites import TIED, UNEMBEDDING, Components, Site, partition
from tl_entk.tools.matrix_products import fast_products


def jacobian(
    model: torch.nn.Module,
    inputs: Shaped[Tensor, "n ..."],
    components: Components = None,
    *,
    readout: ReadoutLike = LOGITS,
    position: Position = -1,
    memory_budget: int | None = None,
    dtype: torch.dtype | None = None,
) -> Jacobian:
    """The Jacobian J of all outputs by the chosen weights, kept as factors; K = J J^T.

    One forward pass and one backward pass per output of the readout; then products with J and
    J^T need the model no more.

    Args:
        model: a HookedTransformer, a TransformerBridge, or a module of one's own, in evaluation
            mode. It comes back as it was.
        inputs: (n, t) token numbers; for a module of one's own (n, ...) of whatever it takes.
        components: as for :func:`kernel_blocks`; nothing is counted twice.
        readout: what has rows; default all logits (a module's outputs).
        position: where logits are read.
        memory_budget: bytes that factors, and what is written out of J, may take (default
            4 GiB, on a GPU 40 % of its memory).
        dtype: number format of the factors; default the model's.

    Returns:
        J, with ``apply``, ``adjoint``, ``weighted``, ``gram``, ``dense`` and ``eigendecompose``.

    Raises:
        UserError: for a model, inputs, readout or component that cannot be meant, and
            factors that do not fit the budget.

    Source: arXiv 2510.00468, section 2 (the flattened kernel).

    Example:
        >>> layer = torch.nn.Linear(3, 2, bias=False)
        >>> J = jacobian(layer, torch.eye(3))
        >>> J.shape, (J.dense() @ J.dense().T).diagonal().tolist()
        ((6, 6), [1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    """
    request = read_request(
        adapt(model), inputs, components, readout, position=position, dtype=dtype
    )
    return build_jacobian(request, check_memory_budget(memory_budget, request.task.inputs.device))


def build_jacobian(request: Request, budget: int) -> Jacobian:
    """The Jacobian of a request that is checked.

    Args:
        request: a task and components.
        budget: bytes that factors, and what is written out of J, may take.

    Raises:
        UserError: for factors that do not fit the budget.
        RuntimeError: if a gradient is not finite.
    """
    task, n = request.task, len(request.task)
    names = partition(request.names)
    chosen = choose_sites(task.adapter, names)
    sites = [site for site, _ in chosen]
    with frozen(task.adapter.model), torch.enable_grad(), fast_products(task.inputs.device):
        uses, outputs = measure_uses(task, sites)
        _check_factors(sites, uses, n, outputs, request.dtype, budget)
        floats = task.example_floats(uses)
        factors = collect(
            task,
            sites,
            columns=slice(0, outputs),
            batch_size=examples_per_pass(n, floats, request.dtype.itemsize, budget),
            dtype=request.dtype,
        )
    for name, found in factors.items():
        for values in vars(found).values():
            if values.is_floating_point():
                check_finite(values, task, slice(0, n), f"the gradient of {name}")
    maps = [map_site(site, key, names, factors[site.name], outputs) for site, key in chosen]
    scale = torch.full((n, outputs), task.readout.scale**0.5, dtype=request.dtype)
    info = provenance(task, component=", ".join(names), kernel_dtype=str(request.dtype))
    return Jacobian(tuple(maps), n, outputs, budget, scale.to(task.inputs.device), info)


def choose_sites(adapter: ModelAdapter, names: list[str]) -> list[tuple[Site, str]]:
    """The sites that the components need, each with the name its columns go by."""
    found = []
    for site in adapter.sites:
        wholes = [whole for whole in adapter.wholes(site) if whole in names]
        if wholes or site.name in names or set(names).intersection(site.head_names):
            found.append((site, wholes[0] if wholes else site.name))
    return found


def map_site(site: Site, key: str, names: list[str], factors: Factors, outputs: int) -> GradientMap:
    """A site's block, of the heads asked for."""
    rows = len(site.parameter) if site.kind == "embedding" else 0
    heads = [h for h, name in enumerate(site.head_names) if name in names]
    if heads:
        factors = _select_heads(factors, heads)
    return GradientMap(key, factors, outputs, transposed=_is_transposed(site, key), rows=rows)


def _is_transposed(site: Site, key: str) -> bool:
    """Whether the parameter holds the weight of this site transposed."""
    return site.transposed or (key == TIED and site.name == UNEMBEDDING)


def _select_heads(factors: Factors, heads: list[int]) -> Factors:
    match factors:
        case Outer(x, g):
            return Outer(x[heads] if len(x) > 1 else x, g[heads] if len(g) > 1 else g)
        case Direct(v):
            return Direct(v[heads])
        case OneHot():
            return factors


def _check_factors(
    sites: list[Site],
    uses: dict[str, int],
    n: int,
    outputs: int,
    dtype: torch.dtype,
    budget: int,
) -> None:
    """Refuse factors that memory was not meant for.

    Raises:
        UserError: says what would do.
    """
    # beside the factors, as much for the copies made while they are built
    needed = 2 * sum(
        n * uses[site.name] * (site.d_in + outputs * site.d_out) * dtype.itemsize for site in sites
    )
    if needed > budget:
        raise UserError(
            f"the factors of {n} examples and {outputs} outputs take {needed / 2**30:.1f} GiB, "
            f"more than memory_budget = {budget / 2**30:.1f} GiB: take fewer examples or "
            f"components, pass memory_budget={needed}, or use top_eigendirections."
        )
