"""A check that a module's linear maps are all the uses of its weights.

A weight may be used by a layer and once more in between (``h @ self.layer.weight.T``), where no
hook sees it, or on inputs whose first axis is not the examples'. Its kernel would then be wrong
without any sign of it.

The check is made at the weights as they are and at others near by: a use whose gradient happens
to vanish (before an output layer that starts at zero, say) shows itself there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from feature_sets.errors import UserError
from tl_entk.model.adapters import ModelAdapter
from tl_entk.model.capture import frozen
from tl_entk.model.factors import collect
from tl_entk.model.gradient_map import GradientMap
from tl_entk.model.readouts import BoundReadout
from tl_entk.model.sites import Site
from tl_entk.model.task import Task
from tl_entk.tools.rounding import relative_rounding

# shapes of inputs with which a module was found sound: training calls it again and again
_SOUND: WeakKeyDictionary[nn.Module, set[torch.Size]] = WeakKeyDictionary()
# unequal, so that one example's part is not taken for the other's
_WEIGHTS = (1.0, 2.0)
# of a typical entry of a parameter: far enough for no entry to stay at zero
_STEP = 0.1


def check_whole_gradient(task: Task) -> None:
    """Compare the sites' gradients with autograd's, on two examples and random output weights.

    Once for a module and a shape of inputs; not at all for models whose layout is known.

    Raises:
        UserError: names the parameter, and how to write the module instead.
    """
    adapter = task.adapter
    if not adapter.may_hide_uses:
        return
    sound = _SOUND.setdefault(adapter.model, set())
    if task.inputs.shape[1:] in sound:
        return
    pair = replace(
        task,
        inputs=task.inputs[:2],
        positions=torch.zeros(2, dtype=torch.long, device=adapter.device),
        readout=BoundReadout("a mixture of the outputs", "logits", 1.0, _mix),
    )
    for weights in (nullcontext(), _moved(adapter.model)):
        with weights:
            _compare(pair)
    sound.add(task.inputs.shape[1:])


def _mix(outputs: Tensor, _rows: object) -> Tensor:
    """A sum of the outputs with random weights, the same for every example."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(outputs.shape[1], generator=generator, dtype=torch.float64) + 0.5
    return outputs @ weights.to(outputs)


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


def _compare(pair: Task) -> None:
    """Refuse a parameter whose sites do not add up to its gradient.

    Raises:
        UserError: names it.
    """
    adapter = pair.adapter
    dtype = adapter.dtype if adapter.dtype.itemsize >= 4 else torch.float32
    rounding, floor = (relative_rounding(adapter.dtype, least) for least in (1e-3, 1e-4))
    with frozen(adapter.model), torch.enable_grad():
        factors = collect(pair, adapter.sites, columns=slice(0, 1), batch_size=2, dtype=dtype)
    whole = _gradients_by_autograd(pair)
    for name, sites in _sites_by_parameter(adapter).items():
        expected = whole[name].to(dtype).flatten()
        if not bool(torch.isfinite(expected).all()):
            continue  # the kernel itself is checked for that
        seen = torch.zeros_like(expected)
        for site in sites:
            part = GradientMap(name, factors[site.name], 1, transposed=site.transposed)
            seen += part.adjoint(seen.new_tensor(_WEIGHTS)[:, None])
        largest = float(expected.abs().max())
        if not torch.allclose(seen, expected, rtol=rounding, atol=floor * largest):
            raise UserError(
                f"{name} is also used where no hook sees it, or on inputs whose first axis is not "
                "that of the examples, so its kernel would be wrong: make every use of it a "
                "module, tl_entk.LinearMap(weight, transposed=...) or tl_entk.Bias(bias), and keep "
                "examples first."
            )


def _sites_by_parameter(adapter: ModelAdapter) -> dict[str, tuple[Site, ...]]:
    """Every supported parameter with all of its sites."""
    roles = {site.name for sites in adapter.shared.values() for site in sites}
    single = {site.name: (site,) for site in adapter.sites if site.name not in roles}
    return {**adapter.shared, **single}


def _gradients_by_autograd(pair: Task) -> dict[str, Tensor]:
    """The gradient of the mixture's sum over the pair, by parameter."""
    adapter = pair.adapter
    found = _sites_by_parameter(adapter)
    parameters = {name: sites[0].parameter for name, sites in found.items()}
    wanted = [parameter.requires_grad for parameter in parameters.values()]
    try:
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        with torch.enable_grad():
            outputs = pair.readout.outputs(adapter.outputs(pair.inputs)[:, 0], slice(0, 2))[:, 0]
            total = (outputs * outputs.new_tensor(_WEIGHTS)).sum()
            gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    finally:
        for parameter, flag in zip(parameters.values(), wanted, strict=True):
            parameter.requires_grad_(flag)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True)
    }
