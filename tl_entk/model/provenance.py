"""Provenance: what a result was computed from, as plain JSON values."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from tl_entk.model.checks import Position
from tl_entk.model.task import Task


def versions() -> dict[str, str]:
    """Versions of the packages that the numbers depend on."""
    import tl_entk  # imports this file

    names = ("transformer_lens", "torch", "numpy", "scikit-learn", "spacy")
    # its own from the source, which may run without being installed
    return {"tl_entk": tl_entk.__version__} | {name: _version(name) for name in names}


# read from the packages' files: as slow as a small kernel
_version = cache(version)


def hash_of(tokens: Shaped[Tensor, "n ..."]) -> str:
    """Sixteen digits that tell token windows, or other inputs of any number format, from others.

    Example:
        >>> import torch
        >>> x = torch.ones(2, 3, dtype=torch.bfloat16)
        >>> hash_of(x) == hash_of(x.clone()) != hash_of(x + 1)
        True
    """
    # bytes, since numpy has no bfloat16
    raw = tokens.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(raw.numpy().tobytes()).hexdigest()[:16]


def provenance(task: Task, **settings: str | int) -> dict[str, Any]:
    """Model, input, settings and versions of a result."""
    return {
        "model": task.adapter.model_name,
        "model_class": task.adapter.model_class,
        "model_dtype": str(task.adapter.dtype),
        "n": len(task),
        "positions": task.length,
        "tokens_sha256": hash_of(task.inputs),
        "readout": task.readout.name,
        **settings,
        "versions": versions(),
    }


def position_label(position: Position) -> int | str:
    """A position as provenance has it."""
    return position if isinstance(position, int) else "per example"
