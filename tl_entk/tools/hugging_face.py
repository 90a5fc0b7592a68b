"""What differs between versions of transformers."""

from __future__ import annotations

from inspect import signature
from typing import Any


def cache_argument(model: Any) -> str:
    """Name of a model's argument for its cache of keys and values.

    Args:
        model: of transformers, which renames the argument since its version 5.24.

    Example:
        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=8, n_embd=4, n_layer=1, n_head=1))
        >>> cache_argument(model) in ("past_key_values", "cache")
        True
    """
    return "cache" if "cache" in signature(model.forward).parameters else "past_key_values"
