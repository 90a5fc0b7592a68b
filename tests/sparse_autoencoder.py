"""A sparse autoencoder with SAELens' interface, for tests where SAELens is not installed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn


class Autoencoder(nn.Module):
    """A standard autoencoder as SAELens 6 writes it, heads of hook_z on an axis of their own."""

    def __init__(self, hook: str, d_in: int, d_sae: int = 30, **cfg: Any) -> None:
        super().__init__()
        metadata = SimpleNamespace(hook_name=hook, hook_head_index=cfg.pop("head", None))
        self.cfg = SimpleNamespace(d_in=d_in, d_sae=d_sae, metadata=metadata, **cfg)
        self.hook_z_reshaping_mode = hook.endswith("_z") and metadata.hook_head_index is None
        self.b_enc = nn.Parameter(torch.zeros(d_sae))
        self.W_dec = nn.Parameter(torch.zeros(d_sae, d_in))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        if self.hook_z_reshaping_mode:
            assert x.shape[-2] > 1
            x = x.flatten(-2)
        return (x.to(self.W_dec.dtype) @ self.W_dec.T + self.b_enc).relu()

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        return codes @ self.W_dec


def pairs(hook: str, states: torch.Tensor, **cfg: Any) -> Autoencoder:
    """Two latents of opposite sign for each principal axis of the states, the last two dead."""
    d_in = states.shape[1]
    axes = torch.linalg.svd(states - states.mean(0), full_matrices=True).Vh
    sae = Autoencoder(hook, d_in, 2 * d_in + 2, **cfg)
    with torch.no_grad():
        sae.W_dec[:d_in], sae.W_dec[d_in : 2 * d_in] = axes, -axes
    return sae
