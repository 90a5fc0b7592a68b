"""What collecting the factors of many kernels takes: sites, stages, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from feature_sets.errors import UserError
from tl_entk.linearization.build_jacobian import choose_sites
from tl_entk.model.factors import measure_uses
from tl_entk.model.sites import Site
from tl_entk.model.staged_factors import Stage
from tl_entk.model.stages import layer_of, plan_stages, staged_batch_size, stages_hold
from tl_entk.model.task import Task

# gradients between stages that take more than this part of the budget go to the disk
_SHARE = 4


@dataclass(frozen=True, eq=False)
class Collection:
    """Which factors are collected, and how.

    Attributes:
        chosen: kernel to its sites, each with what it is called.
        uses: positions at which each site is used.
        outputs: how many are read of every example.
        stages: from the last to the first.
        on_disk: whether the gradients between stages lie in files.
        batch_size: examples in a forward pass.
        memory_bytes: of the factors that are there at a time, and of the gradients at a stage's
            ends.
        disk_bytes: of those gradients, where they lie in files.
    """

    chosen: dict[str, list[tuple[Site, str]]]
    uses: dict[str, int]
    outputs: int
    stages: list[Stage]
    on_disk: bool
    batch_size: int
    memory_bytes: int
    disk_bytes: int


def plan_collection(
    task: Task,
    kernels: Mapping[str, list[str]],
    *,
    dtype: torch.dtype,
    memory_budget: int,
) -> Collection:
    """Stages whose factors fit the memory, if they can: a weight is never parted.

    Args:
        task: model, its parameters frozen, examples, and the few outputs to be read.
        kernels: name to the components that it is of.
        dtype: number format of the factors.
        memory_budget: bytes.

    Raises:
        UserError: if the factors of a kernel do not fit.
    """
    chosen = {name: choose_sites(task.adapter, parts) for name, parts in kernels.items()}
    sites = list({site.name: site for found in chosen.values() for site, _ in found}.values())
    uses, outputs = measure_uses(task, sites)
    sizes = _sizes(task, sites, uses, outputs, dtype)
    for name, parts in chosen.items():
        _check_size(name, sum(sizes[site.name] for site, _ in parts), memory_budget)
    width = getattr(task.adapter, "d_model", 0)
    # two are there at a time
    ends = 2 * outputs * len(task) * task.length * width * task.adapter.dtype.itemsize
    on_disk = ends > memory_budget // _SHARE
    room = memory_budget - (0 if on_disk else ends)
    if sum(sizes.values()) > room:
        # of stages, some factors wait for other weights of their kernels
        room = max(room - _waiting(chosen, sizes, task), max(sizes.values()))
    stages = plan_stages(task, sites, sizes, room)
    if len(stages) > 1 and not stages_hold(task, stages, dtype):
        # each goes back from what is read
        stages, on_disk = [Stage(stage.sites) for stage in stages], False
    on_disk = on_disk and len(stages) > 1
    joined = any(stage.end for stage in stages)
    return Collection(
        chosen,
        uses,
        outputs,
        stages,
        on_disk,
        staged_batch_size(task, stages, uses, dtype.itemsize, memory_budget // 2),
        _most_held(stages, chosen, sizes) + (ends if joined and not on_disk else 0),
        ends if joined and on_disk else 0,
    )


def _sizes(
    task: Task,
    sites: Sequence[Site],
    uses: Mapping[str, int],
    outputs: int,
    dtype: torch.dtype,
) -> dict[str, int]:
    """Bytes of each site's factors; heads are brought to the front, which takes a copy."""
    numbers = {
        site.name: len(task) * uses[site.name] * (site.d_in + outputs * site.d_out)
        for site in sites
    }
    return {
        site.name: numbers[site.name] * dtype.itemsize * (2 if site.heads else 1) for site in sites
    }


def _waiting(
    chosen: Mapping[str, Sequence[tuple[Site, str]]], sizes: Mapping[str, int], task: Task
) -> int:
    """Bytes of the factors of kernels whose weights lie in several blocks."""
    layers = getattr(task.adapter, "n_layers", 1)
    return sum(
        sizes[name]
        for name in {
            site.name
            for found in chosen.values()
            if len({layer_of(site.name, layers) for site, _ in found}) > 1
            for site, _ in found
        }
    )


def _most_held(
    stages: Sequence[Stage],
    chosen: Mapping[str, Sequence[tuple[Site, str]]],
    sizes: Mapping[str, int],
) -> int:
    """Bytes of a stage's factors, and of those that wait for other weights of their kernels."""
    waiting = [{site.name for site, _ in found} for found in chosen.values()]
    held: set[str] = set()
    most = 0
    for stage in stages:
        held |= {site.name for site in stage.sites}
        most = max(most, sum(sizes[name] for name in held))
        waiting = [needed for needed in waiting if not needed <= held]
        held &= set().union(*waiting)
    return most


def _check_size(name: str, size: int, memory_budget: int) -> None:
    """Refuse a kernel whose factors memory was not meant for.

    Raises:
        UserError: says what would do.
    """
    if size > memory_budget:
        raise UserError(
            f"the factors of {name} take {size / 2**30:.1f} GiB: pass memory_budget={2 * size}, "
            "fewer outputs or fewer examples."
        )
