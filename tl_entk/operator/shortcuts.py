"""Trying a suffix on two examples: what can be left out, what works, and what it takes.

Every shortcut is kept only where what is read and the weights' gradients stay as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.model.finite import check_finite
from tl_entk.model.sites import Cut, Tap
from tl_entk.model.tables import embedding_scale
from tl_entk.operator.plan import Sizes, counting_bytes
from tl_entk.operator.precision import Precision, matrix_products
from tl_entk.operator.replay import find_prefix, recording
from tl_entk.operator.suffix import Cache, Gradients, Graph, Suffix, leave_in_place
from tl_entk.operator.weight_maps import WeightMap
from tl_entk.tools.rounding import relative_distance, relative_rounding

TWO = slice(0, 2)
# how a network refuses a shortcut: shapes that do not fit, derivatives that do not exist
_REFUSALS = (RuntimeError, ValueError, IndexError, TypeError, AssertionError, NotImplementedError)


@dataclass(frozen=True, eq=False)
class Shortened:
    """A suffix with every shortcut that holds.

    Attributes:
        suffix: ready for use.
        outputs: numbers read per example.
        sizes: bytes it takes.
        precision_error: relative error of a product in reduced precision; None in full.
    """

    suffix: Suffix
    outputs: int
    sizes: Sizes
    precision_error: float | None


def find_shortcuts(suffix: Suffix, cuts: tuple[Cut, ...], precision: Precision) -> Shortened:
    """Find what the network after some weights allows.

    Args:
        suffix: as it stands, with nothing left out.
        cuts: places from which on only the position that is read may matter.
        precision: of the products to come.

    Raises:
        RuntimeError: if the network has neither forward-mode derivatives nor a backward pass
            of its backward pass, or they differ; or if a hook never fires.
        UserError: if nothing read depends on the weights.
    """
    task, suffix = suffix.task, _take_two(suffix)
    if any(m.site.kind == "embedding" for m in suffix.maps):
        suffix = replace(suffix, maps=_with_scales(suffix))
    graph = suffix.graph(TWO, push=False)
    cotangent = _random_like(graph.outputs.detach())
    gradients = graph.pull(cotangent)
    reference = _Reference(
        graph.outputs.detach(),
        cotangent,
        gradients,
        task.adapter.dtype,
        _noise(graph, cotangent, gradients),
    )
    for gradient in reference.gradients.values():
        check_finite(gradient, suffix.task, TWO, "a weight's gradient")
    if not reference.gradients:
        names = ", ".join(m.site.name for m in suffix.maps)
        raise UserError(
            f"nothing that is read depends on {names}: choose other components, or another "
            "readout or position."
        )
    suffix, cache = _with_prefix(_with_cuts(suffix, cuts, reference), reference)
    suffix = _with_modes(suffix, cache, reference)
    suffix, error = _with_precision(suffix, cache, reference, precision)
    sizes = _sizes(suffix, cache, reference.gradients)
    return Shortened(replace(suffix, task=task), reference.outputs.shape[1], sizes, error)


def _take_two(suffix: Suffix) -> Suffix:
    """The same network on two examples, read at positions as far apart as there are."""
    positions = suffix.task.positions
    rows = torch.stack([positions.argmin(), positions.argmax()])
    if rows[0] == rows[1]:
        rows = torch.arange(2, device=rows.device)
    return replace(suffix, task=suffix.task.take(rows))


def _with_scales(suffix: Suffix) -> tuple[WeightMap, ...]:
    """The maps, with the factor of embeddings that multiply their rows by one."""
    with torch.enable_grad():
        seen, _ = suffix.run(TWO)
    tokens = suffix.task.inputs[TWO]
    return tuple(replace(m, scale=embedding_scale(m.site, tokens, seen)) for m in suffix.maps)


@dataclass(frozen=True, eq=False)
class _Reference:
    """What a shortcut must leave as it is."""

    outputs: Tensor
    cotangent: Tensor
    gradients: Gradients
    dtype: torch.dtype  # the network's
    noise: float  # of the gradients' rounding

    def holds(self, suffix: Suffix, cache: Cache | None = None) -> bool:
        try:
            graph = suffix.graph(TWO, cache, push=False)
            gradients = graph.pull(self.cotangent)
        except _REFUSALS as error:
            _unless_out_of_memory(error)
            return False
        tolerance = relative_rounding(self.dtype, least=1e-4)
        return (
            relative_distance(graph.outputs.detach(), self.outputs) <= tolerance
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
        return 30 * torch.finfo(self.dtype).eps * self.scale + 10 * self.noise

    @property
    def scale(self) -> float:
        """The size that a gradient might have."""
        return float(self.outputs.double().norm() * self.cotangent.double().norm())


def _noise(graph: Graph, cotangent: Tensor, gradients: Gradients) -> float:
    """Size of the gradients' rounding errors: they are others for another multiple."""
    factor = 1.1
    again = graph.pull(factor * cotangent)
    squares = [(again[key] / factor - G).double().square().sum() for key, G in gradients.items()]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def _unless_out_of_memory(error: Exception) -> None:
    """A device that is too small refuses no shortcut."""
    if isinstance(error, torch.OutOfMemoryError):
        raise error


def _with_cuts(suffix: Suffix, cuts: tuple[Cut, ...], reference: _Reference) -> Suffix:
    """Only the position that is read from as many of the places on as that holds for."""
    if suffix.task.length == 1:
        return suffix
    every = replace(suffix, cuts=cuts)
    if reference.holds(every):
        return every
    for place in cuts:
        cut = replace(suffix, cuts=(*suffix.cuts, place))
        suffix = cut if reference.holds(cut) else suffix
    return suffix


def _with_prefix(suffix: Suffix, reference: _Reference) -> tuple[Suffix, Cache | None]:
    """Leave out what comes before the first site, where that can be replayed."""
    starts = [site.output for site in suffix.sites]

    def read() -> Tensor:
        with torch.enable_grad():
            return suffix.run(TWO, check=False)[1]

    try:
        prefix = find_prefix(suffix.model, starts, 2, read)
    except _REFUSALS as error:
        _unless_out_of_memory(error)
        return suffix, None
    trial = replace(suffix, prefix=prefix)
    with torch.no_grad():
        with recording(prefix.needed) as values:
            whole, _ = trial.run(TWO, replace=leave_in_place)
        try:
            again, _ = trial.run(TWO, Cache(values, {}), replace=leave_in_place, check=False)
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
    return (trial, cache) if reference.holds(trial, cache) else (suffix, None)


def without_prefix(suffix: Suffix, start: Tap) -> Suffix:
    """Leave out what comes before some place, where what is read stays as it was.

    Args:
        suffix: without weight maps.
        start: the place.
    """
    two = _take_two(suffix)

    def read() -> Tensor:
        with torch.enable_grad():
            return two.run(TWO)[1]

    try:
        trial = replace(two, prefix=find_prefix(two.model, [start], 2, read))
        with torch.no_grad():
            found = trial.run(TWO, trial.record(TWO))[1]
    except _REFUSALS as error:
        _unless_out_of_memory(error)
        return suffix
    tolerance = relative_rounding(suffix.task.adapter.dtype, least=1e-4)
    if relative_distance(found, read().detach()) > tolerance:
        return suffix
    return replace(suffix, prefix=trial.prefix)


def _with_modes(suffix: Suffix, cache: Cache | None, reference: _Reference) -> Suffix:
    """Which of the two ways forward the network has, each checked to be adjoint to the pull.

    Where the gradient vanishes but for rounding, there is nothing to check.
    """
    size = sum(float(G.double().square().sum()) for G in reference.gradients.values())
    # two passes round apart
    tolerance = 2 * relative_rounding(reference.dtype, least=5e-4) * size
    tolerance += 10 * reference.noise * size**0.5

    def error(push: Callable[[], Tensor]) -> float | None:
        """Difference from the pull; None where the network refuses."""
        try:
            found = float((push().double() * reference.cotangent.double()).sum())
        except _REFUSALS as error:
            _unless_out_of_memory(error)
            return None
        return 0.0 if size**0.5 <= 1e-6 * reference.scale else abs(found - size)

    forward = error(lambda: suffix.push(TWO, cache, reference.gradients))
    double = error(lambda: suffix.graph(TWO, cache).push(reference.gradients))
    errors = [found for found in (forward, double) if found is not None]
    if not errors:
        raise RuntimeError(
            "the network has neither forward-mode derivatives nor a second backward pass: load "
            "it with eager attention (attn_implementation='eager')."
        )
    if min(errors) > tolerance:
        raise RuntimeError(
            f"the network's derivatives forward and backward differ by {min(errors) / size:.0%} "
            f"of the gradient, in {reference.dtype}: compute in a wider format (model.float(), "
            "model.double()), or take a readout whose gradient does not vanish."
        )
    return replace(
        suffix,
        forward_mode=forward is not None and forward <= tolerance,
        double_backward=double is not None and double <= tolerance,
    )


def _push(suffix: Suffix, cache: Cache | None, changes: Gradients) -> Tensor:
    if suffix.double_backward:
        return suffix.graph(TWO, cache).push(changes)
    return suffix.push(TWO, cache, changes)


def _with_precision(
    suffix: Suffix, cache: Cache | None, reference: _Reference, precision: Precision
) -> tuple[Suffix, float | None]:
    """The suffix in reduced precision, and the relative error of a product in it."""
    if precision == "full":
        return suffix, None
    exact = _push(suffix, cache, reference.gradients)
    suffix = replace(suffix, precision=precision)
    with matrix_products(precision, suffix.task.inputs.device):
        pulled = suffix.graph(TWO, cache, push=False).pull(reference.cotangent)
        return suffix, relative_distance(_push(suffix, cache, pulled), exact)


def _sizes(suffix: Suffix, cache: Cache | None, gradients: Gradients) -> Sizes:
    with counting_bytes(suffix.model) as forward:
        graph = suffix.graph(TWO, cache, push=False)
    inputs = _bytes(x for values in graph.inputs.values() for x in values)
    del graph
    kept = forward[0]
    if suffix.double_backward:
        with counting_bytes(suffix.model) as both:
            suffix.graph(TWO, cache)
        kept = both[0]
    held = 0
    if cache is not None:
        values = [v[0] if isinstance(v, tuple) else v for v in cache.values.values()]
        held = _bytes([*values, *(x for xs in cache.inputs.values() for x in xs)])
    gradient = sum(max(4, G.dtype.itemsize) * G.numel() for G in gradients.values())
    return Sizes((kept + inputs) // 2, held // 2, gradient)


def _bytes(tensors: Iterator[Tensor] | list[Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def _random_like(like: Tensor) -> Tensor:
    """A fixed random tensor of the same kind."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(like.shape, generator=generator).to(like.device, like.dtype)
