"""Memory plan: which sites and outputs share a pass, and how many examples go in a forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tl_entk.sites import EMBEDDING, UNEMBEDDING, Site

DEFAULT_MEMORY_BUDGET = 4 * 2**30


@dataclass(frozen=True)
class Pass:
    """One sweep over the examples: these sites, these of the readout's outputs."""

    sites: tuple[Site, ...]
    columns: slice


@dataclass(frozen=True)
class Plan:
    """All passes, and the sizes they were made for.

    A quarter of the budget is for factors, as much for the copies made while they are built, a
    quarter for the graph of a forward pass, a quarter for tiles. Numbers do not depend on the plan.
    """

    passes: tuple[Pass, ...]
    batch_size: int
    tile_bytes: int


def plan_passes(
    sites: Sequence[Site],
    uses: dict[str, int],
    *,
    n: int,
    outputs: int,
    example_floats: int,
    itemsize: int,
    memory_budget: int,
) -> Plan:
    """Fit the work into the budget.

    Args:
        sites: whose kernels are wanted.
        uses: positions at which each is used.
        n: examples.
        outputs: number R of the readout's outputs.
        example_floats: numbers autograd keeps per example.
        itemsize: bytes per number.
        memory_budget: bytes.

    Raises:
        ValueError: if the factors of one site do not fit for a single output; says what would.
    """

    def needed(site: Site, r: int) -> int:
        return n * uses[site.name] * (site.d_in + r * site.d_out) * itemsize

    room = memory_budget // 4
    # tied roles share a pass, for their cross terms
    tied = tuple(site for site in sites if site.name in (EMBEDDING, UNEMBEDDING))
    groups = [tied] if len(tied) > 1 else []
    groups += [(site,) for site in sites if not groups or site not in tied]
    largest = max(groups, key=lambda group: sum(needed(site, 1) for site in group))
    least = sum(needed(site, 1) for site in largest)
    if least > room:
        raise ValueError(
            f"the factors of {' and '.join(site.name for site in largest)} take {_size(least)} "
            f"for {n} examples, more than a quarter of memory_budget = {_size(memory_budget)}: "
            f"pass memory_budget={4 * least} or fewer examples."
        )
    width = outputs
    while any(sum(needed(site, width) for site in group) > room for group in groups):
        width = (width + 1) // 2
    passes: list[tuple[Site, ...]] = []
    used = room + 1
    for group in groups:
        size = sum(needed(site, width) for site in group)
        if used + size > room:
            passes.append(())
            used = 0
        passes[-1] += group
        used += size
    chunks = [slice(r, min(r + width, outputs)) for r in range(0, outputs, width)]
    batch_size = memory_budget // 4 // (example_floats * itemsize)
    return Plan(
        tuple(Pass(group, columns) for group in passes for columns in chunks),
        max(1, min(n, batch_size)),
        memory_budget // 4,
    )


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
