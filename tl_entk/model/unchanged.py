"""Whether a model still computes what it did: its modules, its weights, the hooks on it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# numbers of each weight that are looked at again
_LOOKED_AT = 16


class ModelState:
    """What a model computed with when this was made.

    A weight that was replaced is another object or lies elsewhere; one that was changed in place
    has another version, or, where it was written past autograd (``.data``), other numbers: a few of
    each are looked at.

    Args:
        model: all of its modules, parameters, hooks and modes.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> state = ModelState(layer)
        >>> state.difference()
        ''
        >>> layer.weight.data.mul_(2).shape, state.difference()
        (torch.Size([2, 2]), 'weight was changed')
    """

    def __init__(self, model: nn.Module) -> None:
        # a bridge's own named_modules leaves out what it wraps
        self._modules = list(nn.Module.named_modules(model))
        # held, so that nothing new gets an old one's identity
        self._weights = [
            (f"{path}.{name}".lstrip("."), weight)
            for path, module in self._modules
            for name, weight in module._parameters.items()
            if weight is not None
        ]
        self._parts = [_parts(module) for _, module in self._modules]
        self._places = [_place(weight) for _, weight in self._weights]
        self._views = _group_views(self._weights)
        self._numbers = [_read(views) for views in self._views]

    def difference(self) -> str:
        """What is not as it was, for a message; empty where nothing is known to be."""
        for (path, module), parts in zip(self._modules, self._parts, strict=True):
            found = _parts(module)
            if found != parts:
                what = next(name for name, part in found.items() if part != parts[name])
                return f"{path or 'the model'}: {what}"
        for (name, weight), place in zip(self._weights, self._places, strict=True):
            if _place(weight) != place:
                return f"{name} was changed"
        for views, before in zip(self._views, self._numbers, strict=True):
            if not torch.equal(before, _read(views)):
                return f"{_first_difference(views, before)} was changed"
        return ""


def _parts(module: nn.Module) -> dict[str, Any]:
    """What a module is made of, under what is said where it differs."""
    return {
        "a weight was replaced": tuple(map(id, module._parameters.values())),
        "a module was replaced": tuple(map(id, module._modules.values())),
        "a hook was added or taken away": (
            *module._forward_hooks,
            *module._forward_pre_hooks,
            *module._backward_hooks,
            *module._backward_pre_hooks,
        ),
        "its mode was changed (train, eval)": module.training,
    }


def _place(weight: Tensor) -> tuple[int, int]:
    return weight.data_ptr(), weight._version


def _group_views(weights: list[tuple[str, nn.Parameter]]) -> list[dict[str, Tensor]]:
    """A few numbers of each weight, as views of its memory, by number format and device."""
    groups: dict[Any, dict[str, Tensor]] = {}
    for name, weight in weights:
        if weight.is_meta or weight.layout != torch.strided or not weight.numel():
            continue
        span = 1 + sum(
            (n - 1) * step for n, step in zip(weight.shape, weight.stride(), strict=True)
        )
        count = min(_LOOKED_AT, span)
        view = torch.as_strided(
            weight.detach(), (count,), (span // count,), weight.storage_offset()
        )
        groups.setdefault((weight.dtype, weight.device), {})[name] = view
    return list(groups.values())


def _read(views: dict[str, Tensor]) -> Tensor:
    """The numbers as bytes, which are equal where they are not numbers too."""
    return torch.cat(list(views.values())).view(torch.uint8)


def _first_difference(views: dict[str, Tensor], before: Tensor) -> str:
    """The name of the first weight with other numbers."""
    sizes = [view.numel() * view.element_size() for view in views.values()]
    parts = zip(views.items(), before.split(sizes), strict=True)
    return next(name for (name, view), part in parts if not torch.equal(_read({name: view}), part))
