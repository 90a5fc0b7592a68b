"""Factors: per site, the input x and the output gradient g of every example.

The gradient of output r with respect to a weight used as y_t = x_t W is sum_t x_t (outer) g_rt;
for other uses it is simpler still. Examples do not interact, so one forward and R backward
passes of the whole batch give the factors of every example and every site. The axis r is folded
into g's last one: sum_r J_r J_r^T is the Gram matrix of the gradients with r as a further
coordinate. Repeated uses of a weight (ln1 feeds queries, keys and values) count as positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import CheckpointError

from feature_sets.errors import UserError
from tl_entk.model.batches import refuse_if_full, run_in_batches
from tl_entk.model.capture import Reading, reading
from tl_entk.model.finite import check_finite
from tl_entk.model.merge_outputs import merge_outputs
from tl_entk.model.sites import Site, Tap
from tl_entk.model.tables import embedding_scale
from tl_entk.model.task import Task
from tl_entk.tools.ranks import Ranks
from tl_entk.tools.rounding import same_rows


@dataclass(frozen=True)
class Outer:
    """A per-example gradient sum_t x_t (outer) g_t, possibly split into heads.

    x has shape (h_x, T, N, d_in) and g (h_g, T, N, D) with D = R * d_out; h_x, h_g are the
    number of heads or 1.
    """

    x: Float[Tensor, "h_x t n d_in"]
    g: Float[Tensor, "h_g t n d_out"]


@dataclass(frozen=True)
class OneHot:
    """A per-example gradient with row ``tokens[n, t]`` equal to g_t: an embedding's."""

    tokens: Int[Tensor, "n t"]
    g: Float[Tensor, "t n d_out"]


@dataclass(frozen=True)
class Direct:
    """A per-example gradient v itself: of biases, norm weights and position embeddings."""

    v: Float[Tensor, "h n d"]


Factors = Outer | OneHot | Direct


def join_factors(factors: Factors, n: int, ranks: Ranks) -> Factors:
    """Factors of all examples, from this process's and the others'.

    Args:
        factors: of the examples of this process.
        n: examples in all.
        ranks: the processes.
    """
    match factors:
        case Outer(x, g):
            return Outer(ranks.join(x, n, 2), ranks.join(g, n, 2))
        case OneHot(tokens, g):
            return OneHot(ranks.join(tokens, n), ranks.join(g, n, 1))
        case Direct(v):
            return Direct(ranks.join(v, n, 1))


def row_per_output(factors: Factors, outputs: int) -> Factors:
    """The same gradients with the R outputs of an example as R rows instead of one folded axis."""

    def unfold(g: Float[Tensor, "*h n rd"]) -> Float[Tensor, "*h nr d"]:
        return rearrange(g, "... n (r d) -> ... (n r) d", r=outputs)

    match factors:
        case Outer(x, g):
            return Outer(x.repeat_interleave(outputs, -2), unfold(g))
        case OneHot(tokens, g):
            return OneHot(tokens.repeat_interleave(outputs, 0), unfold(g))
        case Direct(v):
            return Direct(unfold(v))


def forward(
    task: Task,
    sites: Sequence[Site],
    rows: slice,
    *,
    begin: Tap | None = None,
    end: Tap | None = None,
) -> tuple[Reading, Float[Tensor, "b ..."]]:
    """One forward pass of some rows; returns what was seen and what the readout reads.

    Args:
        task: the model, and what is read of it.
        sites: to be seen.
        rows: of the task's examples.
        begin: where the graph begins; default at the first site.
        end: where the pass ends, if it does: the value there is returned instead.

    Raises:
        UserError: if the readout reads the final hidden vector of a model that has none.
    """
    batch, adapter = task.inputs[rows], task.adapter
    positions, logits = task.positions[rows], None
    seeing = reading(
        sites,
        adapter.final_hidden,
        positions,
        len(batch),
        apart=adapter.may_hide_uses,
        begin=begin,
        end=end,
    )
    with seeing as seen:
        logits = adapter.outputs(batch)[:, 0]
    seen.check(sites, adapter.processed)
    values = seen.end if end else logits if task.readout.reads == "logits" else seen.final_hidden
    if values is None:
        raise UserError(
            f"readout {task.readout.name!r} reads the final hidden vector, which only "
            "TransformerLens models have: read the logits (a module's outputs)."
        )
    return seen, values


def measure_uses(task: Task, sites: Sequence[Site]) -> tuple[dict[str, int], int]:
    """Uses per example of every site, and the number R of outputs, from two examples' forward.

    Raises:
        UserError: if the readout is not finite or not differentiable, or mixes examples.
    """
    readout = task.readout
    seen, values = forward(task, sites, slice(0, 2))
    values = values.detach().requires_grad_()
    with torch.enable_grad():
        outputs = readout.outputs(values, slice(0, 2))
    if bool(values.isfinite().all()) and not bool(outputs.isfinite().all()):
        raise UserError(
            f"readout {readout.name!r} is not finite where what it reads is: look for a division "
            "by zero, a logarithm of zero or an overflow in its function."
        )
    check_finite(outputs, task, slice(0, 2), f"readout {readout.name!r}")
    if not outputs.requires_grad:
        raise UserError(
            f"readout {readout.name!r} has no gradient: return a differentiable function of what "
            "it reads (no detach, argmax or numpy)."
        )
    if not same_rows(readout.outputs(values[:1], slice(0, 1)), outputs[:1]):
        raise UserError(
            f"readout {readout.name!r} mixes examples: what it returns for one depends on the "
            "others in the batch. Return a function of each row by itself."
        )
    uses = {
        site.name: sum(value.numel() for value in seen.outputs[site.output]) // site.d_out // 2
        for site in sites
    }
    return uses, outputs.shape[1]


def collect(
    task: Task,
    sites: Sequence[Site],
    *,
    columns: slice,
    batch_size: int,
    dtype: torch.dtype,
    merge: bool = False,
    every_use: bool = False,
    advance: Callable[[int], None] = lambda examples: None,
) -> dict[str, Factors]:
    """Factors of the sites for the readout's outputs ``columns``, over the whole batch.

    Args:
        task: the model, its parameters frozen, and what is read of it.
        sites: whose factors to collect.
        columns: which of the R outputs.
        batch_size: examples per forward pass.
        dtype: number format of the factors.
        merge: fold outputs into one where that leaves all sums over outputs as they are.
        every_use: keep those positions too at which a weight has no gradient.
        advance: called with the number of examples done, times outputs.

    Raises:
        torch.OutOfMemoryError: if a single example, or the factors of all, do not fit the device.
    """
    n = len(task)
    inputs: dict[str, Tensor] = {}
    # by output, a tensor for every batch: copying them all costs more than most models
    gradients: dict[str, list[list[Tensor]]] = {site.name: [] for site in sites}
    taps = list({site.output: None for site in sites})

    def read(rows: slice) -> None:
        """Nothing is kept before all of the batch is there."""
        seen, values = forward(task, sites, rows)
        outputs = task.readout.outputs(values, rows)[:, columns]
        check_finite(outputs, task, rows, f"readout {task.readout.name!r}")
        scales = {site.name: embedding_scale(site, task.inputs[rows], seen) for site in sites}
        found: dict[str, list[Tensor]] = {site.name: [] for site in sites}
        for r in range(outputs.shape[1]):
            last = r + 1 == outputs.shape[1]
            at_taps = differentiate(outputs[:, r], [seen.outputs[tap] for tap in taps], last=last)
            by_tap = dict(zip(taps, at_taps, strict=True))
            for site in sites:
                g = by_use(by_tap[site.output], len(outputs), site.d_out).to(dtype)
                found[site.name].append(g if scales[site.name] == 1 else g * scales[site.name])
        for site in sites:
            if site.input:
                x = by_use(seen.inputs[site.input], len(outputs), site.d_in)
                inputs.setdefault(site.name, x.new_empty((len(x), n, site.d_in), dtype=dtype))
                inputs[site.name][:, rows] = x.to(dtype)
            batches = gradients[site.name]
            batches += [[] for _ in found[site.name][len(batches) :]]
            for batch, g in zip(batches, found[site.name], strict=True):
                batch.append(g)
        advance(len(outputs) * outputs.shape[1])

    run_in_batches(n, batch_size, read)
    found_factors: dict[str, Factors] = {}
    with refuse_if_full(f"the factors of {n} examples"):
        for site in sites:
            folded = _stack_outputs(
                site, inputs.pop(site.name, None), gradients.pop(site.name), merge, every_use
            )
            found_factors[site.name] = fold_outputs(site, task.inputs, *folded)
    return found_factors


def by_use(values: Sequence[Tensor], n: int, width: int) -> Float[Tensor, "uses {n} {width}"]:
    """All uses of a site, by use and example, whatever shape the model gave them.

    A tensor's first axis may be examples or examples x positions (x heads): examples vary
    slowest in either case, so that one reshape sorts them out.
    """
    by_example = [value.reshape(n, -1, width) for value in values]
    uses = by_example[0] if len(values) == 1 else torch.cat(by_example, 1)
    return uses.transpose(0, 1)


def differentiate(
    output: Tensor,
    kept: Sequence[Sequence[Tensor]],
    cotangent: Tensor | None = None,
    *,
    last: bool,
) -> list[list[Tensor]]:
    """Gradients of every example's output, grouped as ``kept``; zeros where it does not depend.

    Args:
        output: of the examples.
        kept: where gradients are wanted.
        cotangent: gradient that they start from, in the output's shape; default ones.
        last: whether the graph is wanted no more.

    Raises:
        UserError: for a model that checkpoints activations.
    """
    if cotangent is None:
        cotangent = torch.ones_like(output)
    flat = [value for values in kept for value in values]
    found: Sequence[Tensor | None] = [None] * len(flat)
    if output.requires_grad:
        try:
            found = torch.autograd.grad(
                output, flat, cotangent.to(output.dtype), retain_graph=not last, allow_unused=True
            )
        except CheckpointError as error:
            raise UserError(
                "the model computes activations anew in its backward pass "
                "(torch.utils.checkpoint): switch that off for the analysis; it changes no number."
            ) from error
    dense = iter(torch.zeros_like(v) if g is None else g for v, g in zip(flat, found, strict=True))
    return [[next(dense) for _ in values] for values in kept]


def _stack_outputs(
    site: Site, x: Tensor | None, batches: list[list[Tensor]], merge: bool, every_use: bool
) -> tuple[Tensor | None, Float[Tensor, "u n r d"]]:
    """Inputs, and gradients of every output, (uses, n, d_in) and R times (uses, n, d_out)."""
    outputs = [found[0] if len(found) == 1 else torch.cat(found, 1) for found in batches]
    batches.clear()
    if site.kind == "linear":
        # the first output tells of most uses whether their gradient is zero
        used = [any(bool(g[use].any()) for g in outputs) for use in range(len(outputs[0]))]
        if not all(used) and not every_use:
            assert x is not None
            x, outputs = x[used], [g[used] for g in outputs]
        if merge and (merged := merge_outputs([g.flatten(0, 1) for g in outputs])) is not None:
            outputs = [merged.reshape(outputs[0].shape)]
    return x, torch.stack(outputs, 2)


def fold_outputs(
    site: Site, tokens: Tensor, x: Float[Tensor, "u n i"] | None, g: Float[Tensor, "u n r d"]
) -> Factors:
    """Inputs and gradients of a site in the form whose Gram is cheap.

    Args:
        site: whose they are.
        tokens: (n, t), which an embedding's gradient is known by.
        x: inputs of its uses, where it has any.
        g: gradients of every output.
    """
    heads = site.heads.count if site.heads else 1
    if site.kind == "embedding":
        return OneHot(tokens, g.flatten(2))
    if site.kind == "position":
        return Direct(rearrange(g, "u n r d -> 1 n (r u d)"))
    if site.kind == "scale":
        assert x is not None
        return Direct(torch.einsum("unrd,und->nrd", g, x).flatten(1)[None])
    if site.kind == "bias":
        return Direct(_split(g.sum(0)[None], heads)[:, 0])
    assert x is not None
    if site.heads and site.heads.along == "input":
        return Outer(_split(x[:, :, None], heads), g.flatten(2)[None])
    return Outer(x[None], _split(g, heads))


def _split(value: Float[Tensor, "u n r d"], heads: int) -> Float[Tensor, "h u n rd"]:
    """Heads of the last axis to the front."""
    return rearrange(value, "u n r (h d) -> h u n (r d)", h=heads)
