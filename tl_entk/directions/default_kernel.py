"""What the default kernel of a language model is made of; ``default.py`` makes it."""

from __future__ import annotations

DEFAULT_READOUT = "logsumexp"
# of every layer in the later half; gradients of each are scaled to norm 1 before kernels are added
DEFAULT_WEIGHTS = ("mlp.W_out",)
DEFAULT_NORMALIZATION = "cosine"


def default_patterns(n_layers: int) -> list[str]:
    """Names of the default kernel's weights in a model of so many layers.

    Example:
        >>> default_patterns(4)
        ['blocks.2.mlp.W_out', 'blocks.3.mlp.W_out']
    """
    later = range(n_layers // 2, n_layers)
    return [f"blocks.{layer}.{weight}" for layer in later for weight in DEFAULT_WEIGHTS]
