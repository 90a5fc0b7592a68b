"""Trying a suffix on two examples: what can be left out, what works, and what it takes.

Every shortcut is kept only where what is read and the weights' gradients stay as they were.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.model.capture import frozen
from tl_entk.model.factors import embedding_scale, measure_uses
from tl_entk.model.readouts import BoundReadout
from tl_entk.operator.plan import Sizes, counting_bytes
from tl_entk.operator.precision import Precision, matrix_products
from tl_entk.operator.replay import find_prefix, recording
from tl_entk.operator.suffix import Cache, Gradients, Suffix, as_it_is
from tl_entk.operator.weight_maps import WeightMap

TWO = slice(0, 2)
# how a network refuses a shortcut: shapes that do not fit, derivatives that do not exist
_REFUSALS = (RuntimeError, ValueError, IndexError, TypeError, AssertionError, NotImplementedError)


@dataclass(frozen=True, eq=False)
class Probe:
    """A suffix with every shortcut that holds.

    Attributes:
        suffix: ready for use.
        outputs: numbers read per example.
        sizes: bytes per example.
        gradient_bytes: of one gradient of the weights.
        precision_error: relative error of a product in reduced precision; None in full.
    """

    suffix: Suffix
    outputs: int
    sizes: Sizes
    gradient_bytes: int
    precision_error: float | None


def probe_suffix(suffix: Suffix, precision: Precision) -> Probe:
    """Find what the network after some weights allows.

    Args:
        suffix: as it stands, with nothing left out.
        precision: of the products to come.

    Raises:
        RuntimeError: if the network has neither forward-mode derivatives nor a backward pass
            of its backward pass; or if a hook never fires.
        UserError: if nothing read depends on the weights.
    """
    whole, suffix = suffix, _sample(suffix)
    if any(m.site.kind == "embedding" for m in suffix.maps):
        suffix = replace(suffix, maps=_scaled(suffix))
    graph = suffix.graph(TWO, push=False)
    cotangent = _direction(graph.outputs.detach())
    wanted = _Wanted(graph.outputs.detach(), cotangent, graph.pull(cotangent))
    _check_finite(wanted)
    if not wanted.gradients:
        names = ", ".join(m.site.name for m in suffix.maps)
        raise UserError(
            f"nothing that is read depends on {names}: choose other components, or another "
            "readout or position."
        )
    suffix, cache = _with_prefix(_with_cuts(suffix, wanted), wanted)
    suffix = _with_modes(suffix, cache, wanted)
    gradient_bytes = sum(max(4, G.dtype.itemsize) * G.numel() for G in wanted.gradients.values())
    error = None
    if precision != "full":
        exact = _push(suffix, cache, wanted.gradients)
        suffix = replace(suffix, precision=precision)
        with matrix_products(precision):
            pulled = suffix.graph(TWO, cache, push=False).pull(cotangent)
            error = _distance(_push(suffix, cache, pulled), exact)
    sizes = _sizes(suffix, cache)
    suffix = replace(suffix, tokens=whole.tokens, positions=whole.positions, readout=whole.readout)
    return Probe(suffix, wanted.outputs.shape[1], sizes, gradient_bytes, error)


def _sample(suffix: Suffix) -> Suffix:
    """The same network on two examples, read at positions as far apart as there are."""
    rows = torch.stack([suffix.positions.argmin(), suffix.positions.argmax()])
    if rows[0] == rows[1]:
        rows = torch.arange(2, device=rows.device)
    readout = suffix.readout
    if readout is not None:
        evaluate = readout.evaluate
        readout = replace(readout, evaluate=lambda values, two: evaluate(values, rows[two]))
    return replace(
        suffix, tokens=suffix.tokens[rows], positions=suffix.positions[rows], readout=readout
    )


def _scaled(suffix: Suffix) -> tuple[WeightMap, ...]:
    """The maps, with the factor of embeddings that multiply their rows by one."""
    with torch.enable_grad():
        seen, _ = suffix.run(TWO)
    tokens = suffix.tokens[TWO]
    return tuple(replace(m, scale=embedding_scale(m.site, tokens, seen)) for m in suffix.maps)


def _check_finite(wanted: _Wanted) -> None:
    values = [wanted.outputs, *wanted.gradients.values()]
    if not all(bool(torch.isfinite(value).all()) for value in values):
        raise RuntimeError(
            "what is read, or its gradient, is not finite: look for infinities in the weights or "
            "activations, or compute in a wider format (model.float())."
        )


@dataclass(frozen=True, eq=False)
class _Wanted:
    """What a shortcut must leave as it is."""

    outputs: Tensor
    cotangent: Tensor
    gradients: Gradients

    def holds(self, suffix: Suffix, cache: Cache | None = None) -> bool:
        try:
            graph = suffix.graph(TWO, cache, push=False)
            gradients = graph.pull(self.cotangent)
        except _REFUSALS as error:
            _unless_out_of_memory(error)
            return False
        tolerance = 1e-4 if self.outputs.dtype.itemsize >= 4 else 5e-2
        return (
            _distance(graph.outputs.detach(), self.outputs) <= tolerance
            and gradients.keys() == self.gradients.keys()
            and all(
                gradients[key].shape == G.shape
                and float((gradients[key].double() - G.double()).norm())
                <= tolerance * float(G.double().norm()) + self.rounding
                for key, G in self.gradients.items()
            )
        )

    @property
    def rounding(self) -> float:
        """What gradients may differ by that vanish but for rounding (a key bias')."""
        return 30 * torch.finfo(self.outputs.dtype).eps * self.scale

    @property
    def scale(self) -> float:
        """The size that a gradient might have."""
        return float(self.outputs.double().norm() * self.cotangent.double().norm())


def _unless_out_of_memory(error: Exception) -> None:
    """A device that is too small refuses no shortcut."""
    if isinstance(error, torch.OutOfMemoryError):
        raise error


def _with_cuts(suffix: Suffix, wanted: _Wanted) -> Suffix:
    if suffix.tokens.shape[1] == 1:
        return suffix
    every = replace(suffix, cuts=suffix.adapter.cuts)
    if wanted.holds(every):
        return every
    for place in suffix.adapter.cuts:
        cut = replace(suffix, cuts=(*suffix.cuts, place))
        suffix = cut if wanted.holds(cut) else suffix
    return suffix


def _with_prefix(suffix: Suffix, wanted: _Wanted) -> tuple[Suffix, Cache | None]:
    """Leave out what comes before the first site, where that can be replayed."""
    starts = [site.output for site in suffix.sites]

    def read() -> Tensor:
        with torch.enable_grad():
            return suffix.run(TWO, check=False)[1]

    try:
        prefix = find_prefix(suffix.adapter.model, starts, 2, read)
    except _REFUSALS as error:
        _unless_out_of_memory(error)
        return suffix, None
    trial = replace(suffix, prefix=prefix)
    with torch.no_grad():
        with recording(prefix.needed) as values:
            whole, _ = trial.run(TWO, replace=as_it_is)
        try:
            again, _ = trial.run(TWO, Cache(values, {}), replace=as_it_is, check=False)
        except _REFUSALS as error:
            _unless_out_of_memory(error)
            return suffix, None
    early = frozenset(
        tap
        for tap, values in whole.inputs.items()
        if len(values) != len(again.inputs.get(tap, ()))
        or not all(map(torch.equal, values, again.inputs[tap]))
    )
    trial = replace(trial, early=early)
    cache = Cache(values, {tap: whole.inputs[tap] for tap in early})
    return (trial, cache) if wanted.holds(trial, cache) else (suffix, None)


def _with_modes(suffix: Suffix, cache: Cache | None, wanted: _Wanted) -> Suffix:
    """Which of the two ways forward the network has, each checked to be adjoint to the pull.

    Where the gradient vanishes but for rounding, there is nothing to check.
    """
    size = sum(float(G.double().square().sum()) for G in wanted.gradients.values())
    tolerance = 1e-3 if wanted.outputs.dtype.itemsize >= 4 else 0.1

    def adjoint(push: Callable[[], Tensor]) -> bool:
        try:
            found = float((push().double() * wanted.cotangent.double()).sum())
        except _REFUSALS as error:
            _unless_out_of_memory(error)
            return False
        return size**0.5 <= 1e-6 * wanted.scale or abs(found - size) <= tolerance * size

    forward = adjoint(lambda: suffix.push(TWO, cache, wanted.gradients))
    double = adjoint(lambda: suffix.graph(TWO, cache).push(wanted.gradients))
    if not forward and not double:
        raise RuntimeError(
            "the network has neither forward-mode derivatives nor a second backward pass: load "
            "it with eager attention (attn_implementation='eager')."
        )
    return replace(suffix, forward_mode=forward, double_backward=double)


def _push(suffix: Suffix, cache: Cache | None, changes: Gradients) -> Tensor:
    if suffix.double_backward:
        return suffix.graph(TWO, cache).push(changes)
    return suffix.push(TWO, cache, changes)


def _sizes(suffix: Suffix, cache: Cache | None) -> Sizes:
    with counting_bytes(suffix.adapter.model) as forward:
        graph = suffix.graph(TWO, cache, push=False)
    inputs = _bytes(x for values in graph.inputs.values() for x in values)
    del graph
    kept = forward[0]
    if suffix.double_backward:
        with counting_bytes(suffix.adapter.model) as both:
            suffix.graph(TWO, cache)
        kept = both[0]
    held = 0
    if cache is not None:
        values = [v[0] if isinstance(v, tuple) else v for v in cache.values.values()]
        held = _bytes([*values, *(x for xs in cache.inputs.values() for x in xs)])
    return Sizes((kept + inputs) // 2, held // 2)


def _bytes(tensors: Iterator[Tensor] | list[Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def _direction(like: Tensor) -> Tensor:
    """A fixed random tensor of the same kind."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(like.shape, generator=generator).to(like.device, like.dtype)


def _distance(found: Tensor, wanted: Tensor) -> float:
    """Relative distance; infinite for another shape."""
    if found.shape != wanted.shape:
        return float("inf")
    size = float(wanted.double().norm())
    return float((found.double() - wanted.double()).norm()) / (size if size > 0 else 1.0)


def final_hidden(suffix: Suffix, memory_budget: int) -> Float[Tensor, "n d"]:
    """The final hidden vectors of all examples, in batches that fit the budget."""
    n, length = suffix.tokens.shape
    bytes_each = suffix.adapter.example_floats(length) * suffix.adapter.dtype.itemsize
    batch = max(1, min(n, memory_budget // 4 // bytes_each))
    plain = replace(suffix, maps=())
    with torch.no_grad():
        parts = [plain.run(slice(s, min(s + batch, n)))[1] for s in range(0, n, batch)]
    return torch.cat(parts)


def check_readout(suffix: Suffix) -> None:
    """Refuse a readout that has no gradient, or mixes examples.

    Raises:
        UserError: says which.
    """
    assert suffix.readout is not None
    with frozen(suffix.adapter.model):
        measure_uses(suffix.adapter, suffix.tokens, (), suffix.readout, suffix.positions)


def check_linear_unembedding(suffix: Suffix) -> None:
    """Warn where logits are not W_U^T r + b_U.

    Warns:
        UserWarning: if the model caps or scales what the unembedding returns.
    """
    adapter = suffix.adapter
    plain = replace(suffix, maps=())
    with torch.no_grad():
        logits = BoundReadout("logits", "logits", 1.0, lambda values, rows: values)
        seen, given = replace(plain, readout=logits).run(TWO)
    hidden = seen.final_hidden
    assert hidden is not None
    bias = adapter.by_name.get("unembed.b_U")
    linear = hidden.to(given.dtype) @ adapter.unembedding.to(given.dtype)
    linear = linear if bias is None else linear + bias.parameter.detach()
    if _distance(linear, given) > (1e-3 if given.dtype.itemsize >= 4 else 5e-2):
        warnings.warn(
            "the model caps or scales its logits after the unembedding: the kernel is that of "
            "the logits before.",
            UserWarning,
            stacklevel=3,
        )
