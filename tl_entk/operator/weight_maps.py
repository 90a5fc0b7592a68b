"""Weight maps: from gradients at a weight's output to the weight's gradient, and back.

For y_t = x_t W the adjoint takes g (the gradient at y) to G = sum_t x_t (outer) g_t, summed over
examples too; the map itself takes a change G of the weight to the change x G of y. Every kind of
site has such a pair, exactly adjoint to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_entk.model.sites import Site


@dataclass(frozen=True, eq=False)
class WeightMap:
    """One site, or some heads of it, as a linear map from its weight to its output.

    Attributes:
        site: the weight's use.
        heads: the heads that belong to it; None for the whole weight.
        key: maps with one key share their parameter (a tied embedding's two roles).
        rows: sorted tokens that have a row in an embedding's G.
        scale: factor c of an embedding that returns c W[token].
        transposed: the shared parameter holds this role's weight transposed.
    """

    site: Site
    heads: tuple[int, ...] | None = None
    key: str = ""
    rows: Int[Tensor, " rows"] | None = None
    scale: float = 1.0
    transposed: bool = False

    def adjoint(
        self, tokens: Int[Tensor, "n t"], xs: Sequence[Tensor], gs: Sequence[Tensor | None]
    ) -> Tensor | None:
        """The weight's gradient from those at the output, one tensor for each call.

        None where nothing read depends on the output.
        """
        total: Tensor | None = None
        for call, g in enumerate(gs):
            if g is None:
                continue
            part = self._adjoint(tokens, xs[call] if xs else None, g)
            part = part.T if self.transposed else part
            total = part if total is None else total + part
        return total

    def forward(
        self, tokens: Int[Tensor, "n t"], x: Tensor | None, G: Tensor, like: Tensor
    ) -> Tensor:
        """The change of the output when the weight changes by G, in the shape of ``like``."""
        G = G.T if self.transposed else G
        return self._forward(tokens, x, G, like).reshape(like.shape).to(like.dtype)

    def _adjoint(self, tokens: Tensor, x: Tensor | None, g: Tensor) -> Tensor:
        n, site = len(tokens), self.site
        match site.kind:
            case "linear":
                assert x is not None
                x, g = x.reshape(-1, site.d_in), g.reshape(-1, site.d_out)
                if self.heads is not None and site.heads and site.heads.along == "input":
                    x = x[:, self._columns(site.d_in)]
                else:
                    g = g[:, self._columns(site.d_out)]
                return x.to(g.dtype).T @ g
            case "embedding":
                assert self.rows is not None
                G = g.new_zeros(len(self.rows), site.d_out)
                rows = torch.searchsorted(self.rows, tokens).flatten()
                return G.index_add_(0, rows, g.reshape(-1, site.d_out)).mul_(self.scale)
            case "position":
                return g.reshape(n, -1, site.d_out).sum(0)
            case "scale":
                assert x is not None
                return (x.reshape(-1, site.d_out) * g.reshape(-1, site.d_out)).sum(0)
            case "bias":
                return g.reshape(-1, site.d_out)[:, self._columns(site.d_out)].sum(0)

    def _forward(
        self, tokens: Tensor, x: Tensor | None, G: Tensor, like: Tensor
    ) -> Float[Tensor, " ..."]:
        n, site = len(tokens), self.site
        match site.kind:
            case "linear":
                assert x is not None
                x, G = x.reshape(-1, site.d_in).to(like.dtype), G.to(like.dtype)
                if self.heads is None:
                    return x @ G
                if site.heads and site.heads.along == "input":
                    return x[:, self._columns(site.d_in)] @ G
                change = x.new_zeros(len(x), site.d_out)
                change[:, self._columns(site.d_out)] = x @ G
                return change
            case "embedding":
                assert self.rows is not None
                return self.scale * G[torch.searchsorted(self.rows, tokens)]
            case "position":
                return G.expand(n, *G.shape)
            case "scale":
                assert x is not None
                return x.reshape(-1, site.d_out) * G
            case "bias":
                change = G.new_zeros(like.numel() // site.d_out, site.d_out)
                change[:, self._columns(site.d_out)] = G
                return change

    def in_token_space(self, xs: Sequence[Tensor]) -> WeightMap:
        """The same map where these inputs are all there are, by the cheaper of two ways.

        With few tokens the inputs' Gram matrix X X^T takes g straight to the change of y, without
        the weight's gradient X^T g on the way: (n T)^2 operations for each column of g instead
        of 2 n T d_in.
        """
        if self.site.kind != "linear" or len(xs) != 1 or self.transposed:
            return self
        x = xs[0].reshape(-1, self.site.d_in)
        if self.heads is not None and self.site.heads and self.site.heads.along == "input":
            x = x[:, self._columns(self.site.d_in)]
        return TokenMap(**vars(self), gram=x @ x.T) if len(x) < 2 * x.shape[1] else self

    def _columns(self, width: int) -> slice | Tensor:
        """The heads' entries of an axis; all of them without heads."""
        if self.heads is None or self.site.heads is None:
            return slice(None)
        size = width // self.site.heads.count
        if len(self.heads) == 1:
            return slice(self.heads[0] * size, (self.heads[0] + 1) * size)
        return torch.cat([torch.arange(h * size, (h + 1) * size) for h in self.heads])


@dataclass(frozen=True, eq=False)
class TokenMap(WeightMap):
    """A linear site's map on tokens instead of weights: "G" holds the gradients g themselves.

    Attributes:
        gram: (n T, n T) inner products of the inputs.
    """

    gram: Float[Tensor, "nt nt"] | None = None

    def _adjoint(self, _tokens: Tensor, _x: Tensor | None, g: Tensor) -> Tensor:
        return g.reshape(-1, self.site.d_out)[:, self._outputs()]

    def _forward(
        self, _tokens: Tensor, _x: Tensor | None, G: Tensor, like: Tensor
    ) -> Float[Tensor, " ..."]:
        assert self.gram is not None
        part = self.gram.to(like.dtype) @ G.to(like.dtype)
        if part.shape[1] == self.site.d_out:
            return part
        change = part.new_zeros(len(part), self.site.d_out)
        change[:, self._outputs()] = part
        return change

    def _outputs(self) -> slice | Tensor:
        """Columns of the output that belong to the heads."""
        along_output = self.site.heads is not None and self.site.heads.along == "output"
        return self._columns(self.site.d_out) if along_output else slice(None)
