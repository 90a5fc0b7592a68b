"""Gram matrices of per-example gradients, by the cheaper of two formulas, in bounded memory.

For gradients sum_t x_t (outer) g_t of N examples:

pairs       K[n, m] = sum_{t,s} (x_nt . x_ms) (g_nt . g_ms)         N^2 T^2 (d_in + d_out)
gradients   form every gradient (d_in x d_out), then K = J J^T      (N^2 + N T) d_in d_out

Pairs win below T = sqrt(d_in d_out / (d_in + d_out)) positions. (The well-known rule of ghost
norms, 2 T^2 < d_in d_out, is for the diagonal alone.)
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.warn import warn_user
from tl_entk.model.factors import Direct, Factors, OneHot, Outer
from tl_entk.model.sites import Site
from tl_entk.tools.ranks import ALONE, Ranks

# products of a few MiB stay in a core's cache; larger tiles only cost memory
_TILE_BYTES = 16 * 2**20
_LEAST_BYTES = 2**20


def pairs_are_cheaper(n: int, uses: int, d_in: int, d_out: int) -> bool:
    """Whether the sum over pairs of positions takes fewer operations than forming gradients.

    Args:
        n: examples.
        uses: positions T at which the weight is used.
        d_in: width of the input.
        d_out: width of the output, times the number of outputs read.

    Example:
        >>> pairs_are_cheaper(n=1024, uses=1, d_in=2048, d_out=640)
        True
        >>> pairs_are_cheaper(n=1024, uses=64, d_in=2048, d_out=640)
        False
    """
    return n * uses**2 * (d_in + d_out) <= (n + uses) * d_in * d_out


def gram_flops(site: Site, n: int, uses: int, outputs: int) -> int:
    """Operations of a site's kernel by the cheaper formula, a symmetric half saved by neither.

    Args:
        site: whose kernel.
        n: examples.
        uses: positions T at which the weight is used.
        outputs: number R of outputs read.
    """
    d_out = site.d_out * outputs
    match site.kind:
        case "linear":
            pairs = n**2 * uses**2 * (site.d_in + d_out)
            return 2 * min(pairs, (n**2 + n * uses) * site.d_in * d_out)
        case "embedding" | "position":
            return 2 * n**2 * uses * d_out
        case "scale" | "bias":
            return 2 * n**2 * d_out


def gram(factors: Factors, memory_budget: int, ranks: Ranks = ALONE) -> Float[Tensor, "h n n"]:
    """Kernel of the factors, one matrix per head (one in all for a weight without heads).

    Args:
        factors: of one site.
        memory_budget: bytes that temporaries may take; less where the device has less.
        ranks: processes that have the same factors and take turns at the matrix's parts.

    Raises:
        torch.OutOfMemoryError: if small pieces do not fit either, or in one of several processes,
            which must agree on the pieces.

    Warns:
        RuntimeWarning: says what is gone on with.
    """
    given = memory_budget
    while (kernel := _unless_full(factors, memory_budget, ranks)) is None:
        memory_budget //= 2
        if memory_budget < _LEAST_BYTES or ranks.count > 1:
            raise torch.OutOfMemoryError(
                "the device has too little memory for a kernel of these examples: take fewer, or "
                "pass a smaller memory_budget."
            )
    if memory_budget < given:
        warn_user(
            f"the device ran out of memory with pieces of a kernel of {given / 2**20:.0f} MiB; "
            f"went on with {memory_budget / 2**20:.0f} MiB.",
            RuntimeWarning,
        )
    return kernel


def _unless_full(factors: Factors, memory_budget: int, ranks: Ranks) -> Tensor | None:
    """The kernel; None after the device ran out of memory."""
    try:
        return _gram(factors, memory_budget, ranks)
    except torch.OutOfMemoryError:
        return None


def _gram(factors: Factors, memory_budget: int, ranks: Ranks) -> Float[Tensor, "h n n"]:
    match factors:
        case Outer(x, g):
            uses, n = g.shape[1], g.shape[2]
            heads = max(len(x), len(g))
            if uses == 0:
                return g.new_zeros(heads, n, n)
            cheaper = pairs_are_cheaper(n, uses, x.shape[-1], g.shape[-1])
            kernel = (_by_pairs if cheaper else _by_gradients)(x, g, memory_budget, ranks)
            ranks.add_up(kernel)
            return _mirror(kernel)
        case OneHot(tokens, g):
            return _mirror(_by_token(tokens, g)[None])
        case Direct(v):
            return _mirror(_symmetric_product(v, memory_budget))


def gram_diagonal(factors: Factors) -> Float[Tensor, "h n"]:
    """Squared norm of every example's gradient, per head: the kernel's diagonal, without the rest.

    Of x_t (outer) g_t that is sum_{t,s} (x_t . x_s) (g_t . g_s), T^2 (d_in + d_out) operations an
    example; or form the gradient, T d_in d_out.

    Args:
        factors: of one site.
    """
    match factors:
        case Outer(x, g):
            uses, d_in, d_out = g.shape[1], x.shape[-1], g.shape[-1]
            x, g = x.transpose(1, 2), g.transpose(1, 2)
            if uses * (d_in + d_out) <= d_in * d_out:
                return ((x @ x.mT) * (g @ g.mT)).sum((2, 3))
            return (x.mT @ g).square().sum((2, 3))
        case OneHot(tokens, g):
            same = (tokens[:, :, None] == tokens[:, None, :]).to(g.dtype)
            g = g.transpose(0, 1)
            return (same * (g @ g.mT)).sum((1, 2))[None]
        case Direct(v):
            return v.square().sum(2)


def _tile(n: int, bytes_per_pair: int, memory_budget: int) -> int:
    """Rows of a square tile such that its temporaries stay in cache and in the budget.

    At least four tiles a side where they are not small: the lower triangle is never computed.
    """
    room = min(_TILE_BYTES, memory_budget)
    return max(1, min(math.isqrt(room // bytes_per_pair), max(128, math.ceil(n / 4))))


def _upper_tiles(n: int, tile: int) -> list[tuple[slice, slice]]:
    starts = range(0, n, tile)
    return [
        (slice(i, min(i + tile, n)), slice(j, min(j + tile, n)))
        for i in starts
        for j in starts
        if i <= j
    ]


def _mirror(kernel: Float[Tensor, "h n n"]) -> Float[Tensor, "h n n"]:
    """Fill the lower triangle from the upper one, in place: exactly symmetric."""
    for matrix in kernel:
        matrix.copy_(matrix.triu() + matrix.triu(1).T)
    return kernel


def _by_pairs(
    x: Float[Tensor, "h_x t n d_in"],
    g: Float[Tensor, "h_g t n d_out"],
    memory_budget: int,
    ranks: Ranks = ALONE,
) -> Float[Tensor, "h n n"]:
    uses, n, heads = g.shape[1], g.shape[2], max(len(x), len(g))
    tile = _tile(n, 2 * heads * uses * g.element_size(), memory_budget)
    kernel = g.new_zeros(heads, n, n)
    tiles = _upper_tiles(n, min(tile, -(-n // ranks.count)))
    for rows, columns in tiles[ranks.rank :: ranks.count]:
        x_columns, g_columns = x[:, :, columns].flatten(1, 2), g[:, :, columns].flatten(1, 2)
        for t in range(uses):
            products = g[:, t, rows] @ g_columns.mT
            inputs = x[:, t, rows] @ x_columns.mT
            products = products.mul_(inputs) if len(g) == heads else inputs.mul_(products)
            kernel[:, rows, columns] += products.unflatten(2, (uses, -1)).sum(2)
    return kernel


def _by_gradients(
    x: Float[Tensor, "h_x t n d_in"],
    g: Float[Tensor, "h_g t n d_out"],
    memory_budget: int,
    ranks: Ranks = ALONE,
) -> Float[Tensor, "h n n"]:
    n, heads, d_in, d_out = g.shape[2], max(len(x), len(g)), x.shape[-1], g.shape[-1]
    chunk = min(-(-d_in // ranks.count), memory_budget // (n * d_out * g.element_size()))
    chunk = max(1, chunk)
    kernel = g.new_zeros(heads, n, n)
    for head in range(heads):
        x_head = x[head if len(x) > 1 else 0].permute(1, 2, 0)
        g_head = g[head if len(g) > 1 else 0].transpose(0, 1)
        for part in list(x_head.split(chunk, 1))[ranks.rank :: ranks.count]:
            gradients = (part @ g_head).flatten(1)
            kernel[head].addmm_(gradients, gradients.T)
    return kernel


def _by_token(tokens: Int[Tensor, "n t"], g: Float[Tensor, "t n d_out"]) -> Float[Tensor, "n n"]:
    """Rows of the gradient differ by token: add up what each token contributes to its examples."""
    n, width = tokens.shape[0], g.shape[-1]
    vocabulary = int(tokens.max()) + 1
    example = torch.arange(n, device=tokens.device)[:, None]
    # one row per (token, example) that occurs, sorted by token
    keys, row = (tokens.long() * n + example).unique(return_inverse=True)
    rows = g.new_zeros(len(keys), width)
    rows.index_add_(0, row.T.flatten(), g.flatten(0, 1))
    counts = torch.bincount(keys // n, minlength=vocabulary)
    kernel = g.new_zeros(n, n)
    start = 0
    for count in counts[counts > 0].tolist():
        chosen = keys[start : start + count] % n
        part = rows[start : start + count]
        kernel[chosen[:, None], chosen] += part @ part.T
        start += count
    return kernel


def _symmetric_product(v: Float[Tensor, "h n d"], memory_budget: int) -> Float[Tensor, "h n n"]:
    heads, n, _ = v.shape
    tile = _tile(n, heads * v.element_size(), memory_budget)
    kernel = v.new_empty(heads, n, n)
    for rows, columns in _upper_tiles(n, tile):
        kernel[:, rows, columns] = v[:, rows] @ v[:, columns].mT
    return kernel
