"""Kernel blocks of every weight, head and norm of a model: plan, passes, Gram matrices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from tl_entk.kernel.cost import BlocksEstimate, estimate_blocks
from tl_entk.kernel.cross_terms import cross_terms
from tl_entk.kernel.factor_passes import Found, factor_passes, find_stages
from tl_entk.kernel.gram import gram
from tl_entk.kernel.kernel_blocks import KernelBlocks
from tl_entk.kernel.plan import Plan, measure_work, plan_passes
from tl_entk.model.adapters import ModelAdapter, adapt
from tl_entk.model.capture import frozen
from tl_entk.model.checks import Position
from tl_entk.model.factors import join_factors, row_per_output
from tl_entk.model.finite import check_finite
from tl_entk.model.memory import check_memory_budget
from tl_entk.model.origin import Origin
from tl_entk.model.provenance import position_label, provenance
from tl_entk.model.readouts import ReadoutLike
from tl_entk.model.request import Request, read_request
from tl_entk.model.sites import TIED, Components, Site, partition
from tl_entk.model.staged_factors import Stage
from tl_entk.tools.lead import on_all_ranks
from tl_entk.tools.matrix_products import fast_products
from tl_entk.tools.progress import Progress
from tl_entk.tools.ranks import current_ranks


def list_components(model: torch.nn.Module) -> list[str]:
    """Names of every component of a TransformerLens model: weights, biases, norms, head slices.

    Args:
        model: a HookedTransformer (TransformerLens 3.9) or a TransformerBridge (3.9, 4.x).

    Returns:
        TransformerLens names in the order of the forward pass, each weight followed by its
        heads ("blocks.0.attn.W_Q", "blocks.0.attn.W_Q[0]", ...; W_K and W_V of grouped attention
        by key/value head). Where one parameter is embedding and unembedding, its two roles are
        listed and "tied_embedding" is the whole parameter.

    Raises:
        UserError: for a model of another class.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model
        >>> list_components(build_model(ModularSettings(p=5)))[:4]
        ['embed.W_E', 'pos_embed.W_pos', 'blocks.0.attn.W_Q', 'blocks.0.attn.W_Q[0]']
    """
    return adapt(model).component_names


@on_all_ranks
def kernel_blocks(
    model: torch.nn.Module,
    tokens: Shaped[Tensor, "n ..."],
    readout: ReadoutLike = "mean_logit",
    components: Components = None,
    *,
    position: Position = -1,
    class_slice: slice | None = None,
    targets: Int[Tensor, " n"] | None = None,
    memory_budget: int | None = None,
    dtype: torch.dtype | None = None,
    progress: bool = False,
) -> KernelBlocks:
    """ENTK blocks K_b[n, m] = scale * sum_r <dF_r(x_n)/dW_b, dF_r(x_m)/dW_b> of components b.

    One forward pass and one backward pass per output r of the readout serve every component.

    Args:
        model: a HookedTransformer (TransformerLens 3.9) or a TransformerBridge (3.9, 4.x), in
            evaluation mode. It comes back as it was.
        tokens: (n, t) token numbers; windows of one length without padding.
        readout: ``"mean_logit"`` (class mean), ``"class_trace"`` (mean over the classes of the
            per-class kernels, one backward pass per class), ``("class", c)``,
            ``"target_logit"``, ``"target_logprob"``, ``"logsumexp"``, ``"target_margin"`` (the
            target's logit less the largest other one), ``"top_logits"`` (mean of the kernels of
            every window's five largest logits), or a Readout.
        components: None (every weight that requires grad), a name or glob, a list of those, or
            a predicate on names. In a glob only ``*`` and ``?`` are special.
        position: where logits are read: an integer, or one per example.
        class_slice: classes that a named readout sees; default all.
        targets: (n,) classes for the target readouts; default the model's own top token.
        memory_budget: bytes that factors (with the copies made of them), graph and tiles are
            planned for (default 4 GiB, on a GPU 40 % of its memory; the blocks themselves, n^2
            numbers each, come on top). Numbers do not depend on it.
        dtype: number format of factors and kernels; default the model's, float32 for models in
            half precision. The model itself runs in its own format.
        progress: print what it will take (measured on a few examples; it is also in
            ``provenance["estimate"]``), and show a progress bar.

    Returns:
        The blocks, on the model's device.

    Raises:
        UserError: for a model, tokens, readout or component that cannot be meant;
            the message says what to do.
        RuntimeError: if a component's hook does not fire, or a kernel is not finite.

    Source: arXiv 2510.00468, section 2 (the kernel and its blocks).

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> blocks = kernel_blocks(model, data.tokens)
        >>> blocks["unembed.W_U"].shape
        torch.Size([25, 25])
        >>> heads = kernel_blocks(model, data.tokens, components="*.W_V[*]")
        >>> bool(torch.allclose(heads.total(), blocks["blocks.0.attn.W_V"]))
        True
    """
    request = read_request(
        adapt(model),
        tokens,
        components,
        readout,
        position=position,
        dtype=dtype,
        targets=targets,
        class_slice=class_slice,
    )
    task = request.task
    estimate, device = None, task.inputs.device
    with frozen(model), torch.enable_grad(), fast_products(device):
        plan, stages = _plan(request, check_memory_budget(memory_budget, device))
        if progress and current_ranks().first:
            estimate = estimate_blocks(task, plan, len(stages), request.dtype)
            print(f"kernel blocks: {estimate}")
        blocks = _run_passes(request, plan, stages, progress)
    for name, block in blocks.items():
        check_finite(block, task, slice(0, len(task)), f"the kernel of {name}")
    about = provenance(
        task,
        position=position_label(position),
        kernel_dtype=str(request.dtype),
        class_slice=str(class_slice),
        tied_embedding="whole, with cross terms" if TIED in blocks else "roles apart",
    )
    origin = Origin(
        tokens, tuple(partition(request.names)), readout, position, targets, class_slice
    )
    about |= estimate.as_dict() if estimate else {}
    return KernelBlocks(blocks, about, origin.of_model(model))


def estimate_kernel_blocks(
    model: torch.nn.Module,
    tokens: Shaped[Tensor, "n ..."],
    readout: ReadoutLike,
    components: Components,
    memory_budget: int | None,
) -> BlocksEstimate:
    """What :func:`kernel_blocks` will take, with the same arguments."""
    request = read_request(adapt(model), tokens, components, readout)
    device = request.task.inputs.device
    with frozen(model), torch.enable_grad(), fast_products(device):
        plan, stages = _plan(request, check_memory_budget(memory_budget, device))
        return estimate_blocks(request.task, plan, len(stages), request.dtype)


def _plan(request: Request, memory_budget: int) -> tuple[Plan, list[Stage]]:
    """Passes over the examples, and the stages that take their place, if they do."""
    task, names = request.task, request.names
    work = measure_work(task, sites_needed(task.adapter, names), request.dtype)
    plan = plan_passes(work, memory_budget, kernels=len(names))
    return plan, find_stages(task, plan, request.dtype)


def sites_needed(adapter: ModelAdapter, names: Iterable[str]) -> list[Site]:
    """The sites whose factors the components need, with heads only where one is asked for."""
    wanted = set(names)
    return [
        # fewer and larger products where no head is asked for
        site if wanted.intersection(site.head_names) else replace(site, heads=None)
        for site in adapter.sites
        if wanted.intersection(adapter.components_needing(site))
    ]


def _run_passes(
    request: Request, plan: Plan, stages: Sequence[Stage], progress: bool
) -> dict[str, Tensor]:
    """All passes over the examples: every component's kernel, in the order asked for."""
    blocks: dict[str, Tensor] = {}
    ranks, n = current_ranks(), len(request.task)
    task = request.task.share(ranks)
    outputs = len(stages) * plan.work.outputs or sum(step.outputs for step in plan.passes)
    total = len(task) * outputs
    with Progress("kernel blocks", total, progress and ranks.first) as bar:
        for found in factor_passes(
            task,
            plan,
            stages,
            dtype=request.dtype,
            # merged outputs have the signs of an example, of which each process has its own
            merge=not (task.readout.flattened or task.adapter.shared or ranks.count > 1),
            advance=bar.advance,
        ):
            for key in list(found.factors):
                found.factors[key] = join_factors(found.factors[key], n, ranks)
            for name, kernel in _kernels(request, plan, found):
                blocks[name] = blocks[name].add_(kernel) if name in blocks else kernel
    scale = task.readout.scale
    return {name: blocks[name].mul_(scale) for name in request.names}


def _kernels(request: Request, plan: Plan, found: Found) -> Iterator[tuple[str, Tensor]]:
    """Kernels of some sites, by component name."""
    adapter, wanted = request.task.adapter, set(request.names)
    factors, outputs = found.factors, found.outputs
    if request.task.readout.flattened:
        factors = {name: row_per_output(one, outputs) for name, one in factors.items()}
        outputs = 1
    for whole_name, roles in adapter.shared.items():
        if whole_name in wanted and roles[0].name in factors:
            yield whole_name, cross_terms(roles, factors, outputs)
    for site in found.sites:
        heads = gram(factors.pop(site.name), plan.tile_bytes, current_ranks())
        for name, kernel in zip(site.head_names, heads, strict=False):
            if name in wanted:
                yield name, kernel.clone()
        whole = heads.sum(0)
        if site.name in wanted:
            yield site.name, whole
        for name in wanted.intersection(adapter.wholes(site)):
            yield name, whole.clone()
