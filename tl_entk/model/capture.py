"""Reading inputs and outputs of sites in one forward pass, and leaving the model as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from feature_sets.errors import UserError
from tl_entk.model.sites import Cut, Site, Tap


@dataclass
class Reading:
    """What one forward pass of n examples showed: a tap's tensors in the order of its calls.

    ``inputs`` are detached; ``outputs`` are in the graph, ready for ``torch.autograd.grad``, and so
    are the values where the graph was made to ``begin`` and the pass to ``end``.
    """

    n: int
    inputs: dict[Tap, list[Tensor]] = field(default_factory=dict)
    outputs: dict[Tap, list[Tensor]] = field(default_factory=dict)
    versions: list[tuple[Tap, Tensor, int]] = field(default_factory=list)
    without_gradient: set[Tap] = field(default_factory=set)
    final_hidden: Tensor | None = None
    begin: Tensor | None = None
    end: Tensor | None = None

    def check(self, sites: Iterable[Site], processed: str | None = None) -> None:
        """Refuse a pass that a site's gradient cannot be read off.

        A hook never fired, an output was changed in place, a layer ran without gradients, or on
        what has no row for each example.

        Args:
            sites: that were to be seen.
            processed: why the model's weights look processed, for the message.

        Raises:
            RuntimeError: names the site.
            UserError: names it, where a module of one's own is to be written otherwise.
        """
        changed = {tap for tap, tensor, version in self.versions if tensor._version != version}
        for site in sites:
            if site.output not in self.outputs or (site.input and site.input not in self.inputs):
                fix = (
                    f"{processed}: load it anew, with enable_compatibility_mode(no_processing=True)"
                    if processed
                    else "leave the component out, or undo what bypasses it"
                )
                raise RuntimeError(
                    f"the hook of {site.name} never fired: the model's forward pass does not run "
                    f"this weight's module. Fix: {fix}."
                )
            if site.output in changed:
                raise RuntimeError(
                    f"the output of {site.name} was changed in place after it was read, so its "
                    "gradient cannot be: undo the hook or patch that does so."
                )
            if site.output in self.without_gradient:
                raise UserError(
                    f"{site.name} is used where gradients are switched off (torch.no_grad, or "
                    "torch.utils.checkpoint with use_reentrant=True): take that away for the "
                    "analysis. Checkpoints change no number."
                )
            for value in (
                *self.outputs[site.output],
                *(self.inputs[site.input] if site.input else ()),
            ):
                if value.ndim < 2 or value.shape[0] % self.n:
                    raise UserError(
                        f"{site.name} is used on inputs of shape {tuple(value.shape)}, whose first "
                        f"axis is not that of the {self.n} examples: keep examples first (what is "
                        "one row for all of them: row.expand(len(x), -1))."
                    )


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No parameter requires grad inside, so that backward passes only reach activations."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


class EndOfPass(Exception):  # noqa: N818 - no error, as StopIteration is none
    """Ends a forward pass where nothing that comes after is wanted."""


# what was seen so far, tap, number of its call, the tensor there -> what takes its place
Replace = Callable[[Reading, Tap, int, Tensor], Tensor]


@contextmanager
def reading(
    sites: Iterable[Site],
    final_hidden: Tap | None,
    positions: Tensor,
    n: int,
    *,
    cuts: Sequence[Cut] = (),
    length: int = 0,
    stop: bool = False,
    replace: Replace | None = None,
    inputs: Mapping[Tap, list[Tensor]] | None = None,
    apart: bool = False,
    begin: Tap | None = None,
    end: Tap | None = None,
) -> Iterator[Reading]:
    """Hooks that record the sites' taps and cut the unembedding's input to one position.

    Args:
        sites: what to record.
        final_hidden: where the final hidden vector passes; None where there is none.
        positions: the position to read of every example, (n,).
        n: number of examples in the pass.
        cuts: further places from which on only that position is needed.
        length: positions in the pass, for cuts that end.
        stop: end the pass at the unembedding (the context ends quietly).
        replace: gives what takes an output's place, instead of a leaf of the graph.
        inputs: inputs that are known already, which are not recorded.
        apart: hand copies of the outputs on, which may be changed in place.
        begin: where the graph begins: what comes before is no part of it.
        end: where the pass ends (the context ends quietly).
    """
    sites = list(sites)
    result = Reading(n, inputs=dict(inputs or {}))
    tables = {s.output for s in sites if s.kind == "position"}
    outputs = _OutputHooks(result, tables, replace, apart, torch.is_grad_enabled())
    one_position = _PositionCut(positions, n, length)

    def finish(value: Tensor) -> Tensor:
        value = one_position.cut(value)
        result.final_hidden = value[:, 0]
        if stop:
            raise EndOfPass
        return value

    def begin_graph(value: Tensor) -> Tensor:
        result.begin = value.detach().requires_grad_()
        return result.begin

    def end_pass(value: Tensor) -> None:
        result.end = value
        raise EndOfPass

    handles: list[RemovableHandle] = []
    try:
        for place in cuts:
            handles.append(_attach(place.at, one_position.cut))
            if place.until is not None:
                handles.append(_attach(place.until, one_position.repeat))
        if final_hidden is not None:
            handles.append(_attach(final_hidden, finish))
        for tap in {site.input for site in sites if site.input} - result.inputs.keys():
            handles.append(_attach(tap, _recorder(result, tap)))
        for tap in {site.output: None for site in sites}:
            # ahead of the user's own hooks: what they make of the output is part of the function
            handles.append(_attach(tap, outputs.at(tap), first=True))
        if begin is not None:
            handles.append(_attach(begin, begin_graph))
        if end is not None:
            handles.append(_attach(end, end_pass))
        yield result
    except EndOfPass:
        pass
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True, eq=False)
class _PositionCut:
    """From all positions to the one that is read, and back to as many copies of it."""

    positions: Tensor
    n: int
    length: int

    def cut(self, value: Tensor) -> Tensor:
        """(n, 1, ...) of (n, t, ...)."""
        if value.shape[1] == 1:  # cut before
            return value
        return value[torch.arange(self.n, device=value.device), self.positions][:, None]

    def repeat(self, value: Tensor) -> Tensor:
        """(n, length, ...) of (n, 1, ...)."""
        return value.expand(value.shape[0], self.length, *value.shape[2:])


def _recorder(result: Reading, tap: Tap) -> Callable[[Tensor], None]:
    """A hook that keeps a site's inputs, call by call."""

    def record(value: Tensor) -> None:
        result.inputs.setdefault(tap, []).append(value.detach())

    return record


@dataclass(frozen=True, eq=False)
class _OutputHooks:
    """Hooks that keep the sites' outputs in the graph, a row for every example.

    Attributes:
        result: where they are kept.
        tables: outputs of position embeddings, which come once for all examples.
        replace: gives what takes an output's place.
        apart: hand copies on, which may be changed in place.
        with_gradients: whether the pass is to make a graph.
    """

    result: Reading
    tables: set[Tap]
    replace: Replace | None
    apart: bool
    with_gradients: bool

    def at(self, tap: Tap) -> Callable[[Tensor], Tensor]:
        """The hook of one tap."""

        def keep(value: Tensor) -> Tensor:
            if tap in self.tables:
                value = self._per_example(value)
            if self.with_gradients and not torch.is_grad_enabled():
                self.result.without_gradient.add(tap)
            calls = self.result.outputs.setdefault(tap, [])
            # the first site on the way: the graph starts here, at a leaf for every example
            starts = self.replace is None and not value.requires_grad
            if self.replace is not None:
                value = self.replace(self.result, tap, len(calls), value)
            elif starts:
                value = value.detach().requires_grad_()
            calls.append(value)
            self.result.versions.append((tap, value, value._version))
            # a leaf may not be changed in place, and what is kept should not be
            return value.clone() if starts or self.apart else value

        return keep

    def _per_example(self, value: Tensor) -> Tensor:
        if value.ndim == 2:
            value = value[None]  # one row per position, whatever the example
        return value.expand(self.result.n, *value.shape[1:]) if value.shape[0] == 1 else value


def _attach(tap: Tap, see: Any, *, first: bool = False) -> RemovableHandle:
    """Call ``see`` on the tap's tensor; what it returns (if anything) takes the tensor's place."""
    if tap.side == "output":
        return tap.module.register_forward_hook(
            lambda module, args, output: see(output), prepend=first
        )

    def before(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        name = tap.argument if tap.argument in kwargs else None
        if name is None and not args:
            name = next(iter(kwargs))
        replaced = see(kwargs[name] if name is not None else args[0])
        if replaced is None:
            return None
        if name is not None:
            return args, {**kwargs, name: replaced}
        return (replaced, *args[1:]), kwargs

    return tap.module.register_forward_pre_hook(before, with_kwargs=True, prepend=first)
