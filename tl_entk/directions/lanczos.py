"""Block Lanczos with full reorthogonalization: leading eigenpairs of a matrix known by products.

The state is an orthonormal basis Q with the projected matrix T, such that
A Q = Q T + R E^T, with R the part of the last block's products that no basis vector holds. The
residual of a Ritz pair is the norm of R times the last entries of its coordinates: no further
product is needed to know it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.directions.rows import Rows

Multiply = Callable[[Float[Tensor, "rows b"]], Float[Tensor, "rows b"]]


@dataclass(eq=False)
class LanczosState:
    """A basis that grows by a block with every step.

    Attributes:
        rows: of the matrix, and which of them this process has.
        basis: (rows, m) orthonormal, this process's rows of it; the products of its last
            ``len(fresh)`` columns are not known yet.
        projected: (m', m') T of the columns whose products are known, in float64.
        coupling: (b, m') R's coordinates: A Q = (Q T + fresh coupling) scale.
        products: how many vectors have been multiplied so far.
        generator: of the random vectors.
        scale: a power of two near the first product's size: squares of very small or large
            numbers leave the number format. 0 until there is a product.
        searched: last known columns that came of searching the complement; None outside a search.
        search_width: random vectors that the next search begins with, or this one began with.
    """

    rows: Rows
    basis: Float[Tensor, "rows m"]
    projected: Float[Tensor, "k k"]
    coupling: Float[Tensor, "b k"]
    products: int
    generator: torch.Generator
    scale: float = 0.0
    searched: int | None = None
    search_width: int = 1

    @property
    def known(self) -> int:
        """Number of columns whose products are known."""
        return len(self.projected)

    @property
    def full(self) -> bool:
        """Whether the basis has as many columns as there can be."""
        return self.basis.shape[1] == self.rows.count

    @property
    def exhausted(self) -> bool:
        """Whether the basis spans everything: its Ritz pairs are eigenpairs."""
        return self.known == self.basis.shape[1]

    def copy(self) -> LanczosState:
        """Another to change: its tensors are replaced, never written to, and its draws its own."""
        generator = torch.Generator()
        generator.set_state(self.generator.get_state())
        return replace(self, generator=generator)


def first_state(
    rows: Rows,
    block: int,
    *,
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
    vectors: Float[Tensor, "rows m"] | None = None,
) -> LanczosState:
    """A state with a first block: random, or of vectors that are nearly those wanted.

    Args:
        rows: of the matrix.
        block: vectors multiplied at a time.
        seed: of the random vectors, drawn on the CPU: every device starts alike.
        dtype: number format of the basis.
        device: where the basis is.
        vectors: to start from, this process's rows of them.
    """
    generator = torch.Generator().manual_seed(seed)
    own = range(rows.count)[rows.own]
    none = torch.zeros(len(own), 0, dtype=dtype, device=device)
    drawn = rows.random(min(block, rows.count), generator, none)
    first = drawn if vectors is None else vectors.to(device, dtype)
    first = first / _power_of_two(rows.largest(first))
    basis, _ = _orthonormalize(rows, none, first, rows.norms(first), generator)
    empty = torch.zeros(0, 0, dtype=torch.float64)
    return LanczosState(rows, basis, empty, empty.reshape(basis.shape[1], 0), 0, generator)


def step(state: LanczosState, multiply: Multiply, width: int | None = None) -> None:
    """Multiply fresh vectors, and add what is new in the products to the basis.

    Args:
        state: which is changed.
        multiply: the matrix's products.
        width: how many of the fresh vectors, the last ones; all by default.
    """
    known, count = state.known, state.basis.shape[1] - state.known
    width = count if width is None else width
    waiting = count - width
    done = known + width
    if waiting:
        order = [*range(waiting, count), *range(waiting)]
        state.basis = state.basis[:, [*range(known), *(known + i for i in order)]]
        state.coupling = state.coupling[order]
    basis = state.basis
    product = multiply(basis[:, known:done])
    largest = state.rows.largest(product)
    if not math.isfinite(largest):
        raise RuntimeError(
            "a product with the kernel is not finite: look for infinities in the weights or "
            "activations, or compute in a wider format."
        )
    scale = state.scale or _power_of_two(largest)
    product = product / scale
    size = state.rows.norms(product)
    coordinates = _project_out(state.rows, basis, product)
    T = torch.zeros(done, done, dtype=torch.float64)
    T[:known, :known] = state.projected
    T[:, known:] = coordinates[:done]
    T[known:, :known] = coordinates[:known].T
    T[known:, known:] = (T[known:, known:] + T[known:, known:].T) / 2
    block, remainder = _orthonormalize(state.rows, basis, product, size, state.generator)
    coupling = torch.zeros(waiting + block.shape[1], done, dtype=torch.float64)
    coupling[:waiting, :known] = state.coupling[width:]
    coupling[:waiting, known:] = coordinates[done:]
    coupling[waiting:, known:] = remainder
    state.basis, state.projected, state.coupling = torch.cat([basis, block], 1), T, coupling
    state.products, state.scale = state.products + width, scale
    state.searched = None if state.searched is None else state.searched + width


def widen(state: LanczosState, count: int) -> None:
    """Add random vectors to the fresh ones, as many as there is room for.

    Args:
        state: which is changed.
        count: of the vectors.
    """
    rows, basis = state.rows, state.basis
    block = basis[:, :0]
    for _ in range(min(count, rows.count - basis.shape[1])):
        block = torch.cat([block, _random_vector(rows, basis, block, state.generator)], 1)
    none = torch.zeros(block.shape[1], state.known, dtype=torch.float64)
    state.coupling, state.basis = torch.cat([state.coupling, none]), torch.cat([basis, block], 1)


def _power_of_two(size: float) -> float:
    """The power of two just below a size: dividing by it rounds nothing."""
    return math.ldexp(1.0, math.frexp(size)[1] - 1) if size else 1.0


def _project_out(rows: Rows, basis: Tensor, vectors: Tensor) -> Float[Tensor, "m b"]:
    """Remove the basis from the vectors in place, twice; returns the coordinates removed."""
    total = torch.zeros(basis.shape[1], vectors.shape[1], dtype=torch.float64)
    for _ in range(2):
        coordinates = rows.inner(basis, vectors)
        vectors -= basis @ coordinates
        total += coordinates.double().cpu()
    return total


def _orthonormalize(
    rows: Rows,
    basis: Tensor,
    product: Tensor,
    size: Float[Tensor, " b"],
    generator: torch.Generator,
) -> tuple[Tensor, Float[Tensor, "b2 b"]]:
    """The new block and its coordinates: product = block @ remainder up to rounding.

    A direction that the basis holds already (an invariant subspace was found) is replaced by a
    random one with remainder zero, as long as there is room for any.
    """
    width = product.shape[1]
    rounding = 10 * torch.finfo(product.dtype).eps * float(size.max())
    room = min(width, rows.count - basis.shape[1])
    block = product[:, :0]
    remainder = torch.zeros(room, width, dtype=torch.float64)
    for column in range(width):
        vector = product[:, [column]]
        coordinates = _project_out(rows, block, vector)
        remainder[: block.shape[1], column] = coordinates[:, 0]
        length = float(rows.norms(vector))
        if length > rounding and block.shape[1] < room:
            remainder[block.shape[1], column] = length
            # what two projections leave of the basis is rounding, which counts in short vectors
            short = length < 1e-2 * float(size.max())
            fresh = _clean_vector(rows, basis, block, vector) if short else vector / length
            block = torch.cat([block, fresh], 1)
    while block.shape[1] < room:
        block = torch.cat([block, _random_vector(rows, basis, block, generator)], 1)
    return block, remainder


def _random_vector(
    rows: Rows, basis: Tensor, block: Tensor, generator: torch.Generator
) -> Float[Tensor, "rows 1"]:
    """A random unit vector without anything of the basis and the block in it."""
    return _clean_vector(rows, basis, block, rows.random(1, generator, basis))


def _clean_vector(rows: Rows, basis: Tensor, block: Tensor, vector: Tensor) -> Tensor:
    """A unit vector without what rounding has left of the basis in it."""
    vector = vector / float(rows.norms(vector))
    _project_out(rows, basis, vector)
    _project_out(rows, block, vector)
    return vector / float(rows.norms(vector))


@dataclass(frozen=True, eq=False)
class RitzPairs:
    """Approximate eigenpairs, largest first.

    Attributes:
        values: (k,).
        coordinates: (m, k) in the basis.
        residuals: (k,) ||A v - theta v|| / theta_1.
    """

    values: Float[Tensor, " k"]
    coordinates: Float[Tensor, "m k"]
    residuals: Float[Tensor, " k"]


def ritz_pairs(state: LanczosState, k: int) -> RitzPairs:
    """The k largest Ritz pairs, or as many as there are."""
    values, coordinates = torch.linalg.eigh(state.projected)
    k = min(k, len(values))
    values, coordinates = values.flip(0)[:k], coordinates.flip(1)[:, :k]
    largest = values[0].abs().clamp_min(torch.finfo(torch.float64).tiny)
    residuals = (state.coupling @ coordinates).norm(dim=0) / largest
    return RitzPairs(values * (state.scale or 1.0), coordinates, residuals)


def allowed_residuals(
    values: Float[Tensor, " k"], tol: float, dtype: torch.dtype
) -> Float[Tensor, " k"]:
    """Residuals up to which pairs have converged, relative to the first eigenvalue.

    ``tol``, and ten times that of a pair's own eigenvalue: where eigenvalues fall steeply, a pair
    that is far from any eigenvector has a residual that is small beside the first. Rounding of the
    number format is allowed for.

    Args:
        values: eigenvalues, largest first.
        tol: relative to the first.
        dtype: of the products.

    Example:
        >>> allowed_residuals(torch.tensor([1.0, 0.5, 0.01]), 1e-3, torch.float32).tolist()[:2]
        [0.0010000000474974513, 0.0010000000474974513]
    """
    first = values[0].abs().clamp_min(torch.finfo(torch.float64).tiny)
    own = 10 * tol * values.abs() / first
    return own.clamp(100 * torch.finfo(dtype).eps).clamp_max(tol)


def restart(state: LanczosState, keep: int) -> None:
    """Thick restart: go on from the leading Ritz vectors and the fresh block alone."""
    pairs = ritz_pairs(state, keep)
    coordinates = pairs.coordinates.to(state.basis.device, state.basis.dtype)
    fresh = state.basis[:, state.known :]
    state.basis = torch.cat([state.basis[:, : state.known] @ coordinates, fresh], 1)
    state.coupling = state.coupling @ pairs.coordinates
    state.projected = (pairs.values / state.scale).diag()
