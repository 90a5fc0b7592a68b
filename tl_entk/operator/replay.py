"""Replay: run a network again from its first site on, without running what comes before it.

Whatever a module returned before the first site's output can be handed out again in place of its
forward. Which of those values matter is found by autograd on two examples: where the read vector
does not depend on one (it only fed the site's own input, say), a placeholder does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tl_entk.model.sites import Tap

Recorded = dict[nn.Module, Any]


@contextmanager
def recording(modules: Iterable[nn.Module]) -> Iterator[Recorded]:
    """Inside, what each module returns is kept, as it was before any hook on it."""
    values: Recorded = {}
    handles = [
        module.register_forward_hook(
            lambda module, _, output: values.__setitem__(module, _detached(output)), prepend=True
        )
        for module in modules
    ]
    try:
        yield values
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replaying(values: Mapping[nn.Module, Any]) -> Iterator[None]:
    """Inside, each module returns its value without being run (hooks on it run as ever)."""
    replaced: list[tuple[nn.Module, Any]] = []
    try:
        for module, value in values.items():
            replaced.append((module, module.__dict__.get("forward")))
            module.__dict__["forward"] = lambda *_, _value=value, **__: _value
        yield
    finally:
        for module, forward in replaced:
            if forward is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = forward


@dataclass(frozen=True)
class Prefix:
    """The modules that a replay does not run.

    Attributes:
        needed: their values are recorded for every example.
        idle: nothing read depends on their values; each with (width of the tuple's rest, shape
            of one example's value, number format) of its placeholder.
    """

    needed: tuple[nn.Module, ...] = ()
    idle: tuple[tuple[nn.Module, Any], ...] = ()

    def values(self, recorded: Recorded, n: int, device: torch.device) -> Recorded:
        """What to replay for n examples whose needed values were recorded."""
        found = dict(recorded)
        for module, (shape, dtype, rest) in self.idle:
            placeholder = torch.zeros((), dtype=dtype, device=device).expand(n, *shape)
            found[module] = placeholder if rest is None else (placeholder, *rest)
        return found


def find_prefix(
    model: nn.Module, starts: Sequence[Tap], n: int, read: Callable[[], Tensor]
) -> Prefix:
    """What need not run before the first of the sites.

    Args:
        model: whose modules to look at.
        starts: the sites' outputs; the first that fires is the start.
        n: examples in the pass.
        read: runs the network on n examples, its sites as leaves of the graph, and returns what
            is read.
    """
    completed, outputs = _completed_before(model, starts, n, read)
    leaves = {m: _first(outputs[m]).detach().requires_grad_() for m in completed}
    with replaying({m: _with_first(outputs[m], leaf) for m, leaf in leaves.items()}):
        result = read()
    if not result.requires_grad:
        return Prefix()
    gradients = torch.autograd.grad(result.sum(), list(leaves.values()), allow_unused=True)
    needed: list[nn.Module] = []
    idle: list[tuple[nn.Module, Any]] = []
    for module, gradient in zip(leaves, gradients, strict=True):
        if gradient is not None:
            needed.append(module)
            continue
        value, output = _first(outputs[module]), outputs[module]
        rest = output[1:] if isinstance(output, tuple) else None
        idle.append((module, (value.shape[1:], value.dtype, rest)))
    return Prefix(tuple(needed), tuple(idle))


def _completed_before(
    model: nn.Module, starts: Sequence[Tap], n: int, read: Callable[[], Tensor]
) -> tuple[list[nn.Module], Recorded]:
    """Outermost modules that returned before the start, each called once in the whole pass."""
    calls: Counter[nn.Module] = Counter()
    outputs: Recorded = {}
    started = False
    entries = {tap.module for tap in starts if tap.side == "input"}
    exits = {tap.module for tap in starts if tap.side == "output"}

    def enter(module: nn.Module, _: Any) -> None:
        nonlocal started
        started = started or module in entries

    def leave(module: nn.Module, _: Any, output: Any) -> None:
        nonlocal started
        calls[module] += 1
        if not started:
            outputs[module] = _detached(output)
            started = module in exits

    handles: list[RemovableHandle] = []
    try:
        for module in model.modules():
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave, prepend=True))
        read()
    finally:
        for handle in handles:
            handle.remove()
    chosen: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for module, output in reversed(outputs.items()):
        # hook points and activations cost nothing, and a bridge takes a replay for a user's edit
        costs = next(module.parameters(), None) is not None
        if costs and module not in inside and calls[module] == 1 and _is_per_example(output, n):
            chosen.append(module)
            inside.update(module.modules())
    return chosen, outputs


def _detached(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.detach()
    return tuple(_detached(part) for part in output) if isinstance(output, tuple) else output


def _is_per_example(output: Any, n: int) -> bool:
    """A float tensor with a row per example, alone or first in a tuple without other tensors."""
    if isinstance(output, tuple):
        rest = any(isinstance(part, Tensor) for part in output[1:])
        return bool(output) and not rest and _is_per_example(output[0], n)
    return (
        isinstance(output, Tensor)
        and output.dtype.is_floating_point
        and output.ndim > 1
        and output.shape[0] == n
    )


def _first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def _with_first(output: Any, value: Tensor) -> Any:
    return (value, *output[1:]) if isinstance(output, tuple) else value
