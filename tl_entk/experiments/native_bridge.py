"""A native TransformerBridge of given sizes, for experiments that train a model of their own."""

from __future__ import annotations

from typing import Any


def boot_native_bridge(**config: Any) -> Any:
    """A TransformerBridge of TransformerLens' own architecture, on 3.9 and 4.x.

    Args:
        config: fields of TransformerBridgeConfig.
    """
    # importing the native source is what gives TransformerBridge its boot_native
    import transformer_lens.model_bridge.sources.native  # noqa: F401
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_native(TransformerBridgeConfig(**config))  # type: ignore[attr-defined]
