"""Rotation of degenerate eigendirections into the smoothest ones on given graphs.

Eigenvectors of a cliff share nearly one eigenvalue, so that any rotation of them is as good: the
kernel fixes their span, not the directions in it. Graph Laplacians choose the directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array, sparray, spmatrix
from torch import Tensor

from feature_sets.display import Shown, list_some
from feature_sets.errors import UserError
from tl_entk.directions.basis import numerical_rank
from tl_entk.directions.scores import choose_signs
from tl_entk.tools.arrays import Matrix, Rows, to_tensor
from tl_entk.tools.values import check_kind

Laplacian: TypeAlias = sparray | spmatrix | Matrix


@dataclass(frozen=True, eq=False, repr=False)
class Rotation(Shown):
    """Directions rotated within their span.

    Attributes:
        vectors: (N, k) orthonormal; the entry of largest size of each is positive.
        roughness: (k, L) Rayleigh quotient v^T L v of every direction on every Laplacian; L = 0
            where the rotation had no Laplacian.
        converged: whether the rotation was found to its tolerance.
    """

    vectors: Float[Tensor, "n k"]
    roughness: Float[Tensor, "k l"]
    converged: bool = True

    def _lines(self) -> list[str]:
        n, k = self.vectors.shape
        graphs = self.roughness.shape[1]
        lines = [f"Rotation: {k} directions over {n} examples"]
        if not self.converged:
            lines[0] += ", not converged"
        if graphs:
            lines.append(f"roughness on the first Laplacian {list_some(self.roughness[:, 0])}")
        return lines

    def to_pandas(self) -> Any:
        """A row per direction: its roughness on every Laplacian, and its largest entry."""
        import pandas as pd

        columns: dict[str, Any] = {"direction": range(self.vectors.shape[1])}
        columns |= {
            f"roughness {number}": values.numpy()
            for number, values in enumerate(self.roughness.unbind(1))
        }
        return pd.DataFrame({**columns, "largest_entry": self.vectors.abs().amax(0).numpy()})


def rotate_by_smoothness(vectors: Rows, laplacians: Sequence[Laplacian]) -> Rotation:
    """Rotate directions within their span so that they are smooth, then less and less so.

    V <- V U with V^T L_1 V = U diag U^T, ascending; then the same with L_2 inside the first
    floor(k / 2) directions, with L_3 inside the first floor(k / 4), and so on.

    For modular addition: ``a`` then ``b`` of ``torus_laplacians`` for a cliff of waves in a and in
    b (those in b do not change along a and so are the lower half), ``a+b`` then ``a-b`` for one of
    waves in the sum and the difference.

    Args:
        vectors: (N, k) directions; the nearest orthonormal ones are taken if they are not.
        laplacians: symmetric (N, N) matrices, sparse or dense, in this order.

    Returns:
        The rotated directions and their roughness, in float64 on the CPU. The upper half ascends
        in the first Laplacian, the quarter below it in the second, the rest in the last.

    Raises:
        UserError: if the directions are dependent or not finite, or there is no Laplacian, or one
            is not symmetric, not finite or of another size.

    Source: arXiv 2510.00468, appendices C and D.

    Example:
        >>> from tl_entk.directions.laplacians import torus_laplacians
        >>> a, b = np.divmod(np.arange(25), 5)
        >>> waves = torch.tensor(np.stack([np.cos(2 * np.pi * k * a / 5) for k in (1, 2)], 1))
        >>> mixed = waves @ torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
        >>> rotation = rotate_by_smoothness(mixed, [torus_laplacians(a, b, 5)["a"]])
        >>> rotation.roughness[:, 0].round(decimals=3).tolist()  # 2 - 2 cos(2 pi k / 5)
        [1.382, 3.618]
    """
    rotated = orthonormal_directions(vectors).numpy()
    n, k = rotated.shape
    check_kind("laplacians", laplacians, Sequence, "a list of matrices (N, N)")
    matrices = [_check_laplacian(matrix, number, n) for number, matrix in enumerate(laplacians)]
    if not matrices:
        raise UserError("no Laplacian: pass at least one, for example torus_laplacians(a, b, p).")
    size = k
    for matrix in matrices:
        part = rotated[:, :size]
        rotated[:, :size] = part @ np.linalg.eigh(part.T @ (matrix @ part))[1]
        size //= 2
    quotients = [(rotated * (matrix @ rotated)).sum(0) for matrix in matrices]
    vectors = torch.from_numpy(rotated)
    return Rotation(vectors * choose_signs(vectors), torch.from_numpy(np.stack(quotients, 1)))


def _check_laplacian(laplacian: Any, number: int, n: int) -> csr_array:
    """The matrix as sparse float64.

    Raises:
        UserError: unless it is (n, n), finite and symmetric.
    """
    kinds = (sparray, spmatrix, np.ndarray, Tensor)
    check_kind(f"Laplacian {number}", laplacian, kinds, "a matrix (N, N), sparse or dense")
    if isinstance(laplacian, Tensor):
        laplacian = to_tensor(laplacian, f"Laplacian {number}").cpu().numpy()
    if laplacian.dtype.kind not in "biuf":
        raise UserError(
            f"Laplacian {number} is complex, or no numbers ({laplacian.dtype}): pass real numbers."
        )
    if laplacian.shape != (n, n):
        raise UserError(
            f"Laplacian {number} has shape {laplacian.shape}, the directions {n} examples: pass "
            "both for the same examples in the same order."
        )
    matrix = csr_array(laplacian).astype(np.float64)
    if not np.isfinite(matrix.data).all():
        raise UserError(f"Laplacian {number} is not finite: check its edges' weights.")
    if abs(matrix - matrix.T).max() > 1e-9 * abs(matrix).max():
        raise UserError(f"Laplacian {number} is not symmetric: pass (L + L.T) / 2.")
    return matrix


def orthonormal_directions(vectors: Rows) -> Float[Tensor, "n k"]:
    """The nearest orthonormal directions of the same span, V (V^T V)^(-1/2).

    Args:
        vectors: (N, k), any number format. Directions that are orthonormal stay as they are.

    Returns:
        (N, k) in float64 on the CPU.

    Raises:
        UserError: if they are dependent, not finite, or none.

    Example:
        >>> orthonormal_directions(torch.tensor([[2.0, 0.0], [0.0, 3.0]])).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    given = to_tensor(vectors, "directions")
    if given.ndim != 2 or given.shape[1] == 0:
        raise UserError(
            f"directions of shape {tuple(given.shape)}: pass (N, k) with at least one, for "
            "example eigen.vectors[:, 1:57]."
        )
    values = given.cpu().double()
    if not bool(torch.isfinite(values).all()):
        raise UserError("the directions are not finite: leave those columns out.")
    left, singular, right = torch.linalg.svd(values, full_matrices=False)
    rank, k = numerical_rank(singular, tuple(given.shape), given.dtype), values.shape[1]
    if rank < k:
        raise UserError(
            f"{k} directions span {rank} dimensions only: drop the dependent ones, for example by "
            "tl_entk.directions.basis.orthonormal_basis(vectors)."
        )
    return left @ right
