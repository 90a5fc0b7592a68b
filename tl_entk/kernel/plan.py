"""Memory plan: which sites and outputs share a pass, and how many examples go in a forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from feature_sets.errors import UserError
from tl_entk.kernel.gram import gram_flops
from tl_entk.model.sites import Site

Sites = tuple[Site, ...]


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
    flattened: bool = False,
) -> Plan:
    """Fit the work into the budget, with the fewest operations.

    Outputs that take turns cost a forward pass each turn; sites that take turns cost every
    backward pass again.

    Args:
        sites: whose kernels are wanted.
        uses: positions at which each is used.
        n: examples.
        outputs: number R of the readout's outputs.
        example_floats: numbers autograd keeps per example.
        itemsize: bytes per number.
        memory_budget: bytes.
        flattened: whether every output of every example is a row of the kernel, so that outputs
            cannot take turns.

    Raises:
        UserError: if the factors of one site do not fit for a single output; says what would.
    """

    def needed(site: Site, r: int) -> int:
        inputs = (r if flattened else 1) * site.d_in
        return n * uses[site.name] * (inputs + r * site.d_out) * itemsize

    room = memory_budget // 4
    # roles of one parameter share a pass, for their cross terms
    by_parameter: dict[int, Sites] = {}
    for site in sites:
        key = id(site.parameter)
        by_parameter[key] = (*by_parameter.get(key, ()), site)
    groups = list(by_parameter.values())
    fewest = outputs if flattened else 1
    largest = max(groups, key=lambda group: sum(needed(site, fewest) for site in group))
    least = sum(needed(site, fewest) for site in largest)
    if least > room:
        raise UserError(
            f"the factors of {' and '.join(site.name for site in largest)} take {_size(least)} "
            f"for {n} examples, more than a quarter of memory_budget = {_size(memory_budget)}: "
            f"pass memory_budget={4 * least} or fewer examples."
        )

    def packed(width: int) -> list[Sites]:
        """Sites that share a pass, in order, for so many outputs at a time."""
        passes: list[Sites] = []
        used = room + 1
        for group in groups:
            size = sum(needed(site, width) for site in group)
            if used + size > room:
                passes.append(())
                used = 0
            passes[-1] += group
            used += size
        return passes

    def operations(width: int) -> int:
        """Of all passes: each runs the network forward once, and back once for every output."""
        network = sum(2 * n * uses[site.name] * site.d_in * site.d_out for site in sites)
        chunks = [c.stop - c.start for c in _chunks(outputs, width)]
        passes = len(packed(width)) * (len(chunks) + 2 * outputs) * network
        rows, folded = (n * outputs, [1]) if flattened else (n, chunks)
        return passes + sum(gram_flops(s, rows, uses[s.name], c) for s in sites for c in folded)

    fitting = [
        width
        for width in ([outputs] if flattened else _halved(outputs))
        if all(sum(needed(site, width) for site in group) <= room for group in groups)
    ]
    # the widest of those that cost the same
    width = min(fitting, key=operations)
    batch_size = memory_budget // 4 // (example_floats * itemsize)
    return Plan(
        tuple(Pass(group, c) for group in packed(width) for c in _chunks(outputs, width)),
        max(1, min(n, batch_size)),
        memory_budget // 4,
    )


def _halved(outputs: int) -> list[int]:
    """All of them, half of them (rounded up), and so on down to one."""
    widths = [outputs]
    while widths[-1] > 1:
        widths.append((widths[-1] + 1) // 2)
    return widths


def _chunks(outputs: int, width: int) -> list[slice]:
    return [slice(r, min(r + width, outputs)) for r in range(0, outputs, width)]


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
