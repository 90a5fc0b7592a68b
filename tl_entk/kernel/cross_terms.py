"""Cross terms of a parameter that is used in several places.

The gradient of such a parameter is the sum over its roles, so its kernel is the roles' kernels and
K_AB + K_BA for every pair of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from jaxtyping import Float
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.model.factors import Direct, Factors, OneHot, Outer
from tl_entk.model.sites import Site


def cross_terms(
    roles: Sequence[Site], factors: Mapping[str, Factors], outputs: int
) -> Float[Tensor, "n n"]:
    """Sum of K_AB + K_BA over the pairs of roles.

    Args:
        roles: sites of one parameter.
        factors: theirs, by name.
        outputs: number R of outputs folded into them.

    Raises:
        UserError: for roles of kinds that no model was seen to share.
    """
    total: Tensor | None = None
    for first, second in combinations(roles, 2):
        a, b = factors[first.name], factors[second.name]
        match a, b:
            case OneHot(), Outer():
                cross = _embedding_cross(a, b, outputs)
            case Outer(), Outer() if first.transposed == second.transposed:
                cross = _aligned_cross(a, b)
            case Outer(), Outer():
                cross = _opposed_cross(a, b, outputs)
            case Direct(), Direct():
                cross = (a.v @ b.v.mT).sum(0)
            case _:
                raise UserError(
                    f"{first.name} and {second.name} share a parameter as {first.kind} and "
                    f"{second.kind}: give each its own copy."
                )
        total = cross + cross.T if total is None else total + cross + cross.T
    assert total is not None
    return total


def _embedding_cross(embedding: OneHot, unembedding: Outer, outputs: int) -> Float[Tensor, "n n"]:
    """K_EU[n, m] = sum_{r,t,s} u_ms[r, w_nt] (g_nt[r] . x_ms).

    The gradient has rows g_nt at token w_nt from the embedding, x_ms (outer) u_ms from the other.
    """
    x, u = unembedding.x[0], unembedding.g[0].unflatten(-1, (outputs, -1))
    g = embedding.g.unflatten(-1, (outputs, -1))
    tokens = embedding.tokens.long()
    cross = g.new_zeros(len(tokens), len(tokens))
    for s in range(x.shape[0]):
        for t in range(g.shape[0]):
            for r in range(outputs):
                at_token = u[s, :, r][:, tokens[:, t]].T
                cross += at_token * (g[t, :, r] @ x[s].T)
    return cross


def _aligned_cross(a: Outer, b: Outer) -> Float[Tensor, "n n"]:
    """K_AB[n, m] = sum_{t,s} (x_nt . x_ms) (g_nt . g_ms), the outputs being folded into g."""
    cross = a.x.new_zeros(a.x.shape[2], b.x.shape[2])
    for x_a, g_a in zip(a.x[0], a.g[0], strict=True):
        for x_b, g_b in zip(b.x[0], b.g[0], strict=True):
            cross += (x_a @ x_b.T) * (g_a @ g_b.T)
    return cross


def _opposed_cross(a: Outer, b: Outer, outputs: int) -> Float[Tensor, "n n"]:
    """One role transposed: K_AB[n, m] = sum_{t,s,r} (x_nt . g_ms[r]) (g_nt[r] . x_ms)."""
    cross = a.x.new_zeros(a.x.shape[2], b.x.shape[2])
    for x_a, g_a in zip(a.x[0], a.g[0].unflatten(-1, (outputs, -1)), strict=True):
        for x_b, g_b in zip(b.x[0], b.g[0].unflatten(-1, (outputs, -1)), strict=True):
            for r in range(outputs):
                cross += (x_a @ g_b[:, r].T) * (g_a[:, r] @ x_b.T)
    return cross
