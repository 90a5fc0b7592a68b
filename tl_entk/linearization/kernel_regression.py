"""Kernel ridge regression with the flattened kernel K = J J^T, J kept as factors.

The change of the weights that fits residuals r (one number per example and output) is

    w = J^T (J J^T + ridge)^-1 r = (J^T J + ridge)^-1 J^T r,

one system as wide as there are rows, or as there are weights; J(x) w is the prediction of either.
The narrower one is factorized where it is small; else conjugate gradients only multiply with J.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.errors import UserError
from feature_sets.warn import warn_user
from tl_entk.linearization.jacobian import Jacobian
from tl_entk.model.batches import run_in_batches

Solver = Literal["auto", "cholesky", "cg"]
SOLVERS = ("auto", "cholesky", "cg")

# up to here forming and factorizing takes seconds
_DENSE = 5000
# numbers of J written out at a time for its norm: a few MiB stay in the cache
_CHUNK = 2**20


@dataclass(frozen=True, eq=False)
class RidgeSolution:
    """A change of the weights that fits residuals.

    Attributes:
        change: (P,) w = J^T (J J^T + ridge)^-1 r.
        solver: ``"cholesky"`` or ``"cg"``.
        width: of the system that was solved: weights P, or training rows N R.
        iterations: of conjugate gradients; 0 for Cholesky.
        residual: |A z - b| / |b| of that system.
        converged: whether the residual is small enough.
    """

    change: Float[Tensor, " p"]
    solver: str
    width: int
    iterations: int
    residual: float
    converged: bool


def mean_diagonal(J: Jacobian) -> float:
    """Mean of the diagonal of K = J J^T: the mean squared norm of the outputs' gradients."""
    squares: list[float] = []
    for key, columns in J.columns.items():
        step = max(1, _CHUNK // (J.outputs * (columns.stop - columns.start)))
        add = partial(_add_squares, J, key, squares)
        run_in_batches(J.n, step, add)
    return sum(squares) / J.shape[0]


def _add_squares(J: Jacobian, key: str, squares: list[float], chosen: slice) -> None:
    squares.append(float(J.block(key, chosen).square().sum(dtype=torch.float64)))


def fit_ridge(
    J: Jacobian,
    residuals: Sequence[Float[Tensor, "n r"]],
    ridge: float,
    *,
    solver: Solver = "auto",
    tol: float = 1e-6,
    max_iterations: int = 2000,
) -> list[RidgeSolution]:
    """Kernel ridge regression of several residuals with one kernel.

    Args:
        J: of the training rows.
        residuals: what to fit, each (N, R).
        ridge: added to the kernel's diagonal, in its units.
        solver: ``"cholesky"``, ``"cg"``, or whichever suits the size.
        tol: relative residual up to which conjugate gradients go.
        max_iterations: of conjugate gradients.

    Returns:
        A solution for each.

    Raises:
        UserError: if Cholesky was asked for and does not fit J's memory budget.

    Warns:
        RuntimeWarning: where conjugate gradients did not reach ``tol``.

    Example:
        >>> from tl_entk.linearization.build_jacobian import jacobian
        >>> J = jacobian(torch.nn.Linear(2, 1, bias=False), torch.eye(2), dtype=torch.float64)
        >>> found = fit_ridge(J, [torch.tensor([[3.0], [6.0]])], ridge=0.5)
        >>> found[0].change.round(decimals=6).tolist()
        [2.0, 4.0]
    """
    needed = _cholesky_bytes(J)
    if solver == "auto":
        fits = min(J.shape) <= _DENSE and needed <= J.memory_budget
        solver = "cholesky" if fits else "cg"
    wanted = [values.to(J.row_weights) for values in residuals]
    if solver == "cg":
        found = [
            _solve_by_conjugate_gradients(J, values, ridge, tol, max_iterations)
            for values in wanted
        ]
        worst = max(found, key=lambda solution: solution.residual)
        if not worst.converged:
            warn_user(
                f"conjugate gradients stopped after {worst.iterations} iterations at a relative "
                f"residual of {worst.residual:.1e} (tol = {tol:.0e}): raise max_iterations or the "
                f"ridge{'' if J.dtype == torch.float64 else ', or use dtype=torch.float64'}.",
                RuntimeWarning,
            )
        return found
    if needed > J.memory_budget:
        raise UserError(
            f"a Cholesky factor {min(J.shape)} wide takes {needed / 2**30:.1f} GiB with what it is "
            f"made of, more than memory_budget: pass solver='cg', or memory_budget={needed}."
        )
    return _solve_by_cholesky(J, wanted, ridge)


def _cholesky_bytes(J: Jacobian) -> int:
    """What the matrix and its factor take, and J where it has to be written out."""
    rows, width = J.shape
    dense = 0 if width <= rows else 8 * rows * width
    return dense + 2 * 8 * min(rows, width) ** 2


def _solve_by_cholesky(J: Jacobian, wanted: list[Tensor], ridge: float) -> list[RidgeSolution]:
    rows, width = J.shape
    if width <= rows:
        matrix = J.gram().numpy()
        sides = [_to_numpy(J.adjoint(values)) for values in wanted]
    else:
        matrix = J.kernel().numpy()
        sides = [_to_numpy(values.flatten()) for values in wanted]
    matrix[np.diag_indices_from(matrix)] += ridge
    factor = scipy.linalg.cho_factor(matrix, lower=True)
    found = []
    for b in sides:
        z = scipy.linalg.cho_solve(factor, b)
        change = torch.from_numpy(z).to(J.row_weights)
        if width > rows:
            change = J.adjoint(change.reshape(J.n, J.outputs))
        residual = _relative_norm(matrix @ z - b, b)
        found.append(RidgeSolution(change, "cholesky", len(matrix), 0, residual, True))
    return found


def _solve_by_conjugate_gradients(
    J: Jacobian, wanted: Float[Tensor, "n r"], ridge: float, tol: float, max_iterations: int
) -> RidgeSolution:
    """Conjugate gradients on J J^T + ridge.

    A residual of ``tol`` bounds the error of what is predicted on the training rows by tol |r|,
    since K (K + ridge)^-1 shrinks.
    """
    iterations = 0

    def count(_: np.ndarray) -> None:
        nonlocal iterations
        iterations += 1

    def as_rows(v: np.ndarray) -> Float[Tensor, "n r"]:
        return torch.from_numpy(v).to(J.row_weights).reshape(J.n, J.outputs)

    def product(v: np.ndarray) -> np.ndarray:
        return _to_numpy(J.apply(J.adjoint(as_rows(v))).flatten()) + ridge * v.ravel()

    b = _to_numpy(wanted.flatten())
    operator = scipy.sparse.linalg.LinearOperator((len(b),) * 2, matvec=product, dtype=b.dtype)
    z, _ = scipy.sparse.linalg.cg(
        operator, b, rtol=tol, atol=0.0, maxiter=max_iterations, callback=count
    )
    residual = _relative_norm(product(z) - b, b)
    # the solver's own residual, a running sum, may differ a little from the true one
    converged = residual <= 2 * tol
    return RidgeSolution(J.adjoint(as_rows(z)), "cg", len(b), iterations, residual, converged)


def _to_numpy(tensor: Tensor) -> np.ndarray:
    """The numbers in float64, for scipy."""
    return tensor.detach().cpu().double().numpy()


def _relative_norm(error: np.ndarray, size: np.ndarray) -> float:
    norm = float(np.linalg.norm(size))
    return float(np.linalg.norm(error)) / norm if norm > 0 else 0.0
