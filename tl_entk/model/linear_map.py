"""Modules to write a network of one's own with, so that hooks see every use of every weight."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from feature_sets.errors import UserError


class LinearMap(nn.Module):
    """The map y = x W of a parameter that may be used elsewhere too, or y = x W^T.

    ``torch.nn.Linear`` owns its weight; this borrows one. A module of one's own that uses its
    weights through ``nn.Linear``, ``LinearMap`` and ``Bias`` only can be analysed like a
    TransformerLens model, shared weights included.

    Args:
        weight: (d_in, d_out), a parameter of the surrounding module.
        transposed: apply W^T: from d_out to d_in.

    Raises:
        UserError: if the weight is no parameter,
            or if it is no matrix.

    Example:
        >>> import torch
        >>> W = nn.Parameter(torch.ones(3, 2))
        >>> LinearMap(W, transposed=True)(torch.ones(1, 2)).shape
        torch.Size([1, 3])
    """

    def __init__(self, weight: nn.Parameter, *, transposed: bool = False) -> None:
        super().__init__()
        if not isinstance(weight, nn.Parameter):
            raise UserError(
                f"the weight is a {type(weight).__name__}: pass an nn.Parameter, so that it is "
                "trained."
            )
        if weight.ndim != 2:
            raise UserError(f"the weight has shape {tuple(weight.shape)}: pass (d_in, d_out).")
        self.weight = weight
        self.transposed = transposed

    def forward(self, x: Float[Tensor, "*n d_in"]) -> Float[Tensor, "*n d_out"]:
        """X W, or x W^T."""
        return x @ (self.weight.T if self.transposed else self.weight)


class Bias(nn.Module):
    """The map y = x + b of a parameter that belongs to the surrounding module.

    Raises:
        UserError: if the bias is no parameter,
            or if it is no vector.

    Example:
        >>> import torch
        >>> Bias(nn.Parameter(torch.ones(2)))(torch.zeros(2)).tolist()
        [1.0, 1.0]
    """

    def __init__(self, bias: nn.Parameter) -> None:
        super().__init__()
        if not isinstance(bias, nn.Parameter):
            raise UserError(f"the bias is a {type(bias).__name__}: pass an nn.Parameter.")
        if bias.ndim != 1:
            raise UserError(f"the bias has shape {tuple(bias.shape)}: pass a vector.")
        self.bias = bias

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """X + b."""
        return x + self.bias
