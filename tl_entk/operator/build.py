"""Building a kernel operator: which weights, what is read, and what need not be run."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.model.adapters import TransformerAdapter, adapt_transformer
from tl_entk.model.capture import frozen
from tl_entk.model.checks import Position
from tl_entk.model.factors import measure_uses
from tl_entk.model.memory import check_memory_budget
from tl_entk.model.provenance import position_label, provenance
from tl_entk.model.readouts import (
    FINAL_HIDDEN,
    FINAL_HIDDEN_READOUT,
    LOGITS,
    NAMES,
    BoundReadout,
    ReadoutLike,
)
from tl_entk.model.request import Request, read_request
from tl_entk.model.sites import EMBEDDING, TIED, UNEMBEDDING, Components, Site, partition
from tl_entk.operator.final_hidden import final_hidden_vectors, warn_of_capped_logits
from tl_entk.operator.network import ChunkedNetwork, no_exchange
from tl_entk.operator.operator import KernelOperator, Parts
from tl_entk.operator.precision import Precision, check_precision
from tl_entk.operator.shortcuts import Shortened, find_shortcuts
from tl_entk.operator.suffix import Suffix
from tl_entk.operator.unembedding_terms import UnembeddingTerms
from tl_entk.operator.weight_maps import WeightMap
from tl_entk.operator.whitening import Whitening, whitening
from tl_entk.tools.ranks import Ranks, current_ranks

UNEMBEDDING_PARTS = (UNEMBEDDING, "unembed.b_U")
# what tells a kernel from others, of what its provenance says
_IDENTITY = (
    "model", "model_class", "model_dtype", "tokens_sha256", "component", "readout", "position",
    "kernel_dtype", "precision", "normalization",
)  # fmt: skip

# what does the same for a module of one's own
FOR_OWN_MODULES = "use tl_entk.jacobian(model, inputs), which multiplies and decomposes too."


def kernel_operator(
    model: torch.nn.Module,
    tokens: Int[Tensor, "n t"],
    component: Components,
    *,
    readout: ReadoutLike = FINAL_HIDDEN,
    position: Position = -1,
    memory_budget: int | None = None,
    dtype: torch.dtype | None = None,
    precision: Precision = "full",
) -> KernelOperator:
    """Matrix-free eNTK of a component: flattened, (N d) x (N d), multiplied but never formed.

    By default the kernel of all logits at the position, as K~ = S^1/2 J J^T S^1/2 with J the
    Jacobian of the final hidden vectors (N of width d) and S = W_U W_U^T: the nonzero
    eigenvalues are those of the (N d_vocab) x (N d_vocab) logit kernel. (Of W_U's own kernel, in
    closed form, they are those too, but each d times instead of d_vocab times; of a parameter
    that is W_U and W_E both, K~ is the part of the logit kernel in the span of W_U.) Where the
    model caps or scales its logits after the unembedding, the kernel is that of the logits before
    (a warning says so).

    Only the part of the network after the component is run: its forward pass once and kept
    where the budget allows, else again for every product.

    Args:
        model: a HookedTransformer (TransformerLens 3.9) or a TransformerBridge (3.9, 4.x), in
            evaluation mode. It comes back as it was.
        tokens: (n, t) token numbers; windows of one length without padding.
        component: a weight, head, glob ("blocks.3.*" is a layer), list of those, predicate on
            names, or None for every weight that requires grad; nothing is counted twice.
        readout: ``"final_hidden"`` (above), ``"logits"`` (the same kernel unreduced, for small
            vocabularies: d is the number of logits), or one that :func:`kernel_blocks` takes:
            d is its number of outputs.
        position: where it is read: an integer, or one per example.
        memory_budget: bytes planned for graphs, caches, gradients and vectors (default 4 GiB;
            on a GPU 40 % of its memory).
        dtype: number format of vectors; default the model's, float32 for half precision. The
            network runs in its own format.
        precision: ``"full"``; ``"bfloat16"`` runs the network's matrix products in bfloat16,
            ``"tf32"`` (CUDA) in TF32. The error of a product is measured on two examples and
            goes into ``provenance["precision_error"]``: its order of magnitude, since products
            of many windows were seen to be off by up to four times as much.

    Returns:
        The operator: ``op @ x``, ``op.to_scipy()``, ``op.shape``, ``op.estimate()``.

    Raises:
        UserError: for a model, tokens, readout or component that cannot be meant.
        RuntimeError: if a component's hook does not fire.

    Source: arXiv 2510.00468, section 2; the whitened form is its language-model experiment's.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> op = kernel_operator(model, data.tokens, "blocks.0.attn.W_V[1]")
        >>> op.shape == (25 * 64, 25 * 64), (op @ torch.ones(25 * 64)).shape
        (True, torch.Size([1600]))
    """
    adapter = adapt_transformer(model, FOR_OWN_MODULES)
    chosen = check_readout(readout)
    whitened = chosen is FINAL_HIDDEN_READOUT
    request = read_request(adapter, tokens, component, chosen, position=position, dtype=dtype)
    budget = check_memory_budget(memory_budget, adapter.device)
    task = request.task
    check_precision(precision, task.inputs.device)
    names = _names_that_matter(partition(request.names), task.readout, whitened)
    if not whitened:
        with frozen(model):
            measure_uses(task, ())  # refuses readouts that mix examples, or have no gradient
    about = provenance(
        task,
        component=", ".join(names),
        readout="final_hidden, whitened by W_U" if whitened else task.readout.name,
        position=position_label(position),
        kernel_dtype=str(request.dtype),
        precision=precision,
        normalization="plain",
    )
    ranks = current_ranks()
    own = replace(request, task=task.share(ranks))
    in_network = [name for name in names if not (whitened and name in UNEMBEDDING_PARTS)]
    maps = weight_maps(adapter, in_network, task.inputs, whitened)
    # from the same examples on every process, for which the same shortcuts then hold
    short = find_shortcuts(Suffix(task, maps), adapter.cuts, precision) if maps else None
    if short is not None and short.precision_error is not None:
        about["precision_error"] = short.precision_error
    root = terms = None
    if whitened:
        warn_of_capped_logits(task, adapter)
        white = whitening(adapter.unembedding)
        root = white.root.to(request.dtype)
        terms = _unembedding_terms(adapter, own, names, maps, white, budget, ranks)
    d = short.outputs if short else adapter.d_model
    network = _network(own, short, terms, budget, ranks)
    return KernelOperator(
        Parts(network, root, terms, task.readout.scale),
        names,
        len(task),
        d,
        memory_budget=budget,
        dtype=request.dtype,
        device=task.inputs.device,
        provenance=about,
        identity={key: str(about[key]) for key in _IDENTITY},
        ranks=ranks,
    )


def _network(
    request: Request,
    short: Shortened | None,
    terms: UnembeddingTerms | None,
    memory_budget: int,
    ranks: Ranks,
) -> ChunkedNetwork | None:
    """The part that runs the model; None where there is none."""
    if short is None:
        return None
    return ChunkedNetwork(
        replace(short.suffix, task=request.task),
        short.sizes,
        vector_bytes=len(request.task) * short.outputs * request.dtype.itemsize,
        memory_budget=memory_budget,
        exchange=terms.exchange if terms else no_exchange,
        ranks=ranks,
    )


def check_readout(readout: ReadoutLike) -> ReadoutLike | BoundReadout:
    """What a network is run for.

    Raises:
        UserError: for a readout that an operator does not have.
    """
    if readout == FINAL_HIDDEN:
        return FINAL_HIDDEN_READOUT
    if readout == "class_trace":
        raise UserError(
            "an operator has a row for every output: 'logits' is the flattened kernel, and "
            "kernel_blocks(model, tokens, 'class_trace') its trace over the classes."
        )
    if isinstance(readout, str) and readout not in (*NAMES, LOGITS):
        raise UserError(
            f"unknown readout {readout!r}: pass 'final_hidden' or 'logits', one that "
            "kernel_blocks takes, or a tl_entk.Readout."
        )
    return readout


def _names_that_matter(names: list[str], readout: BoundReadout, whitened: bool) -> list[str]:
    """Leave out the unembedding where what is read comes before it.

    Raises:
        UserError: if nothing is left.
    """
    if whitened or readout.reads == "logits":
        return names
    left = [EMBEDDING if name == TIED else name for name in names if name not in UNEMBEDDING_PARTS]
    if not left:
        raise UserError(
            f"readout {readout.name!r} reads the final hidden vector, which {names} come after: "
            "choose other components, or a readout of the logits."
        )
    return left


def _unembedding_terms(
    adapter: TransformerAdapter,
    request: Request,
    names: list[str],
    maps: tuple[WeightMap, ...],
    white: Whitening,
    memory_budget: int,
    ranks: Ranks,
) -> UnembeddingTerms | None:
    """The unembedding's part of a whitened kernel; None where it is no component."""
    tied = next((m for m in maps if m.key == TIED), None)
    if tied is None and not set(UNEMBEDDING_PARTS).intersection(names):
        return None
    dtype = request.dtype
    at_rows = None
    if tied is not None:
        at_rows = (white.inverse @ adapter.unembedding[:, tied.rows].double()).to(dtype)
    return UnembeddingTerms(
        final_hidden_vectors(request.task, memory_budget).to(dtype),
        white.span.to(dtype),
        weight=UNEMBEDDING in names or tied is not None,
        bias="unembed.b_U" in names,
        shared=tied.key if tied else None,
        at_rows=at_rows,
        ranks=ranks,
    )


def weight_maps(
    adapter: TransformerAdapter, names: list[str], tokens: Tensor, whitened: bool
) -> tuple[WeightMap, ...]:
    """The maps of some components, head slices of one weight together.

    Args:
        adapter: the model.
        names: components, none within another.
        tokens: (n, t), whose rows of an embedding matter.
        whitened: whether the final hidden vector is read: then the unembedding's role of a tied
            parameter is no part of the network.
    """
    maps: list[WeightMap] = []
    for site in adapter.sites:
        heads = tuple(h for h, name in enumerate(site.head_names) if name in names)
        if site.name in names or heads:
            maps.append(_map(site, tokens, heads or None, site.name))
    if TIED in names:
        embedding, unembedding = adapter.by_name[EMBEDDING], adapter.by_name[UNEMBEDDING]
        whole = _map(embedding, tokens, None, TIED)
        if not whitened:
            every = torch.arange(len(embedding.parameter), device=tokens.device)
            whole = replace(whole, rows=every)
            maps.append(WeightMap(unembedding, key=TIED, transposed=True))
        maps.append(whole)
    return tuple(maps)


def _map(site: Site, tokens: Tensor, heads: tuple[int, ...] | None, key: str) -> WeightMap:
    return WeightMap(site, heads, key, rows=tokens.unique() if site.kind == "embedding" else None)
