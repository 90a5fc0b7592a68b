"""Memory plan: which sites and outputs share a pass, and how many examples go in a forward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from feature_sets.errors import UserError
from tl_entk.kernel.gram import gram_flops
from tl_entk.model.factors import measure_uses
from tl_entk.model.memory import examples_per_pass
from tl_entk.model.sites import Site
from tl_entk.model.task import Task

Sites = tuple[Site, ...]


@dataclass(frozen=True)
class Work:
    """What a call of ``kernel_blocks`` has to do.

    Attributes:
        sites: whose kernels are wanted.
        uses: positions at which each is used.
        n: examples.
        outputs: number R of the readout's outputs.
        example_floats: numbers autograd keeps per example.
        itemsize: bytes per number of factors and kernels.
        flattened: whether every output of every example is a row of the kernel, so that outputs
            cannot take turns.
    """

    sites: Sites
    uses: Mapping[str, int]
    n: int
    outputs: int
    example_floats: int
    itemsize: int
    flattened: bool = False

    @property
    def rows(self) -> int:
        """Of a kernel."""
        return self.n * self.outputs if self.flattened else self.n

    @property
    def groups(self) -> list[Sites]:
        """Sites that go together: roles of one parameter share a pass, for their cross terms."""
        by_parameter: dict[int, Sites] = {}
        for site in self.sites:
            key = id(site.parameter)
            by_parameter[key] = (*by_parameter.get(key, ()), site)
        return list(by_parameter.values())

    @property
    def widths(self) -> list[int]:
        """Outputs that a pass might take: all, half of them (rounded up), and so on to one."""
        widths = [self.outputs]
        while widths[-1] > 1 and not self.flattened:
            widths.append((widths[-1] + 1) // 2)
        return widths

    def factor_bytes(self, group: Sites, outputs: int) -> int:
        """Of the factors of some sites, for so many outputs at a time."""
        inputs = outputs if self.flattened else 1
        return sum(
            self.n
            * self.uses[site.name]
            * (inputs * site.d_in + outputs * site.d_out)
            * self.itemsize
            for site in group
        )

    def operations(self, passes: int, width: int) -> int:
        """Of all: a pass runs the network forward once, and back once for every output."""
        chunks = [c.stop - c.start for c in chunks_of(self.outputs, width)]
        network = sum(
            2 * self.n * self.uses[site.name] * site.d_in * site.d_out for site in self.sites
        )
        folded = [1] if self.flattened else chunks
        return passes * (len(chunks) + 2 * self.outputs) * network + sum(
            gram_flops(site, self.rows, self.uses[site.name], outputs)
            for site in self.sites
            for outputs in folded
        )


def measure_work(task: Task, sites: Sequence[Site], dtype: torch.dtype) -> Work:
    """The work that some sites' kernels are, from a forward pass of two examples.

    Args:
        task: its model's parameters frozen.
        sites: whose kernels are wanted.
        dtype: number format of factors and kernels.
    """
    uses, outputs = measure_uses(task, sites)
    return Work(
        tuple(sites),
        uses,
        n=len(task),
        outputs=outputs,
        example_floats=task.example_floats(uses),
        itemsize=dtype.itemsize,
        flattened=task.readout.flattened,
    )


@dataclass(frozen=True)
class Pass:
    """One sweep over the examples: these sites, these of the readout's outputs."""

    sites: Sites
    columns: slice

    @property
    def outputs(self) -> int:
        """How many outputs."""
        return self.columns.stop - self.columns.start


@dataclass(frozen=True)
class Plan:
    """All passes, and the sizes they were made for.

    A quarter of the budget is for factors, as much for the copies made while they are built, a
    quarter for the graph of a forward pass, a quarter for tiles. Numbers do not depend on the plan.

    Attributes:
        work: what is planned.
        passes: in their order.
        batch_size: examples in a forward pass.
        tile_bytes: of temporaries of a Gram matrix.
        memory_bytes: the kernels, and what is allowed beside them.
    """

    work: Work
    passes: tuple[Pass, ...]
    batch_size: int
    tile_bytes: int
    memory_bytes: int


def plan_passes(work: Work, memory_budget: int, *, kernels: int = 1) -> Plan:
    """Fit the work into the budget, with the fewest operations.

    Outputs that take turns cost a forward pass each turn; sites that take turns cost every
    backward pass again.

    Args:
        work: what is wanted.
        memory_budget: bytes.
        kernels: how many come out of it.

    Raises:
        UserError: if the factors of one site do not fit for a single output, or flattened kernels
            do not; says what would do.
    """
    kernel_bytes = kernels * work.rows**2 * work.itemsize
    if work.flattened:
        _check_kernels(work, kernels, kernel_bytes, memory_budget)
    room = memory_budget // 4
    _check_factors(work, room)
    fitting = [
        width
        for width in work.widths
        if all(work.factor_bytes(group, width) <= room for group in work.groups)
    ]
    # the widest of those that cost the same
    width = min(fitting, key=lambda w: work.operations(len(_pack(work, w, room)), w))
    return Plan(
        work,
        tuple(
            Pass(group, columns)
            for group in _pack(work, width, room)
            for columns in chunks_of(work.outputs, width)
        ),
        examples_per_pass(work.n, work.example_floats, work.itemsize, memory_budget),
        room,
        kernel_bytes + memory_budget,
    )


def chunks_of(outputs: int, width: int) -> list[slice]:
    """All outputs, ``width`` at a time.

    Example:
        >>> chunks_of(5, 2)
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(r, min(r + width, outputs)) for r in range(0, outputs, width)]


def _pack(work: Work, width: int, room: int) -> list[Sites]:
    """Sites that share a pass, in order, for so many outputs at a time."""
    passes: list[Sites] = []
    used = room + 1
    for group in work.groups:
        size = work.factor_bytes(group, width)
        if used + size > room:
            passes.append(())
            used = 0
        passes[-1] += group
        used += size
    return passes


def _check_factors(work: Work, room: int) -> None:
    """Refuse factors of one weight that do not fit.

    Raises:
        UserError: says what would do.
    """
    fewest = work.widths[-1]
    largest = max(work.groups, key=lambda group: work.factor_bytes(group, fewest))
    least = work.factor_bytes(largest, fewest)
    if least > room:
        raise UserError(
            f"the factors of {' and '.join(site.name for site in largest)} take "
            f"{least / 2**20:.1f} MiB for {work.n} examples, more than a quarter of "
            f"memory_budget = {4 * room / 2**20:.1f} MiB: pass memory_budget={4 * least} or fewer "
            "examples."
        )


def _check_kernels(work: Work, kernels: int, needed: int, memory_budget: int) -> None:
    """Refuse flattened kernels that memory was not meant for.

    Raises:
        UserError: names what does without them.
    """
    if needed > memory_budget:
        raise UserError(
            f"{kernels} flattened kernels of {work.rows} rows take {needed / 2**30:.1f} GiB, more "
            f"than memory_budget = {memory_budget / 2**30:.1f} GiB: decompose them without forming "
            "them (tl_entk.jacobian(model, inputs).eigendecompose(k), or top_eigendirections), ask "
            f"for fewer components, or pass memory_budget={needed}."
        )
