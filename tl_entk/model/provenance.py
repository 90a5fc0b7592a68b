"""Provenance: what a result was computed from, as plain JSON values."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from typing import Any

from jaxtyping import Shaped
from torch import Tensor

from tl_entk.model.adapters import ModelAdapter


def versions() -> dict[str, str]:
    """Versions of the packages that the numbers depend on."""
    names = ("tl_entk", "transformer_lens", "torch", "numpy", "scikit-learn", "spacy")
    return {name: _version(name) for name in names}


# read from the packages' files: as slow as a small kernel
_version = cache(version)


def hash_of(tokens: Shaped[Tensor, "n ..."]) -> str:
    """Sixteen digits that tell token windows, or other inputs, from others."""
    return hashlib.sha256(tokens.cpu().numpy().tobytes()).hexdigest()[:16]


def provenance(
    adapter: ModelAdapter, tokens: Shaped[Tensor, "n ..."], **settings: str | int
) -> dict[str, Any]:
    """Model, input, settings and versions of a result."""
    return {
        "model": adapter.model_name,
        "model_class": adapter.model_class,
        "model_dtype": str(adapter.dtype),
        "n": len(tokens),
        "positions": tokens.shape[1] if adapter.unembed_input else 1,
        "tokens_sha256": hash_of(tokens),
        **settings,
        "versions": versions(),
    }
