"""Which part of a network is gone back through at a time, so that factors fit the memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tl_entk.model.adapters import TransformerAdapter
from tl_entk.model.factors import Direct, Factors, OneHot, Outer, collect, measure_uses
from tl_entk.model.memory import examples_per_pass
from tl_entk.model.sites import Site
from tl_entk.model.staged_factors import Stage, collect_stages
from tl_entk.model.task import Task
from tl_entk.tools.rounding import relative_distance, relative_rounding

# outputs and examples that stages are tried on
_TRIED = 2


def plan_stages(
    task: Task,
    sites: Sequence[Site],
    sizes: Mapping[str, int],
    room: int,
) -> list[Stage]:
    """Stages from the last to the first, each with as many sites as fit.

    A block whose sites do not fit together takes several stages, each with a pass of its own.

    Args:
        task: what is read of which model.
        sites: whose factors are wanted.
        sizes: bytes of each one's factors.
        room: bytes that the factors of a stage may take, if they can: a site is never parted.
    """
    if sum(sizes.values()) <= room:
        return [Stage(tuple(sites))]
    adapter = task.adapter
    assert isinstance(adapter, TransformerAdapter)
    groups = _pack(adapter.n_layers, sites, sizes, room)
    stages: list[Stage] = []
    end, after = None, adapter.n_layers
    for index, (first, group) in enumerate(groups):
        # the next group is of the same block: it begins at the same place
        again = index + 1 < len(groups) and groups[index + 1][0] == first
        last = index + 1 == len(groups)
        begin = None if last or again else adapter.block_input(first)
        stages.append(Stage(tuple(group), begin, end, after - first))
        if not again:
            end, after = begin, first
    return stages


def staged_batch_size(
    task: Task, stages: Sequence[Stage], uses: Mapping[str, int], itemsize: int, memory_budget: int
) -> int:
    """Examples in one forward pass: the longest stage's graph may take a quarter of the budget.

    Args:
        task: what is read of which model.
        stages: of it.
        uses: positions at which each site is used.
        itemsize: bytes of a number.
        memory_budget: bytes.
    """
    floats = task.example_floats(uses)
    blocks = [stage.blocks for stage in stages if stage.blocks is not None]
    if len(blocks) == len(stages) and isinstance(task.adapter, TransformerAdapter):
        # one more for what comes before and after the blocks
        floats = floats * (max(blocks) + 1) // (task.adapter.n_layers + 1)
    return examples_per_pass(len(task), floats, itemsize, memory_budget)


def _pack(
    n_layers: int, sites: Sequence[Site], sizes: Mapping[str, int], room: int
) -> list[tuple[int, list[Site]]]:
    """Groups of sites that fit, the last blocks first, each with its first block."""
    by_layer: dict[int, list[Site]] = {}
    for site in sites:
        by_layer.setdefault(layer_of(site.name, n_layers), []).append(site)
    groups: list[tuple[int, list[Site]]] = []
    held, open_to_more = 0, False
    for layer in sorted(by_layer, reverse=True):
        size = sum(sizes[site.name] for site in by_layer[layer])
        if open_to_more and held + size <= room:
            groups[-1] = (layer, [*groups[-1][1], *by_layer[layer]])
            held += size
            continue
        parts = _split(by_layer[layer], sizes, room)
        groups += [(layer, part) for part in parts]
        held, open_to_more = size, len(parts) == 1
    return groups


def _split(sites: Sequence[Site], sizes: Mapping[str, int], room: int) -> list[list[Site]]:
    """The sites of one block in parts that fit."""
    parts: list[list[Site]] = [[]]
    for site in sites:
        if parts[-1] and sum(sizes[one.name] for one in parts[-1]) + sizes[site.name] > room:
            parts.append([])
        parts[-1].append(site)
    return parts


def layer_of(name: str, n_layers: int) -> int:
    """The block that a site belongs to; what comes before or after goes to the first or last."""
    found = re.match(r"blocks\.(\d+)\.", name)
    if found:
        return int(found[1])
    return n_layers - 1 if name.startswith(("ln_final", "unembed")) else 0


def first_layer(names: Iterable[str], n_layers: int) -> int:
    """The first block that some weights belong to; 0 of embeddings too.

    Example:
        >>> first_layer(["blocks.3.mlp.W_out", "unembed.W_U", "blocks.2.attn.W_V[1]"], 4)
        2
    """
    return min(layer_of(name, n_layers) for name in names)


def stages_hold(task: Task, stages: Sequence[Stage], dtype: torch.dtype) -> bool:
    """Whether the residual stream is all that joins the stages: the factors are the same.

    Args:
        task: its model's parameters frozen.
        stages: from the last to the first, tried on two examples and two outputs.
        dtype: number format of the factors.
    """
    readout = task.readout
    few = replace(readout, evaluate=lambda values, rows: readout.outputs(values, rows)[:, :_TRIED])
    rows = torch.arange(min(_TRIED, len(task)), device=task.inputs.device)
    pair = replace(task, readout=few).take(rows)
    sites = [site for stage in stages for site in stage.sites]
    outputs = measure_uses(pair, [])[1]
    whole = collect(pair, sites, columns=slice(0, outputs), batch_size=len(rows), dtype=dtype)
    for found in collect_stages(pair, stages, outputs=outputs, batch_size=len(rows), dtype=dtype):
        for name, factors in found.items():
            a, b = _gradients(factors), _gradients(whole[name])
            if relative_distance(a, b) > relative_rounding(task.adapter.dtype):
                return False
    return True


def _gradients(factors: Factors) -> Tensor:
    match factors:
        case Outer(_, g):
            return g
        case OneHot(_, g):
            return g
        case Direct(v):
            return v
