"""Factors of all sites, a few at a time: as many as fit the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from tl_entk.kernel.plan import Plan, Sites
from tl_entk.model.adapters import TransformerAdapter
from tl_entk.model.factors import Factors, collect
from tl_entk.model.staged_factors import Stage, collect_stages
from tl_entk.model.stages import plan_stages, staged_batch_size, stages_hold
from tl_entk.model.task import Task


@dataclass(frozen=True)
class Found:
    """Factors of some sites.

    Attributes:
        sites: whose; all roles of a parameter are there together.
        outputs: how many of the readout's they are of.
        factors: by the sites' names.
    """

    sites: Sites
    outputs: int
    factors: dict[str, Factors]


def find_stages(task: Task, plan: Plan, dtype: torch.dtype) -> list[Stage]:
    """Stages that save going back through what comes after some sites again; none without need.

    Each stage hands its gradients to the one before, for which there must be room, and hold what
    the whole network does.

    Args:
        task: its model's parameters frozen.
        plan: the passes that there are without stages.
        dtype: number format of the factors.
    """
    adapter, work = task.adapter, plan.work
    turns = len({step.sites for step in plan.passes})
    if turns == 1 or not isinstance(adapter, TransformerAdapter):
        return []  # outputs that take turns go back no more than once
    sizes = {site.name: work.factor_bytes((site,), work.outputs) for site in work.sites}
    # the gradients at a stage's two ends, and roles that wait for others
    boundary = work.outputs * work.n * task.length * adapter.d_model * adapter.dtype.itemsize
    waiting = sum(sizes[site.name] for group in work.groups if len(group) > 1 for site in group)
    # the plan's two quarters, of factors and of copies: a stage makes no copies
    room = 2 * plan.tile_bytes - 2 * boundary - waiting
    if room < max(sizes.values()):
        return []
    stages = plan_stages(task, work.sites, sizes, room)
    # a block that takes several stages is gone back through in each
    backward = sum(stage.blocks or 0 for stage in stages) / adapter.n_layers
    worth = len(stages) > 1 and backward < turns
    return stages if worth and stages_hold(task, stages, dtype) else []


def factor_passes(
    task: Task,
    plan: Plan,
    stages: Sequence[Stage],
    *,
    dtype: torch.dtype,
    merge: bool,
    advance: Callable[[int], None],
) -> Iterator[Found]:
    """Factors of all sites, by the stages if there are any, else by the plan's passes.

    Args:
        task: its model's parameters frozen.
        plan: of the call.
        stages: of it.
        dtype: number format of the factors.
        merge: fold outputs into one where that leaves all sums over outputs as they are.
        advance: called with the number of examples done, for each output.
    """
    if not stages:
        for step in plan.passes:
            yield Found(
                step.sites,
                step.outputs,
                collect(
                    task,
                    step.sites,
                    columns=step.columns,
                    batch_size=plan.batch_size,
                    dtype=dtype,
                    merge=merge,
                    advance=advance,
                ),
            )
        return
    held: dict[str, Factors] = {}
    groups = plan.work.groups
    for found in collect_stages(
        task,
        stages,
        outputs=plan.work.outputs,
        batch_size=staged_batch_size(
            task, stages, plan.work.uses, plan.work.itemsize, 4 * plan.tile_bytes
        ),
        dtype=dtype,
        merge=merge,
        advance=advance,
    ):
        held |= found
        ready = [group for group in groups if all(site.name in held for site in group)]
        groups = [group for group in groups if group not in ready]
        sites = tuple(site for group in ready for site in group)
        found.clear()
        if sites:
            factors = {site.name: held.pop(site.name) for site in sites}
            yield Found(sites, plan.work.outputs, factors)
            factors.clear()
