"""What kernel blocks will take, from a short measurement on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from tl_entk.kernel.gram import gram_flops
from tl_entk.kernel.plan import Plan
from tl_entk.tools.timing import duration, seconds

_SIZE = 1024
_SHARE_OF_RATE = 0.5


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

    def __str__(self) -> str:
        return (
            f"about {duration(self.seconds)}: {duration(self.network_seconds)} for forward and "
            f"backward passes ({self.passes} sweeps), {duration(self.gram_seconds)} for products; "
            f"at most {self.memory_bytes / 2**30:.2f} GiB"
        )


def estimate_blocks(
    plan: Plan,
    uses: dict[str, int],
    collect_sample: Callable[[int, int], None],
    *,
    n: int,
    sample: int,
    blocks_bytes: int,
    memory_budget: int,
    dtype: torch.dtype,
    device: torch.device,
) -> BlocksEstimate:
    """Measure a few examples and one matrix product, and scale them up.

    Args:
        plan: of the call.
        uses: positions at which each site is used.
        collect_sample: collects the first pass's factors for so many examples and outputs.
        n: examples.
        sample: examples to measure.
        blocks_bytes: of all blocks.
        memory_budget: bytes that the plan was made for.
        dtype: number format of the products.
        device: where they are computed.
    """
    outputs = sum(step.columns.stop - step.columns.start for step in plan.passes)
    collect_sample(sample, 1)  # the first call sets up libraries
    one = seconds(lambda: collect_sample(sample, 1), device)
    # a pass is a forward pass and a backward pass for each of its outputs
    network, further = len(plan.passes) * one, outputs - len(plan.passes)
    if further > 0:
        several = seconds(lambda: collect_sample(sample, 2), device)
        network += further * min(max(0.0, several - one), one)
    flops = sum(
        gram_flops(site, n, uses[site.name], step.columns.stop - step.columns.start)
        for step in plan.passes
        for site in step.sites
    )
    return BlocksEstimate(
        network * n / sample,
        flops / (_SHARE_OF_RATE * matrix_product_rate(dtype, device)),
        blocks_bytes + memory_budget,
        len(plan.passes),
    )


def matrix_product_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Operations per second of this machine's matrix products, measured."""
    matrix = torch.ones(_SIZE, _SIZE, dtype=dtype, device=device)
    seconds(lambda: matrix @ matrix, device)
    return 2 * _SIZE**3 / min(seconds(lambda: matrix @ matrix, device) for _ in range(3))
