"""Ways to change a model along a direction: a step of its weights, or of its activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tl_entk.weight_space.nudge import ablate, nudge

# a step's size -> the model changed by it, for as long as one looks
Apply = Callable[[float], AbstractContextManager[Any]]


@dataclass(frozen=True, eq=False)
class Step:
    """One way to change a model.

    Attributes:
        apply: step along the direction; sizes are parts of ``unit``.
        remove: the model without the direction.
        unit: a size to begin with.
    """

    apply: Apply
    remove: Callable[[], AbstractContextManager[Any]]
    unit: float


def step_weights(
    model: nn.Module, direction: Mapping[str, Float[Tensor, " ..."]], norm: float
) -> Step:
    """Steps of the weights along a unit direction.

    Args:
        model: whose weights.
        direction: component to its part.
        norm: of the weights.
    """
    return Step(
        partial(nudge, model, direction), partial(ablate, model, direction), unit=0.03 * norm
    )


def step_activations(
    model: nn.Module,
    hook: str,
    direction: Float[Tensor, " d"],
    activations: Float[Tensor, "n d"],
) -> Step:
    """Steps of a hook's activations at the last position along a direction.

    Args:
        model: whose activations.
        hook: where.
        direction: of any length.
        activations: at the hook, which give the unit, and the mean that is put in the place of
            what lies along the direction when it is removed.
    """
    unit = direction / direction.norm()
    spread = float((activations - activations.mean(0)).norm(dim=1).mean())
    mean = float(activations.mean(0).to(unit) @ unit)
    return Step(
        partial(_add, model, hook, unit), partial(_leave_out, model, hook, unit, mean), 0.1 * spread
    )


@contextmanager
def _add(model: Any, hook: str, unit: Float[Tensor, " d"], size: float) -> Iterator[None]:
    def change(value: Tensor, **_: Any) -> Tensor:
        return _at_last(value, value[:, -1] + size * unit.to(value))

    with model.hooks(fwd_hooks=[(hook, change)]):
        yield


@contextmanager
def _leave_out(model: Any, hook: str, unit: Float[Tensor, " d"], mean: float) -> Iterator[None]:
    def change(value: Tensor, **_: Any) -> Tensor:
        own = unit.to(value)
        last = value[:, -1]
        return _at_last(value, last + (mean - last @ own)[:, None] * own)

    with model.hooks(fwd_hooks=[(hook, change)]):
        yield


def _at_last(value: Float[Tensor, "b t d"], last: Float[Tensor, "b d"]) -> Float[Tensor, "b t d"]:
    """The value with another last position."""
    return torch.cat([value[:, :-1], last[:, None]], 1)
