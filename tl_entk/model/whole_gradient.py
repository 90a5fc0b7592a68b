"""A check that a module's linear maps are all the uses of its weights.

A weight may be used by a layer and once more in between (``h @ self.layer.weight.T``), where no
hook sees it, or on inputs whose first axis is not the examples'. Its kernel would then be wrong
without any sign of it.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from feature_sets.errors import UserError
from tl_entk.model.adapters import ModelAdapter
from tl_entk.model.capture import frozen
from tl_entk.model.factors import collect
from tl_entk.model.gradient_map import GradientMap
from tl_entk.model.readouts import BoundReadout
from tl_entk.model.sites import Site

# shapes of inputs with which a module was found sound: training calls it again and again
_SOUND: WeakKeyDictionary[nn.Module, set[torch.Size]] = WeakKeyDictionary()
# unequal, so that one example's part is not taken for the other's
_WEIGHTS = (1.0, 2.0)


def check_whole_gradient(adapter: ModelAdapter, inputs: Shaped[Tensor, "n ..."]) -> None:
    """Compare the sites' gradients with autograd's, on two examples and random output weights.

    Once for a module and a shape of inputs.

    Raises:
        UserError: names the parameter, and how to write the module instead.
    """
    sound = _SOUND.setdefault(adapter.model, set())
    if inputs.shape[1:] in sound:
        return
    pair = inputs[:2]
    dtype = adapter.dtype if adapter.dtype.itemsize >= 4 else torch.float32
    positions = torch.zeros(2, dtype=torch.long, device=pair.device)

    def mixed(outputs: Tensor, _rows: object) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        weights = torch.rand(outputs.shape[1], generator=generator, dtype=torch.float64) + 0.5
        return outputs @ weights.to(outputs)

    readout = BoundReadout("a mixture of the outputs", "logits", 1.0, mixed)
    with frozen(adapter.model), torch.enable_grad():
        factors = collect(
            adapter,
            pair,
            adapter.sites,
            readout,
            positions,
            columns=slice(0, 1),
            batch_size=2,
            dtype=dtype,
        )
    whole = _by_autograd(adapter, pair, readout)
    for name, sites in _by_parameter(adapter).items():
        expected = whole[name].to(dtype).flatten()
        seen = torch.zeros_like(expected)
        for site in sites:
            part = GradientMap(name, factors[site.name], 1, transposed=site.transposed)
            seen += part.adjoint(seen.new_tensor(_WEIGHTS)[:, None])
        if not torch.allclose(seen, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())):
            raise UserError(
                f"{name} is also used where no hook sees it, or on inputs whose first axis is not "
                "that of the examples, so its kernel would be wrong: make every use of it a "
                "module, tl_entk.LinearMap(weight, transposed=...) or tl_entk.Bias(bias), and keep "
                "examples first."
            )
    sound.add(inputs.shape[1:])


def _by_parameter(adapter: ModelAdapter) -> dict[str, tuple[Site, ...]]:
    """Every supported parameter with all of its sites."""
    roles = {site.name for sites in adapter.shared.values() for site in sites}
    alone = {site.name: (site,) for site in adapter.sites if site.name not in roles}
    return {**adapter.shared, **alone}


def _by_autograd(adapter: ModelAdapter, pair: Tensor, readout: BoundReadout) -> dict[str, Tensor]:
    """The gradient of the mixture's sum over the pair, by parameter."""
    sites = {name: found[0].parameter for name, found in _by_parameter(adapter).items()}
    wanted = [parameter.requires_grad for parameter in sites.values()]
    try:
        for parameter in sites.values():
            parameter.requires_grad_(True)
        with torch.enable_grad():
            outputs = readout.outputs(adapter.logits(pair)[:, 0], slice(0, 2))[:, 0]
            total = (outputs * outputs.new_tensor(_WEIGHTS)).sum()
            found = torch.autograd.grad(total, list(sites.values()), allow_unused=True)
    finally:
        for parameter, flag in zip(sites.values(), wanted, strict=True):
            parameter.requires_grad_(flag)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(sites.items(), found, strict=True)
    }
