"""What kernel blocks will take, from a short measurement on this machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from tl_entk.kernel.gram import gram_flops
from tl_entk.kernel.plan import Plan
from tl_entk.model.factors import collect
from tl_entk.model.task import Task
from tl_entk.tools.timing import duration, seconds

# tokens run to estimate how long all will take
_SAMPLE_TOKENS = 256
_SIZE = 1024
# of the rate of a large product that those of factors reach
SHARE_OF_RATE = 0.5


@dataclass(frozen=True)
class BlocksEstimate:
    """What a call of kernel_blocks will take, about.

    Attributes:
        network_seconds: forward and backward passes.
        gram_seconds: products of the factors.
        memory_bytes: the blocks, and what the plan allows beside them.
        passes: sweeps over the examples.
    """

    network_seconds: float
    gram_seconds: float
    memory_bytes: int
    passes: int

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.network_seconds + self.gram_seconds

    def as_dict(self) -> dict[str, Any]:
        """As provenance keeps it."""
        return {"estimate": {**asdict(self), "seconds": self.seconds}}

    def __str__(self) -> str:
        return (
            f"about {duration(self.seconds)}: {duration(self.network_seconds)} for forward and "
            f"backward passes ({self.passes} sweeps), {duration(self.gram_seconds)} for products; "
            f"at most {self.memory_bytes / 2**30:.2f} GiB"
        )


def estimate_blocks(task: Task, plan: Plan, stages: int, dtype: torch.dtype) -> BlocksEstimate:
    """Measure a few examples and one matrix product, and scale them up.

    Args:
        task: of the call, its model's parameters frozen.
        plan: of the call.
        stages: how many take the place of the plan's passes, if they do.
        dtype: number format of the products.
    """
    work, device = plan.work, task.inputs.device
    sample = -(-_SAMPLE_TOKENS // max(work.uses.values()))
    sample = min(work.n, plan.batch_size, max(2, sample))
    few = task.take(torch.arange(sample, device=device))

    def collect_outputs(count: int) -> None:
        collect(few, plan.passes[0].sites, columns=slice(0, count), batch_size=sample, dtype=dtype)

    outputs = work.outputs if stages else sum(step.outputs for step in plan.passes)
    collect_outputs(1)  # the first call sets up libraries
    one = seconds(lambda: collect_outputs(1), device)
    # a pass is a forward pass and a backward pass for each of its outputs, which take about as
    # long; stages run half of the forward pass on average, and go back once in all
    passes = (1 + (stages - 1) / 4) if stages else len(plan.passes)
    network, further = passes * one, outputs - (1 if stages else len(plan.passes))
    if further > 0:
        several = seconds(lambda: collect_outputs(2), device)
        network += further * min(max(0.0, several - one), one)
    flops = sum(
        gram_flops(site, work.n, work.uses[site.name], step.outputs)
        for step in plan.passes
        for site in step.sites
    )
    return BlocksEstimate(
        network * work.n / sample,
        flops / (SHARE_OF_RATE * matrix_product_rate(dtype, device)),
        plan.memory_bytes,
        stages or len(plan.passes),
    )


def matrix_product_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Operations per second of this machine's matrix products, measured."""
    matrix = torch.ones(_SIZE, _SIZE, dtype=dtype, device=device)
    seconds(lambda: matrix @ matrix, device)
    return 2 * _SIZE**3 / min(seconds(lambda: matrix @ matrix, device) for _ in range(3))
