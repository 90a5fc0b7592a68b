"""A model, its gradients and torch's random stream, kept as they are by a measurement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def preserve_training_state(model: Any) -> Iterator[None]:
    """Evaluation mode and another random stream inside; after it, flags and stream as before."""
    flags = [(module, module.training) for module in list_modules(model)]
    devices = {p.device.index for p in _list_parameters(model) if p.device.type == "cuda"}
    try:
        with torch.random.fork_rng(devices=sorted(devices)):
            for module, _ in flags[:1]:
                module.eval()
            yield
    finally:
        for module, training in flags:
            module.training = training


@contextmanager
def set_gradients_aside(model: Any) -> Iterator[None]:
    """No parameter has a gradient inside; each has its own again after."""
    kept = [(parameter, parameter.grad) for parameter in _list_parameters(model)]
    try:
        for parameter, _ in kept:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in kept:
            parameter.grad = gradient


def list_modules(model: Any) -> list[nn.Module]:
    """The model first, then all modules in it, and those it holds without registering them."""
    found: dict[int, nn.Module] = {}
    waiting = [model] if isinstance(model, nn.Module) else []
    while waiting:
        module = waiting.pop()
        if id(module) not in found:
            found[id(module)] = module
            waiting += [m for m in vars(module).values() if isinstance(m, nn.Module)]
            waiting += module.children()
    return list(found.values())


def _list_parameters(model: Any) -> list[nn.Parameter]:
    return list(model.parameters()) if isinstance(model, nn.Module) else []
