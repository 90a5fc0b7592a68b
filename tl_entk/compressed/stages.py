"""Which part of a network is gone back through at a time, so that factors fit the memory."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tl_entk.model.adapters import TransformerAdapter
from tl_entk.model.request import Task
from tl_entk.model.sites import Site
from tl_entk.model.staged_factors import Stage


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
    end = None
    for index, (first, group) in enumerate(groups):
        # the next group is of the same block: it begins at the same place
        again = index + 1 < len(groups) and groups[index + 1][0] == first
        last = index + 1 == len(groups)
        begin = None if last or again else adapter.block_input(first)
        stages.append(Stage(tuple(group), begin, end))
        end = end if again else begin
    return stages


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
