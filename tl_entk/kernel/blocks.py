"""Kernel blocks: the dense N x N eNTK of every weight, head and norm of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.kernel.cost import estimate_blocks
from tl_entk.kernel.cross_terms import cross_terms
from tl_entk.kernel.gram import gram
from tl_entk.kernel.plan import Pass, Plan, plan_passes
from tl_entk.model.adapters import ModelAdapter, adapt
from tl_entk.model.capture import frozen
from tl_entk.model.checks import Position, check_memory_budget
from tl_entk.model.factors import collect, measure_uses, row_per_output
from tl_entk.model.provenance import provenance
from tl_entk.model.readouts import BoundReadout, ReadoutLike, bind_readout
from tl_entk.model.request import positions_seen, read_request
from tl_entk.model.sites import TIED, Components, Site, match_names, partition
from tl_entk.tools.progress import Progress

# tokens run to estimate how long all will take
_SAMPLE_TOKENS = 256


@dataclass(frozen=True, eq=False)
class KernelBlocks(Mapping[str, Tensor]):
    """Kernel blocks by component name, each (N, N), symmetric and positive semidefinite.

    Attributes:
        blocks: name to matrix, in the model's order; a weight is followed by its heads.
        provenance: model, readout, position, number formats and versions.

    Example:
        >>> eye = torch.eye(2)
        >>> blocks = KernelBlocks({"attn.W_Q": 3 * eye, "attn.W_Q[0]": eye, "mlp.W_in": eye})
        >>> blocks.total().diagonal().tolist(), blocks.sum("attn.*").diagonal().tolist()
        ([4.0, 4.0], [3.0, 3.0])
    """

    blocks: dict[str, Float[Tensor, "n n"]]
    provenance: dict[str, Any] = field(default_factory=dict)

    # two results are the same object or different: tensors have no single truth value
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getitem__(self, name: str) -> Float[Tensor, "n n"]:
        if name not in self.blocks:
            raise KeyError(
                f"no block {name!r} was computed; there are {list(self.blocks)[:6]} ... "
                "Ask for it with components=[...]."
            )
        return self.blocks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.blocks)

    def __len__(self) -> int:
        return len(self.blocks)

    def __contains__(self, name: object) -> bool:
        return name in self.blocks

    def __repr__(self) -> str:
        n = len(next(iter(self.blocks.values()))) if self.blocks else 0
        return f"KernelBlocks({len(self)} blocks of {n} x {n}: {', '.join(list(self)[:4])}, ...)"

    def partition(self) -> list[str]:
        """Names that make up the total: no head beside its weight, no role beside its whole."""
        return partition(self)

    def total(self) -> Float[Tensor, "n n"]:
        """Kernel of all computed components together, nothing counted twice.

        Where embedding and unembedding are one parameter and its kernel was computed, the
        cross terms of the two roles are in it.
        """
        return self._add(self.partition())

    def sum(self, pattern: str) -> Float[Tensor, "n n"]:
        """Kernel of the components that match a glob, nothing counted twice.

        Args:
            pattern: for example ``"blocks.0.*"`` for a layer, ``"*.attn.W_V[*]"`` for heads.

        Raises:
            UserError: if nothing matches; the message has the nearest names.
        """
        return self._add(partition(match_names(list(self), pattern)))

    def _add(self, names: list[str]) -> Float[Tensor, "n n"]:
        total = torch.zeros_like(self.blocks[names[0]])
        for name in names:
            total += self.blocks[name]
        return total


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
            ``"target_logit"``, ``"target_logprob"``, ``"logsumexp"``, or a Readout.
        components: None (every weight that requires grad), a name or glob, a list of those, or
            a predicate on names. In a glob only ``*`` and ``?`` are special.
        position: where logits are read: an integer, or one per example.
        class_slice: classes that a named readout sees; default all.
        targets: (n,) classes for the target readouts; default the model's own top token.
        memory_budget: bytes that factors (with the copies made of them), graph and tiles are
            planned for (default 4 GiB; the blocks themselves, n^2 numbers each, come on top).
            Numbers do not depend on it.
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
    request = read_request(model, tokens, components, position, dtype)
    adapter, tokens, positions = request.adapter, request.tokens, request.positions
    names, dtype = request.names, request.dtype
    n = len(tokens)
    bound = bind_readout(
        readout,
        n=n,
        d_vocab_out=request.n_outputs,
        targets=targets,
        class_slice=class_slice,
        device=tokens.device,
    )
    wanted = set(names)
    sites = [
        # fewer and larger products where no head is asked for
        site if wanted.intersection(site.head_names) else replace(site, heads=None)
        for site in adapter.sites
        if wanted.intersection(_gives(adapter, site))
    ]
    budget = check_memory_budget(memory_budget)
    told: dict[str, Any] = {}
    with frozen(model), torch.enable_grad():
        uses, outputs = measure_uses(adapter, tokens, sites, bound, positions)
        length = positions_seen(request, uses)
        rows = n * outputs if bound.flattened else n
        if bound.flattened:
            _check_size(rows, len(names), dtype, budget)
        plan = plan_passes(
            sites,
            uses,
            n=n,
            outputs=outputs,
            example_floats=adapter.example_floats(length),
            itemsize=dtype.itemsize,
            memory_budget=budget,
            flattened=bound.flattened,
        )
        if progress:
            sample = min(n, plan.batch_size, max(2, -(-_SAMPLE_TOKENS // length)))

            def collect_sample(count: int, columns: int) -> None:
                collect(
                    adapter,
                    tokens[:count],
                    plan.passes[0].sites,
                    bound,
                    positions[:count],
                    columns=slice(0, columns),
                    batch_size=count,
                    dtype=dtype,
                )

            estimate = estimate_blocks(
                plan,
                uses,
                collect_sample,
                n=n,
                sample=sample,
                blocks_bytes=len(names) * rows**2 * dtype.itemsize,
                memory_budget=budget,
                dtype=dtype,
                device=tokens.device,
            )
            print(f"kernel blocks: {estimate}")
            told["estimate"] = {**asdict(estimate), "seconds": estimate.seconds}
        work = n * sum(step.columns.stop - step.columns.start for step in plan.passes)
        with Progress("kernel blocks", work, progress) as bar:
            blocks: dict[str, Tensor] = {}
            for step in plan.passes:
                for name, kernel in _one_pass(
                    adapter, tokens, bound, positions, step, plan, wanted, dtype, bar
                ):
                    blocks[name] = blocks[name].add_(kernel) if name in blocks else kernel
    ordered = {name: blocks[name].mul_(bound.scale) for name in names}
    _check_finite(ordered)
    return KernelBlocks(
        ordered,
        provenance(
            adapter,
            tokens,
            readout=bound.name,
            position=position if isinstance(position, int) else "per example",
            kernel_dtype=str(dtype),
            class_slice=str(class_slice),
            tied_embedding="whole, with cross terms" if TIED in ordered else "roles apart",
        )
        | told,
    )


def _gives(adapter: ModelAdapter, site: Site) -> set[str]:
    """The components that need this site's factors."""
    return {site.name, *site.head_names, *adapter.wholes(site)}


def _check_size(rows: int, count: int, dtype: torch.dtype, budget: int) -> None:
    """Refuse flattened kernels that memory was not meant for.

    Raises:
        UserError: names what does without them.
    """
    needed = count * rows**2 * dtype.itemsize
    if needed > budget:
        raise UserError(
            f"{count} flattened kernels of {rows} rows take {needed / 2**30:.1f} GiB, more than "
            f"memory_budget = {budget / 2**30:.1f} GiB: decompose them without forming them "
            "(tl_entk.jacobian(model, inputs).eigendecompose(k), or top_eigendirections), ask for "
            f"fewer components, or pass memory_budget={needed}."
        )


def _one_pass(
    adapter: ModelAdapter,
    tokens: Tensor,
    readout: BoundReadout,
    positions: Tensor,
    step: Pass,
    plan: Plan,
    wanted: set[str],
    dtype: torch.dtype,
    bar: Progress,
) -> Iterator[tuple[str, Tensor]]:
    """Kernels of one pass, by component name."""
    factors = collect(
        adapter,
        tokens,
        step.sites,
        readout,
        positions,
        columns=step.columns,
        batch_size=plan.batch_size,
        dtype=dtype,
        merge=not (readout.flattened or adapter.shared),
        advance=bar.advance,
    )
    outputs = step.columns.stop - step.columns.start
    if readout.flattened:
        factors = {name: row_per_output(found, outputs) for name, found in factors.items()}
        outputs = 1
    for whole_name, roles in adapter.shared.items():
        if whole_name in wanted and roles[0].name in factors:
            yield whole_name, cross_terms(roles, factors, outputs)
    for site in step.sites:
        heads = gram(factors.pop(site.name), plan.tile_bytes)
        for name, kernel in zip(site.head_names, heads, strict=False):
            if name in wanted:
                yield name, kernel.clone()
        whole = heads.sum(0)
        if site.name in wanted:
            yield site.name, whole
        for name in wanted.intersection(adapter.wholes(site)):
            yield name, whole.clone()


def _check_finite(blocks: dict[str, Tensor]) -> None:
    for name, block in blocks.items():
        if not bool(torch.isfinite(block).all()):
            raise RuntimeError(
                f"the kernel of {name} is not finite: look for infinities in the weights or "
                "activations, or compute in a wider format (model.float(), dtype=torch.float64)."
            )
