"""Factors of many outputs, stage by stage: one backward pass for each output in all.

The network is cut at the inputs of some blocks. The last stage goes back from what is read and
hands its gradients at its beginning to the stage before, which goes on from there. So the graph,
and the factors, of one stage are there at a time, and no block is gone back through twice but one
whose sites take several stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.model.batches import run_in_batches
from tl_entk.model.factors import (
    Factors,
    by_use,
    differentiate,
    fold_outputs,
    forward,
)
from tl_entk.model.finite import check_finite
from tl_entk.model.merge_outputs import merge_outputs
from tl_entk.model.sites import Site, Tap
from tl_entk.model.tables import embedding_scale
from tl_entk.model.task import Task

# shape, dtype=, device= -> a tensor to be filled
Room = Callable[..., Tensor]


@dataclass(frozen=True, eq=False)
class Stage:
    """Some blocks in a row.

    Attributes:
        sites: whose factors are wanted.
        begin: input of the first block; None to go back to the first site and no further.
        end: input of the block after the last; None for what is read.
        blocks: from begin to end; None for all.
    """

    sites: tuple[Site, ...]
    begin: Tap | None = None
    end: Tap | None = None
    blocks: int | None = None


def collect_stages(
    task: Task,
    stages: Sequence[Stage],
    *,
    outputs: int,
    batch_size: int,
    dtype: torch.dtype,
    merge: bool = False,
    advance: Callable[[int], None] = lambda examples: None,
    room_for: Room = torch.empty,
) -> Iterator[dict[str, Factors]]:
    """Factors of the sites of each stage in turn, for every output.

    A stage's factors are let go of before the next one's are made, if the caller does so too.

    Args:
        task: the model, its parameters frozen, and what is read of it.
        stages: from the last to the first.
        outputs: number R of outputs.
        batch_size: examples per forward pass.
        dtype: number format of the factors.
        merge: fold outputs into one where that leaves all sums over outputs as they are.
        advance: called with the number of examples done, for each output.
        room_for: makes the tensors that hold the gradients between stages.
    """
    cotangents: Tensor | None = None
    for stage in stages:
        found, before = _collect_stage(
            task,
            stage,
            cotangents if stage.end else None,
            outputs=outputs,
            batch_size=batch_size,
            dtype=dtype,
            merge=merge,
            advance=advance,
            room_for=room_for,
        )
        cotangents = cotangents if before is None else before
        yield found
        del found


def _collect_stage(
    task: Task,
    stage: Stage,
    cotangents: Float[Tensor, "r n ..."] | None,
    *,
    outputs: int,
    batch_size: int,
    dtype: torch.dtype,
    merge: bool,
    advance: Callable[[int], None],
    room_for: Room,
) -> tuple[dict[str, Factors], Float[Tensor, "r n ..."] | None]:
    """Factors of a stage's sites for every output, and the outputs' gradients at its beginning.

    ``cotangents`` are gradients of every output at the stage's end; None where that is what is
    read.
    """
    n = len(task)
    found = {site.name: _Buffer(site, n, outputs, dtype) for site in stage.sites}
    taps = list({site.output: None for site in stage.sites})
    before: Tensor | None = None

    def read(rows: slice) -> None:
        """What is written of a batch that fails is written again."""
        nonlocal before
        seen, values = forward(task, stage.sites, rows, begin=stage.begin, end=stage.end)
        tops = _outputs(task, values, cotangents, rows)  # one by one: each takes room
        for site in stage.sites:
            inputs = seen.inputs[site.input] if site.input else []
            found[site.name].put_inputs(
                rows, inputs, embedding_scale(site, task.inputs[rows], seen)
            )
        for r, (top, cotangent) in enumerate(tops):
            begin = [] if seen.begin is None else [seen.begin]
            kept = [*(seen.outputs[tap] for tap in taps), begin]
            *gradients, first = differentiate(top, kept, cotangent, last=r + 1 == outputs)
            for value in first:
                if before is None:
                    shape = (outputs, n, *value.shape[1:])
                    before = room_for(shape, dtype=value.dtype, device=value.device)
                before[r, rows] = value
            by_tap = dict(zip(taps, gradients, strict=True))
            for site in stage.sites:
                found[site.name].put_gradients(rows, r, by_tap[site.output])
        advance(outputs * (rows.stop - rows.start))

    run_in_batches(n, batch_size, read)
    return {name: buffer.fold(task.inputs, merge) for name, buffer in found.items()}, before


def _outputs(
    task: Task, values: Tensor, cotangents: Tensor | None, rows: slice
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """What is differentiated for every output, and the gradient that it starts from."""
    if cotangents is not None:
        for part in cotangents:
            yield values, part[rows].to(values.device)
        return
    outputs = task.readout.outputs(values, rows)
    check_finite(outputs, task, rows, f"readout {task.readout.name!r}")
    for output in outputs.unbind(1):
        yield output, None


class _Buffer:
    """Inputs and gradients of one site, filled in batch by batch and output by output."""

    def __init__(self, site: Site, n: int, outputs: int, dtype: torch.dtype) -> None:
        self.site, self.n, self.outputs, self.dtype = site, n, outputs, dtype
        self.x: Tensor | None = None
        self.g: Tensor | None = None
        self.scale = 1.0

    def put_inputs(self, rows: slice, inputs: Sequence[Tensor], scale: float) -> None:
        self.scale = scale
        if inputs:
            x = by_use(inputs, rows.stop - rows.start, self.site.d_in)
            if self.x is None:
                self.x = x.new_empty(len(x), self.n, self.site.d_in, dtype=self.dtype)
            self.x[:, rows] = x.to(self.dtype)

    def put_gradients(self, rows: slice, r: int, gradients: Sequence[Tensor]) -> None:
        g = by_use(gradients, rows.stop - rows.start, self.site.d_out)
        if self.g is None:
            shape = (len(g), self.n, self.outputs, self.site.d_out)
            self.g = g.new_empty(shape, dtype=self.dtype)
        self.g[:, rows, r] = g.to(self.dtype) if self.scale == 1 else g.to(self.dtype) * self.scale

    def fold(self, tokens: Tensor, merge: bool) -> Factors:
        """The factors; uses that no output depends on are left out."""
        assert self.g is not None
        x, g = self.x, self.g
        self.x = self.g = None
        if self.site.kind == "linear":
            assert x is not None
            used = torch.tensor([bool(part.any()) for part in g])
            if not bool(used.all()):
                x, g = x[used], g[used]
            if merge:
                merged = merge_outputs([part.flatten(0, 1) for part in g.unbind(2)])
                g = g if merged is None else merged.reshape(*g.shape[:2], 1, -1)
        return fold_outputs(self.site, tokens, x, g)
