"""A check that what the hooks see of a weight is all of its gradient.

A weight may be used by a layer and once more in between (``h @ self.layer.weight.T``), where no
hook sees it, on inputs whose first axis is not the examples', or by a module that a patch changed.
Its kernel would then be wrong without any sign of it. So the gradient that the factors add up to is
compared with autograd's, in one pass that has both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NoReturn

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from feature_sets.errors import UserError
from tl_entk.model.adapters import ModelAdapter
from tl_entk.model.adapters.base import refuse_mixed_rows
from tl_entk.model.capture import Reading
from tl_entk.model.factors import by_use, differentiate, fold_outputs, forward
from tl_entk.model.gradient_map import GradientMap
from tl_entk.model.readouts import BoundReadout
from tl_entk.model.sites import Site
from tl_entk.model.tables import embedding_scale, first_row
from tl_entk.model.task import Task
from tl_entk.tools.rounding import relative_rounding, same_rows

# examples at a time: few, so that a use in one of them is not lost among the others
_BATCH = 64
# bytes of gradients that are there at a time, beside those of the largest weight
_GRADIENTS = 2**29
# how far a parameter is moved, in parts of a typical entry: far enough for none to stay at zero
_STEP = 0.1

Roles = Mapping[str, Sequence[Site]]


def check_whole_gradient(task: Task, names: Sequence[str]) -> None:
    """Compare the sites' gradients with autograd's, for random weights of examples and outputs.

    Of a TransformerLens model, whose layout is known, one example is looked at. Of a module of
    one's own all are; and one once more with other weights near by, where a use whose gradient
    happens to vanish (before an output layer that starts at zero, say) shows itself.

    Args:
        task: all examples.
        names: the components wanted.

    Raises:
        UserError: for a model that is not deterministic, or mixes examples; and names a parameter
            whose gradient is not seen as a whole.
    """
    adapter = task.adapter
    roles = _roles_of(adapter, names)
    mixture = replace(task, readout=BoundReadout("a mixture of the outputs", "logits", 1.0, _mix))
    everything = torch.arange(len(task), device=task.inputs.device)
    one = mixture.take(everything[:1])
    if not adapter.may_hide_uses:
        two = _outputs(mixture.take(everything[[0, -1]]))
        _compare(one, roles, two[:1])
        return
    uses = [
        _compare(part, roles, _outputs(part))
        for part in map(mixture.take, everything.split(_BATCH))
    ]
    with _moved(adapter.model):
        uses.append(_compare(one, roles, _outputs(one)))
    for found in uses:
        if found != uses[0]:
            name = next(name for name in found if found[name] != uses[0][name])
            _refuse(adapter, name)


def _outputs(task: Task) -> Float[Tensor, "n c"]:
    """What the model returns where nothing is looked at."""
    with torch.no_grad():
        return forward(task, [], slice(0, len(task)))[1]


def _mix(outputs: Tensor, _rows: object) -> Tensor:
    """A sum of the outputs with random weights, the same for every example."""
    return outputs @ _random_weights(outputs.shape[1], outputs)


def _random_weights(count: int, like: Tensor) -> Tensor:
    """Unequal, so that one is not taken for another, and none of them small."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(count, generator=generator, dtype=torch.float64) + 0.5).to(like)


@contextmanager
def _moved(model: nn.Module) -> Iterator[None]:
    """Every parameter at a random point near by inside; the very tensors of before after."""
    generator = torch.Generator().manual_seed(0)
    kept = [(parameter, parameter.data) for parameter in model.parameters()]
    try:
        for parameter, data in kept:
            noise = torch.randn(data.shape, generator=generator, dtype=torch.float64).to(data)
            size = float(data.float().square().mean().sqrt()) if data.numel() else 0.0
            parameter.data = data + _STEP * (size or 1.0) * noise
        yield
    finally:
        for parameter, data in kept:
            parameter.data = data


def _roles_of(adapter: ModelAdapter, names: Sequence[str]) -> Roles:
    """The parameters that the components are of, each with all of its sites."""
    wanted = set(names)
    found: dict[str, tuple[Site, ...]] = {}
    for site in adapter.sites:
        if wanted.intersection(adapter.components_needing(site)):
            wholes = adapter.wholes(site)
            if wholes:
                found[wholes[0]] = adapter.shared[wholes[0]]
            else:
                found[site.name] = (site,)
    return found


def _compare(task: Task, roles: Roles, plain: Float[Tensor, "n c"]) -> dict[str, int]:
    """Refuse a parameter whose sites do not add up to its gradient.

    Args:
        task: some examples.
        roles: the parameters, with their sites.
        plain: what the model returned for them before.

    Returns:
        How often each site is used per example.

    Raises:
        UserError: names the parameter.
    """
    n, adapter = len(task), task.adapter
    sites = [site for found in roles.values() for site in found]
    taps = list({site.output: None for site in sites})
    parameters = {name: found[0].parameter for name, found in roles.items()}
    with _wanting_gradients(adapter.model, list(parameters.values())), torch.enable_grad():
        seen, values = forward(task, sites, slice(0, n))
        _check_repeatable(task, values.detach(), plain)
        outputs = task.readout.outputs(values, slice(0, n))[:, 0]
        weights = _random_weights(n, outputs) if n > 1 else outputs.new_ones(1)
        found = differentiate(outputs, [seen.outputs[tap] for tap in taps], last=False)
        by_tap = dict(zip(taps, found, strict=True))
        for group in _groups(parameters):
            wanted = [[parameters[name] for name in group]]
            (wholes,) = differentiate(outputs, wanted, weights, last=False)
            for name, whole in zip(group, wholes, strict=True):
                parts = [_Part(task, site, seen, by_tap[site.output]) for site in roles[name]]
                if not _agree(whole, parts, weights):
                    _refuse(adapter, name)
    return {site.name: len(by_use(by_tap[site.output], n, site.d_out)) for site in sites}


def _check_repeatable(
    task: Task, values: Float[Tensor, "n c"], plain: Float[Tensor, "n c"]
) -> None:
    """Refuse a model that returned something else before.

    Raises:
        UserError: says why that may be.
    """
    if not same_rows(values, plain):
        again = same_rows(_outputs(task), _outputs(task))
        refuse_mixed_rows(task.adapter.model_name, again)


@contextmanager
def _wanting_gradients(model: nn.Module, wanted: Sequence[nn.Parameter]) -> Iterator[None]:
    """Inside, these parameters of the model require gradients and no others."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    chosen = set(map(id, wanted))
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(id(parameter) in chosen)
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _groups(parameters: Mapping[str, nn.Parameter]) -> Iterator[list[str]]:
    """Names of parameters whose gradients are there together: one model's may be too many."""
    group: list[str] = []
    size = 0
    for name, parameter in parameters.items():
        size += parameter.numel() * parameter.element_size()
        if group and size > _GRADIENTS:
            yield group
            group, size = [], parameter.numel() * parameter.element_size()
        group.append(name)
    if group:
        yield group


@dataclass(frozen=True, eq=False)
class _Part:
    """What one site adds to its parameter's gradient, by its factors.

    Attributes:
        task: the examples.
        site: whose they are.
        seen: in the forward pass.
        gradients: at the site's output, call by call, of each example's own output.
    """

    task: Task
    site: Site
    seen: Reading
    gradients: Sequence[Tensor]

    def add_to(self, total: Tensor, weights: Float[Tensor, " n"]) -> float:
        """Add the gradient; returns the size of what was summed, which it may cancel in."""
        n, site = len(self.task), self.site
        scale = embedding_scale(site, self.task.inputs, self.seen)
        g = by_use(self.gradients, n, site.d_out).to(total.dtype) * scale
        x = (
            by_use(self.seen.inputs[site.input], n, site.d_in).to(total.dtype)
            if site.input
            else None
        )
        factors = fold_outputs(replace(site, heads=None), self.task.inputs, x, g[:, :, None])
        # nn.Linear's own layout is the transposed one
        turned = site.transposed or isinstance(site.output.module, nn.Linear)
        rows = len(site.parameter) if site.kind == "embedding" else 0
        part = GradientMap(site.name, factors, 1, transposed=turned, rows=rows)
        self._into(total).add_(self._laid_out(part.adjoint(weights.to(total.dtype)[:, None])))
        sizes = g.norm(dim=-1) if x is None else g.norm(dim=-1) * x.norm(dim=-1)
        return float((sizes * weights.to(sizes)).sum())

    def _into(self, total: Tensor) -> Tensor:
        """The part of the parameter that the site reads."""
        if self.site.kind != "position":
            return total
        output = self.seen.outputs[self.site.output][0].detach()
        first = first_row(self.site, output) or 0
        return total[first : first + output.shape[1]]

    def _laid_out(self, gradient: Float[Tensor, " p"]) -> Tensor:
        """The gradient in the parameter's own layout."""
        site = self.site
        shape = site.parameter.shape
        if site.kind == "position":
            return gradient.reshape(-1, site.d_out)
        if (
            site.kind == "linear"
            and len(shape) == 3
            and site.heads
            and site.heads.along == "output"
        ):
            return rearrange(gradient, "(i h o) -> h i o", h=shape[0], i=shape[1])
        return gradient.reshape(shape)


def _agree(whole: Tensor, parts: Sequence[_Part], weights: Float[Tensor, " n"]) -> bool:
    """Whether the parts add up to the gradient, but for rounding."""
    dtype = whole.dtype
    wide = dtype if dtype.itemsize >= 4 else torch.float32
    total = torch.zeros_like(whole, dtype=wide)
    size = sum(part.add_to(total, weights) for part in parts)
    expected = whole.to(wide)
    largest = float(expected.abs().max())
    if not math.isfinite(largest):
        return True  # what is not finite is refused where it is read
    # products in TF32 have the digits of half precision
    rounded = dtype if torch.get_float32_matmul_precision() == "highest" else torch.float16
    # where terms cancel (a key's bias), an entry has the rounding of their size; some norms and
    # softmaxes round to float32 in a model of float64
    eps = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    tolerance = relative_rounding(rounded, least=3e-4) * largest
    tolerance += 10 * eps * size / whole.numel() ** 0.5
    return float(total.sub_(expected).abs_().max()) <= tolerance


def _refuse(adapter: ModelAdapter, name: str) -> NoReturn:
    """Say why a parameter has no kernel, and what to do.

    Raises:
        UserError: that.
    """
    fix = (
        "make every use of it a module, tl_entk.LinearMap(weight, transposed=...) or "
        "tl_entk.Bias(bias), and keep examples first."
        if adapter.may_hide_uses
        else "undo the patch of the module that uses it, or leave it out of the components."
    )
    raise UserError(
        f"{name} is also used where no hook sees it, or on inputs whose first axis is not that of "
        f"the examples, so its kernel would be wrong: {fix}"
    )
