"""Gradients of several outputs that are one pattern, scaled by example.

Where the outputs are linear in the units after a weight (the last hidden layer of most networks),
the gradient of output r at unit k is s_nk V_rk: the same V for every example. Then
sum_r g_nrk g_mrk = (s_nk |V_k|) (s_mk |V_k|), and R outputs cost what one does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def merge_outputs(g: Sequence[Float[Tensor, "n d"]]) -> Float[Tensor, "n d"] | None:
    """One vector per example with the same inner products, unit by unit; None if there is none.

    Args:
        g: gradients at d units, of each of R outputs.

    Returns:
        h with h_nk h_mk = sum_r g_rnk g_rmk for all n, m, k, up to rounding.

    Example:
        >>> s, V = torch.tensor([[1.0, 2.0], [3.0, -1.0]]), torch.tensor([[3.0, 1.0], [4.0, 0.0]])
        >>> merge_outputs([s * row for row in V]).tolist()
        [[5.0, 2.0], [15.0, -1.0]]
    """
    if len(g) < 2 or len(g[0]) == 0:
        return None
    # every unit's pattern, read off at the example where it counts most for the first output
    strongest = g[0].abs().argmax(0)
    units = torch.arange(len(strongest), device=strongest.device)
    pattern = torch.stack([output[strongest, units] for output in g])
    size = pattern.square().sum(0)
    scale = torch.zeros_like(g[0])
    for output, row in zip(g, pattern, strict=True):
        scale.addcmul_(output, row)
    scale *= torch.where(size > 0, 1 / size, 0)
    tolerance = scale.abs() * (pattern.abs().amax(0) * (64 * torch.finfo(scale.dtype).eps))
    # fresh memory would cost more than the arithmetic
    wrong, beyond = torch.empty_like(scale), torch.empty_like(scale, dtype=torch.bool)
    for output, row in zip(g, pattern, strict=True):
        torch.addcmul(output, scale, row, value=-1, out=wrong)
        if bool(torch.gt(wrong.abs_(), tolerance, out=beyond).any()):
            return None
    return scale * size.sqrt()
