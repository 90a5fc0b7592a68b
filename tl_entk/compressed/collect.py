"""The compressed Jacobian of every kernel, from one set of backward passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from feature_sets.errors import UserError
from tl_entk.compressed.boundaries import room_for_tensors
from tl_entk.linearization.build_jacobian import choose_sites, map_site
from tl_entk.linearization.jacobian import Jacobian
from tl_entk.model.capture import frozen
from tl_entk.model.factors import Factors, measure_uses
from tl_entk.model.memory import examples_per_pass
from tl_entk.model.request import Task
from tl_entk.model.sites import Site
from tl_entk.model.staged_factors import Stage, collect_stages
from tl_entk.model.stages import plan_stages, stages_hold
from tl_entk.tools.progress import Progress

# gradients between stages that take more than this part of the budget go to the disk
_SHARE = 4


def compressed_jacobians(
    task: Task,
    kernels: Mapping[str, list[str]],
    *,
    dtype: torch.dtype,
    memory_budget: int,
    progress: bool = False,
) -> Iterator[tuple[str, Jacobian]]:
    """The Jacobian of each kernel, as soon as its last weight's factors are there.

    Args:
        task: model, examples, and the few outputs to be read.
        kernels: name to the components that it is of.
        dtype: number format of the factors.
        memory_budget: bytes.
        progress: show a bar.

    Raises:
        UserError: if a weight's factors do not fit the budget.
    """
    adapter, n = task.adapter, len(task)
    chosen = {name: choose_sites(adapter, parts) for name, parts in kernels.items()}
    sites = list({site.name: site for found in chosen.values() for site, _ in found}.values())
    with frozen(adapter.model), torch.enable_grad():
        uses, outputs = measure_uses(task, sites)
        sizes = _sizes(task, sites, uses, outputs, dtype)
        for name, parts in chosen.items():
            _check_size(name, sum(sizes[site.name] for site, _ in parts), memory_budget)
        stages, on_disk = _stages(task, sites, sizes, outputs, dtype, memory_budget)
        floats = task.example_floats(uses)
        batch_size = examples_per_pass(n, floats, dtype.itemsize, memory_budget // 2)
        waiting = {name: {site.name for site, _ in found} for name, found in chosen.items()}
        held: dict[str, Factors] = {}
        bar = Progress("backward passes", len(stages) * outputs * n, progress)
        with bar, room_for_tensors(on_disk=on_disk) as room_for:
            for found in collect_stages(
                task,
                stages,
                outputs=outputs,
                batch_size=batch_size,
                dtype=dtype,
                advance=bar.advance,
                room_for=room_for,
            ):
                held |= found
                for name in [name for name, needed in waiting.items() if needed <= held.keys()]:
                    del waiting[name]
                    maps = [
                        map_site(site, key, kernels[name], held[site.name], outputs)
                        for site, key in chosen[name]
                    ]
                    scale = torch.full((n, outputs), task.readout.scale**0.5, dtype=dtype)
                    scale = scale.to(task.inputs.device)
                    yield name, Jacobian(tuple(maps), n, outputs, memory_budget, scale)
                    del maps
                wanted = {site for needed in waiting.values() for site in needed}
                held = {name: factors for name, factors in held.items() if name in wanted}
                del found  # before the next stage's factors come


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


def _stages(
    task: Task,
    sites: Sequence[Site],
    sizes: Mapping[str, int],
    outputs: int,
    dtype: torch.dtype,
    memory_budget: int,
) -> tuple[list[Stage], bool]:
    """Stages, and whether the gradients where they are joined go to the disk.

    They hold on two examples; else such as go back from what is read every time are given.
    """
    width = getattr(task.adapter, "d_model", 0)
    boundary = outputs * len(task) * task.length * width * dtype.itemsize
    # two are there at a time
    on_disk = 2 * boundary > memory_budget // _SHARE
    room = memory_budget if on_disk else memory_budget - 2 * boundary
    stages = plan_stages(task, sites, sizes, room)
    if len(stages) == 1 or stages_hold(task, stages, dtype):
        return stages, on_disk and len(stages) > 1
    return [Stage(stage.sites) for stage in stages], False
