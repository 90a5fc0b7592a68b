"""What a compression will take, from a short measurement on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from tl_entk.compressed.output_space import PooledKernels
from tl_entk.compressed.plan import Collection, plan_collection
from tl_entk.compressed.work import ERROR_OUTPUTS, CompressionWork, compress
from tl_entk.directions.cost import expected_products
from tl_entk.kernel.cost import SHARE_OF_RATE, matrix_product_rate
from tl_entk.model.capture import frozen
from tl_entk.model.factors import collect
from tl_entk.model.task import Task
from tl_entk.tools.timing import best_seconds, duration

# tokens run to measure
_SAMPLE_TOKENS = 256


@dataclass(frozen=True)
class CompressedEstimate:
    """What the kernels of all components will take, about.

    Attributes:
        space_seconds: random products, which find the outputs.
        network_seconds: forward and backward passes.
        solver_seconds: eigenpairs of the compressed kernels.
        stages: that the network is gone back through in.
        memory_bytes: planned, beside the model.
        disk_bytes: of gradients between stages.
    """

    space_seconds: float
    network_seconds: float
    solver_seconds: float
    stages: int
    memory_bytes: int
    disk_bytes: int

    @property
    def seconds(self) -> float:
        """The whole run."""
        return self.space_seconds + self.network_seconds + self.solver_seconds

    def __str__(self) -> str:
        disk = f" and {self.disk_bytes / 2**30:.1f} GiB on the disk" if self.disk_bytes else ""
        return (
            f"about {duration(self.seconds)}: {duration(self.space_seconds)} to find the outputs, "
            f"{duration(self.network_seconds)} for backward passes ({self.stages} stages), "
            f"{duration(self.solver_seconds)} to solve; {self.memory_bytes / 2**30:.1f} GiB of "
            f"factors{disk}"
        )


def estimate_compressed(work: CompressionWork) -> CompressedEstimate:
    """Measure a few examples, and scale them up.

    Args:
        work: what is asked for.
    """
    task, n = work.task, len(work.task)
    count = min(n, max(2, -(-_SAMPLE_TOKENS // task.length)))
    few = task.take(torch.arange(count, device=task.inputs.device))
    space = _measure_products(work, few) if work.products else 0.0
    basis = torch.eye(work.width, min(work.width, work.outputs + ERROR_OUTPUTS))
    compressed = compress(task, basis, work.root, work.dtype)
    with frozen(task.adapter.model), torch.enable_grad():
        plan = plan_collection(
            compressed, work.wanted, dtype=work.dtype, memory_budget=work.memory_budget
        )
        few = compressed.take(torch.arange(count, device=task.inputs.device))
        forward, backward = _measure_passes(few, plan, work.dtype)
    stages = len(plan.stages)
    return CompressedEstimate(
        work.examples * space,
        # stages run half of the forward pass on average
        n * (plan.outputs * backward + (1 + (stages - 1) / 2) * forward),
        _solver_operations(plan, n, work.outputs, work.k)
        / (SHARE_OF_RATE * matrix_product_rate(work.dtype, task.inputs.device)),
        stages,
        plan.memory_bytes,
        plan.disk_bytes,
    )


def _measure_products(work: CompressionWork, few: Task) -> float:
    """Seconds of all random products with one example's kernels."""
    kernels = PooledKernels(few, work.wanted, work.root, work.dtype, work.memory_budget)
    generator = torch.Generator().manual_seed(0)

    def multiply(count: int) -> None:
        kernels.multiply_random(count, generator)

    several = min(3, work.products)
    one, most = (best_seconds(partial(multiply, v), few.inputs.device) for v in (1, several))
    each = max(0.0, most - one) / max(1, several - 1)
    return (one + (work.products - 1) * each) / len(few)


def _measure_passes(few: Task, plan: Collection, dtype: torch.dtype) -> tuple[float, float]:
    """Seconds of an example's forward pass, and of its backward pass of one output."""
    sites, count = [site for stage in plan.stages for site in stage.sites], len(few)

    def run(outputs: int) -> None:
        collect(few, sites, columns=slice(0, outputs), batch_size=count, dtype=dtype)

    most = min(3, plan.outputs)
    one, several = (best_seconds(partial(run, r), few.inputs.device) for r in (1, most))
    backward = max(0.0, several - one) / max(1, most - 1) if most > 1 else one / 2
    return max(0.0, one - backward) / count, backward / count


def _solver_operations(plan: Collection, n: int, kept: int, k: int) -> int:
    """Of the products with all compressed kernels: J^T and J, by the stored factors."""
    products = expected_products(k, 1)
    return products * sum(
        4 * n * plan.uses[site.name] * site.d_out * ((site.d_in or 1) + kept)
        for sites in plan.chosen.values()
        for site, _ in sites
    )
