"""A user's own nn.Module as sites: its linear maps and biases, under its parameters' names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import cast

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from tl_entk.model.adapters.base import ModelAdapter
from tl_entk.model.linear_map import Bias, LinearMap
from tl_entk.model.sites import ROLE, Site, Tap


@dataclass(frozen=True)
class OwnModuleAdapter(ModelAdapter):
    """A module of one's own: inputs of any shape (n, ...), outputs (n, C).

    Attributes:
        roles: parameters with several uses, by name.
    """

    roles: dict[str, tuple[Site, ...]] = field(default_factory=dict)

    @property
    def shared(self) -> dict[str, tuple[Site, ...]]:
        """Parameters with several roles: name of the whole to the roles' sites."""
        return self.roles

    @property
    def model_name(self) -> str:
        """The module's class."""
        return type(self.model).__name__

    def logits(self, inputs: Shaped[Tensor, "n ..."]) -> Float[Tensor, "n 1 c"]:
        """The module's outputs."""
        return self.model(inputs)[:, None]

    def example_floats(self, n_positions: int) -> int:
        """About how many numbers autograd keeps for one example (for the memory plan)."""
        return 4 * n_positions * sum(site.d_in + site.d_out for site in self.sites)


def adapt_own_module(model: nn.Module) -> OwnModuleAdapter | None:
    """The sites of a module of one's own; None if it has no linear map."""
    uses: dict[int, list[Site]] = {}
    for path, module in model.named_modules():
        for site in _sites(path, module):
            uses.setdefault(id(site.parameter), []).append(site)
    if not uses:
        return None
    sites: list[Site] = []
    roles: dict[str, tuple[Site, ...]] = {}
    unsupported = []
    for name, parameter in model.named_parameters():
        found = uses.get(id(parameter), [])
        if not found:
            unsupported.append(name)
        elif len(found) == 1:
            sites.append(replace(found[0], name=name))
        else:
            roles[name] = tuple(replace(s, name=f"{name}{ROLE}{s.name}") for s in found)
            sites.extend(roles[name])
    return OwnModuleAdapter(
        model=model,
        model_class="own module",
        sites=tuple(sites),
        unembed_input=None,
        unsupported=tuple(unsupported),
        roles=roles,
    )


def _sites(path: str, module: nn.Module) -> Iterator[Site]:
    """The uses a module makes of its parameters, named by its path."""
    entry, output = Tap(module, "input"), Tap(module, "output")
    if type(module) is nn.Linear:
        weight = cast(nn.Parameter, module.weight)
        d_out, d_in = weight.shape
        # nn.Linear's own layout is the transposed one
        yield Site(path, "linear", weight, output, d_out, entry, d_in, transposed=True)
        if module.bias is not None:
            yield Site(path, "bias", module.bias, output, d_out)
    elif isinstance(module, LinearMap):
        weight, turned = module.weight, module.transposed
        d_in, d_out = weight.shape[:: -1 if turned else 1]
        yield Site(path, "linear", weight, output, d_out, entry, d_in, transposed=turned)
    elif isinstance(module, Bias):
        yield Site(path, "bias", module.bias, output, len(module.bias))
