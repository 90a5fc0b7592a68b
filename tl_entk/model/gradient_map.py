"""One site's gradients as a linear map, kept as factors: to multiply with, or to write out.

For y_t = x_t W the change of output r of example n, when W changes by U, is sum_t (x_nt U) . g_nrt;
the adjoint takes numbers v to the gradient sum_{n,r,t} v_nr x_nt (outer) g_nrt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from tl_entk.model.factors import Direct, Factors, OneHot, Outer


@dataclass(frozen=True, eq=False)
class GradientMap:
    """The block of J that belongs to one site.

    Attributes:
        key: name of the parameter; maps with one key share their columns.
        factors: of all examples, with R outputs folded in.
        outputs: R.
        transposed: the parameter holds this site's weight transposed.
        rows: number of rows of an embedding.
    """

    key: str
    factors: Factors
    outputs: int
    transposed: bool = False
    rows: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight, as its columns hold it: (heads, d_in, d_out), (rows, d) or (heads, d)."""
        match self.factors:
            case Outer(x, g):
                ends = (x.shape[-1], g.shape[-1] // self.outputs)
                return (max(len(x), len(g)), *(ends[::-1] if self.transposed else ends))
            case OneHot(_, g):
                return (self.rows, g.shape[-1] // self.outputs)
            case Direct(v):
                return (len(v), v.shape[-1] // self.outputs)

    def outputs_between(self, start: int, stop: int) -> GradientMap:
        """The rows of some of the outputs, start to stop - 1."""
        match self.factors:
            case Outer(x, g):
                factors: Factors = Outer(x, self._cut(g, start, stop))
            case OneHot(tokens, g):
                factors = OneHot(tokens, self._cut(g, start, stop))
            case Direct(v):
                factors = Direct(self._cut(v, start, stop))
        return replace(self, factors=factors, outputs=stop - start)

    def examples_between(self, chosen: slice) -> Factors:
        """The factors of some of the examples."""
        match self.factors:
            case Outer(x, g):
                return Outer(x[:, :, chosen], g[:, :, chosen])
            case OneHot(tokens, g):
                return OneHot(tokens[chosen], g[:, chosen])
            case Direct(v):
                return Direct(v[:, chosen])

    def _cut(self, g: Float[Tensor, "*h n rd"], start: int, stop: int) -> Float[Tensor, "*h n sd"]:
        width = g.shape[-1] // self.outputs
        return g[..., start * width : stop * width]

    def apply(self, change: Float[Tensor, " p"]) -> Float[Tensor, "n r"]:
        """J u: what a change of the weight does to the outputs, to first order."""
        U = change.reshape(self.shape)
        match self.factors:
            case Outer(x, g):
                y = x @ (U.mT if self.transposed else U)[:, None]
                return (self._by_output(g) @ y[..., None])[..., 0].sum((0, 1))
            case OneHot(tokens, g):
                return (self._by_output(g) @ U[tokens.T.long()][..., None])[..., 0].sum(0)
            case Direct(v):
                return (self._by_output(v) @ U[:, None, :, None])[..., 0].sum(0)

    def adjoint(self, values: Float[Tensor, "n r"]) -> Float[Tensor, " p"]:
        """J^T v: the weight's gradient of sum_nr v_nr f_r(x_n)."""
        row = values[:, None]
        match self.factors:
            case Outer(x, g):
                weighted = (row @ self._by_output(g))[..., 0, :]
                gradient = torch.einsum("htni,htno->hio", x, weighted)
                return (gradient.mT if self.transposed else gradient).flatten()
            case OneHot(tokens, g):
                weighted = (row @ self._by_output(g))[..., 0, :]
                gradient = g.new_zeros(self.shape)
                return gradient.index_add_(
                    0, tokens.T.flatten().long(), weighted.flatten(0, 1)
                ).flatten()
            case Direct(v):
                return (row @ self._by_output(v))[..., 0, :].sum(1).flatten()

    def dense(self, chosen: slice) -> Float[Tensor, "b r p"]:
        """J written out, for some of the examples."""
        match self.factors:
            case Outer(x, g):
                heads = max(len(x), len(g))
                x = x[:, :, chosen].expand(heads, -1, -1, -1)
                g = self._by_output(g[:, :, chosen]).expand(heads, -1, -1, -1, -1)
                order = "nrhoi" if self.transposed else "nrhio"
                return torch.einsum(f"htni,htnro->{order}", x, g).flatten(2)
            case OneHot(tokens, g):
                g = self._by_output(g[:, chosen])
                gradient = g.new_zeros(g.shape[1], self.outputs, *self.shape)
                example = torch.arange(g.shape[1], device=g.device)
                for t, at in enumerate(tokens[chosen].T.long()):
                    gradient[example, :, at] += g[t]
                return gradient.flatten(2)
            case Direct(v):
                return rearrange(v[:, chosen], "h n (r d) -> n r (h d)", r=self.outputs)

    def _by_output(self, g: Float[Tensor, "*h n rd"]) -> Float[Tensor, "*h n r d"]:
        return g.unflatten(-1, (self.outputs, -1))
