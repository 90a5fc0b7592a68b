"""A user's own nn.Module as sites: its linear maps and biases, under its parameters' names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from feature_sets.errors import UserError
from tl_entk.model.adapters.base import (
    Inputs,
    ModelAdapter,
    depends_on_mode,
    refuse_mixed_rows,
    run_eagerly,
)
from tl_entk.model.linear_map import Bias, LinearMap
from tl_entk.model.sites import ROLE, Site, Tap
from tl_entk.tools.rounding import same_rows


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

    @property
    def may_hide_uses(self) -> bool:
        """Yes: a forward pass of one's own may use a weight without the layer that owns it."""
        return True

    def outputs(self, examples: Shaped[Tensor, "n ..."]) -> Float[Tensor, "n 1 c"]:
        """The module's outputs, at their one position."""
        with run_eagerly(self.model):
            return self.model(examples)[:, None]

    def is_training(self, module: nn.Module) -> bool:
        """Dropout and batch norms in train mode; a plain module computes the same in either."""
        return module.training and depends_on_mode(module)

    def check_components(self, names: Sequence[str], examples: Shaped[Tensor, "n ..."]) -> None:
        """Every component of a module has a kernel on any examples."""

    def example_floats(self, positions: int) -> int:
        """About how many numbers autograd keeps for an example of so many positions."""
        return 4 * positions * sum(site.d_in + site.d_out for site in self.sites)

    def check_inputs(self, inputs: Any) -> Inputs:
        """Examples on the module's device, and how many outputs it has for each.

        Raises:
            UserError: if inputs or outputs are no tensor, outputs are not (n, C), or an
                example's depend on the other examples or on chance.
        """
        if not isinstance(inputs, Tensor):
            raise UserError(f"the inputs are a {type(inputs).__name__}: pass a tensor (n, ...).")
        if inputs.ndim < 1 or len(inputs) < 2:
            raise UserError("a kernel compares examples: pass at least two rows of inputs.")
        if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
            raise UserError("the inputs are not finite: drop those examples, or clean them.")
        inputs = inputs.detach().to(self.device)
        pair, first = self._try(inputs[:2]), self._try(inputs[:1])
        if not isinstance(pair, Tensor):
            raise UserError(
                f"{self.model_name} returns a {type(pair).__name__}: wrap it in a module that "
                "returns a tensor (n, C), what the kernel is to be of."
            )
        if pair.ndim != 2 or len(pair) != 2:
            raise UserError(
                f"{self.model_name} returns shape {tuple(pair.shape)} for two examples: wrap it in "
                "a module that returns (n, C), what the kernel is to be of."
            )
        if not same_rows(first, pair[:1]):
            refuse_mixed_rows(self.model_name, same_rows(self._try(inputs[:2]), pair))
        return Inputs(inputs, 1, pair.shape[1])

    def _try(self, examples: Shaped[Tensor, "n ..."]) -> Any:
        """What the module returns, or why it cannot take such examples."""
        try:
            with torch.no_grad(), run_eagerly(self.model):
                return self.model(examples)
        except (RuntimeError, IndexError) as error:
            raise UserError(
                f"{self.model_name} cannot take these inputs ({str(error).splitlines()[0]}): pass "
                "what its own call takes, examples first."
            ) from error


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
