"""The suffix: the part of a network between some weights and what is read, as a linear map.

For some examples, ``pull`` takes cotangents of what is read to gradients of the weights, and
``push`` takes changes of the weights to changes of what is read; together they are J^T and J.
Either needs the forward pass. Kept (a retained graph), it serves every later product: J^T is a
backward pass through it, J a backward pass through that backward pass. Not kept, it is run again
from the first site on (see replay.py): J^T by a backward pass, J by forward-mode derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd import forward_ad

from tl_entk.model.capture import Reading, Replace, frozen, reading
from tl_entk.model.finite import check_finite
from tl_entk.model.sites import Cut, Site, Tap
from tl_entk.model.task import Task
from tl_entk.operator.precision import Precision, network_pass
from tl_entk.operator.replay import Prefix, Recorded, recording, replaying
from tl_entk.operator.weight_maps import WeightMap

# the weights' gradients (or changes), by their maps' keys
Gradients = dict[str, Tensor]


@dataclass(frozen=True)
class Cache:
    """What the replays of some examples need: values of modules, inputs of sites."""

    values: Recorded
    inputs: dict[Tap, list[Tensor]]


@dataclass(frozen=True, eq=False)
class Suffix:
    """A network from the sites of some weight maps to what is read.

    Attributes:
        task: the model, its examples, and what is read of them.
        maps: the weights.
        cuts: places from which on only the position that is read is needed.
        prefix: what a replay does not run.
        early: input taps before the first site, which a replay does not see.
        forward_mode: whether the network has forward-mode derivatives.
        double_backward: whether its backward pass has a backward pass.
        precision: of the matrix products.
    """

    task: Task
    maps: tuple[WeightMap, ...]
    cuts: tuple[Cut, ...] = ()
    prefix: Prefix | None = None
    early: frozenset[Tap] = frozenset()
    forward_mode: bool = True
    double_backward: bool = True
    precision: Precision = "full"

    @property
    def sites(self) -> list[Site]:
        """The sites of the maps."""
        return [m.site for m in self.maps]

    @property
    def model(self) -> nn.Module:
        """Whose network it is."""
        return self.task.adapter.model

    def run(
        self,
        rows: slice,
        cache: Cache | None = None,
        replace: Replace | None = None,
        *,
        check: bool = True,
    ) -> tuple[Reading, Float[Tensor, "b r"]]:
        """One forward pass of some examples: what was seen, and what is read."""
        task, adapter = self.task, self.task.adapter
        batch = task.inputs[rows]
        values: Recorded = {}
        if cache is not None and self.prefix is not None:
            values = self.prefix.values(cache.values, len(batch), batch.device)
        context = reading(
            self.sites,
            adapter.final_hidden,
            task.positions[rows],
            len(batch),
            cuts=self.cuts,
            length=task.length,
            stop=task.readout.reads == "final_hidden",
            replace=replace,
            inputs=cache.inputs if cache is not None else None,
        )
        logits: Tensor | None = None
        network = network_pass(self.precision, batch.device)
        with frozen(adapter.model), network, replaying(values), context as seen:
            logits = adapter.outputs(batch)[:, 0]
        if check:
            seen.check(self.sites, adapter.processed)
        read = seen.final_hidden if logits is None else logits
        assert read is not None
        outputs = task.readout.outputs(read, rows)
        check_finite(outputs.detach(), task, rows, f"readout {task.readout.name!r}")
        return seen, outputs

    def record(self, rows: slice) -> Cache:
        """A whole forward pass of some examples, keeping what their replays need."""
        modules = self.prefix.needed if self.prefix is not None else ()
        with recording(modules) as values, torch.no_grad():
            seen, _ = self.run(rows, replace=leave_in_place)
        return Cache(dict(values), {tap: seen.inputs[tap] for tap in self.early})

    def graph(self, rows: slice, cache: Cache | None = None, *, push: bool = True) -> Graph:
        """A forward pass kept as a graph, with its backward pass kept too if ``push``."""
        # frozen: autograd keeps activations for weights' gradients that nobody asks for, else
        with torch.enable_grad(), frozen(self.model):
            seen, outputs = self.run(rows, cache)
            taps = list({m.site.output: None for m in self.maps})
            calls = [(tap, value) for tap in taps for value in seen.outputs[tap]]
            cotangent = torch.zeros_like(outputs, requires_grad=True)
            adjoint: Sequence[Tensor | None] = [None] * len(calls)
            if push and outputs.requires_grad:
                adjoint = torch.autograd.grad(
                    outputs, [v for _, v in calls], cotangent, create_graph=True, allow_unused=True
                )
        return Graph(
            self, self.task.inputs[rows], seen.inputs, calls, outputs, cotangent, list(adjoint)
        )

    def push(self, rows: slice, cache: Cache | None, changes: Gradients) -> Float[Tensor, "b r"]:
        """Change of what is read when the weights change, in a pass of its own."""
        tokens = self.task.inputs[rows]

        def replace(seen: Reading, tap: Tap, call: int, value: Tensor) -> Tensor:
            value, tangent = forward_ad.unpack_dual(value)
            change = change_output(self.maps, tokens, seen.inputs, tap, call, value, changes)
            return forward_ad.make_dual(value, change if tangent is None else tangent + change)

        with torch.no_grad(), forward_ad.dual_level():
            _, outputs = self.run(rows, cache, replace)
            value, tangent = forward_ad.unpack_dual(outputs)
            return torch.zeros_like(value) if tangent is None else tangent.clone()


@dataclass(frozen=True, eq=False)
class Graph:
    """A retained forward pass of some examples, and its retained backward pass.

    Attributes:
        suffix: what was run.
        tokens: of the examples.
        inputs: of the sites.
        calls: each output tap's tensors, call by call.
        outputs: what is read.
        cotangent: the input of the backward pass.
        adjoint: its results, gradients at ``calls`` as a linear function of the cotangent.
    """

    suffix: Suffix
    tokens: Int[Tensor, "b t"]
    inputs: dict[Tap, list[Tensor]]
    calls: list[tuple[Tap, Tensor]]
    outputs: Float[Tensor, "b r"]
    cotangent: Float[Tensor, "b r"]
    adjoint: list[Tensor | None] = field(default_factory=list)

    def in_token_space(self) -> Graph:
        """The same graph where it holds all examples, so that products need not pass weights."""
        maps = tuple(
            m.in_token_space(self.inputs[m.site.input] if m.site.input else [])
            for m in self.suffix.maps
        )
        return replace(self, suffix=replace(self.suffix, maps=maps))

    def pull(self, cotangent: Float[Tensor, "b r"]) -> Gradients:
        """Gradients of the weights, summed over the examples."""
        found: Sequence[Tensor | None] = [None] * len(self.calls)
        if self.outputs.requires_grad:
            found = torch.autograd.grad(
                self.outputs,
                [value for _, value in self.calls],
                cotangent.to(self.outputs.dtype),
                retain_graph=True,
                allow_unused=True,
            )
        by_tap: dict[Tap, list[Tensor | None]] = {}
        for (tap, _), gradient in zip(self.calls, found, strict=True):
            by_tap.setdefault(tap, []).append(gradient)
        gradients: Gradients = {}
        for m in self.suffix.maps:
            xs = self.inputs[m.site.input] if m.site.input else []
            part = m.adjoint(self.tokens, xs, by_tap[m.site.output])
            if part is not None:
                add_to(gradients, {m.key: part})
        return gradients

    def push(self, changes: Gradients) -> Float[Tensor, "b r"]:
        """Change of what is read when the weights change."""
        pairs = []
        seen: dict[Tap, int] = {}
        for (tap, value), gradient in zip(self.calls, self.adjoint, strict=True):
            call = seen[tap] = seen.get(tap, -1) + 1
            if gradient is not None and gradient.requires_grad:
                maps = self.suffix.maps
                change = change_output(maps, self.tokens, self.inputs, tap, call, value, changes)
                pairs.append((gradient, change))
        if not pairs:
            return torch.zeros_like(self.outputs)
        adjoint = [gradient for gradient, _ in pairs]
        changed = [part for _, part in pairs]
        return torch.autograd.grad(adjoint, self.cotangent, changed, retain_graph=True)[0]


def change_output(
    maps: Sequence[WeightMap],
    tokens: Tensor,
    inputs: dict[Tap, list[Tensor]],
    tap: Tap,
    call: int,
    value: Tensor,
    changes: Gradients,
) -> Tensor:
    """Change of one output when the weights that make it change."""
    total: Tensor | None = None
    for m in maps:
        if m.site.output == tap and m.key in changes:
            x = inputs[m.site.input][call] if m.site.input else None
            part = m.forward(tokens, x, changes[m.key], value)
            total = part if total is None else total + part
    return torch.zeros_like(value) if total is None else total


def leave_in_place(_seen: Reading, _tap: Tap, _call: int, value: Tensor) -> Tensor:
    """Leaves an output in its place, when no graph is wanted."""
    return value


def add_to(total: Gradients, part: Gradients) -> None:
    """Add gradients to a running sum, in place, in at least float32."""
    for key, value in part.items():
        if key in total:
            total[key] += value
        else:
            total[key] = value if value.dtype.itemsize >= 4 else value.float()
