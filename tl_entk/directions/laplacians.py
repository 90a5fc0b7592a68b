"""Graph Laplacians over examples: of the torus of all pairs (a, b), and of a kernel's neighbours.

v^T L v is the sum over the graph's edges of the squared step of v along the edge, so that a small
value says that v is smooth on the graph.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Integer
from scipy.sparse import coo_array, csr_array, eye_array
from scipy.sparse.csgraph import laplacian

from feature_sets.errors import UserError
from feature_sets.fourier import read_summand
from tl_entk.directions.eigen import check_kernel
from tl_entk.kernel.normalize import center
from tl_entk.tools.arrays import Matrix
from tl_entk.tools.values import check_between, is_integer

# one step along each direction of the torus, which leaves every wave of the others' kind alone
_STEPS = {"a": (1, 0), "b": (0, 1), "a+b": (1, 1), "a-b": (1, -1)}


def torus_laplacians(
    a: Integer[np.ndarray, " n"], b: Integer[np.ndarray, " n"], p: int
) -> dict[str, csr_array]:
    """Cycle Laplacians of the p x p torus of all pairs (a, b), along each of four directions.

    L = 2 - S - S^T, S the step from (a, b) to (a + 1, b) for ``a``, (a, b + 1) for ``b``,
    (a + 1, b + 1) for ``a+b`` and (a + 1, b - 1) for ``a-b``, all mod p. A wave of frequency k in
    a has the eigenvalue 2 - 2 cos(2 pi k / p) of L_a and 0 of L_b; one in a + b has
    2 - 2 cos(4 pi k / p) of L_{a+b} and 0 of L_{a-b}.

    Args:
        a: (N,) first summand of every example, from 0 to p - 1.
        b: (N,) second summand. The N = p^2 pairs may come in any order.
        p: modulus.

    Returns:
        Sparse (N, N) matrices by direction: "a", "b", "a+b", "a-b".

    Raises:
        UserError: unless every pair comes exactly once.

    Source: arXiv 2510.00468, appendices C and D.

    Example:
        >>> a, b = np.divmod(np.arange(9), 3)
        >>> torus_laplacians(a, b, 3)["b"].toarray()[:3, :3].tolist()
        [[2.0, -1.0, -1.0], [-1.0, 2.0, -1.0], [-1.0, -1.0, 2.0]]
    """
    if not is_integer(p) or p < 1:
        raise UserError(f"p = {p!r}: pass a modulus of at least 1.")
    a, b = read_summand("a", a), read_summand("b", b)
    _check_pairs(a, b, p)
    examples = np.arange(p * p)
    example_of = np.empty((p, p), dtype=np.int64)
    example_of[a, b] = examples
    laplacians = {}
    for name, (step_a, step_b) in _STEPS.items():
        after = example_of[(a + step_a) % p, (b + step_b) % p]
        step = coo_array((np.ones(p * p), (examples, after)), shape=(p * p, p * p))
        laplacians[name] = csr_array(2 * eye_array(p * p) - step - step.T)
    return laplacians


def _check_pairs(a: Integer[np.ndarray, " n"], b: Integer[np.ndarray, " m"], p: int) -> None:
    """Refuse anything but all pairs, each once.

    Raises:
        UserError: see above.
    """
    advice = (
        f"pass every pair of 0 to {p - 1} exactly once, for example "
        f"np.divmod(np.arange({p * p}), {p})."
    )
    if a.shape != (p * p,) or b.shape != (p * p,):
        raise UserError(
            f"the torus of p = {p} has {p * p} pairs; a and b have shapes {a.shape} and "
            f"{b.shape}: {advice}"
        )
    for name, values in (("a", a), ("b", b)):
        if values.min() < 0 or values.max() >= p:
            raise UserError(f"{name} goes from {values.min()} to {values.max()}: {advice}")
    missing = p * p - len(np.unique(a.astype(np.int64) * p + b))
    if missing:
        raise UserError(f"{missing} of the {p * p} pairs are missing, others repeat: {advice}")


def kernel_laplacian(kernel: Matrix, neighbours: int = 8) -> csr_array:
    """Laplacian of the graph that joins examples with alike rows of the kernel.

    L = D - A. A_nm = 1 if m is among the ``neighbours`` nearest to n or n among those of m,
    where near means a large cosine of rows n and m of the centered kernel H K H; D holds A's row
    sums. Knows nothing of the task.

    All examples exactly as near as the last neighbour count (to 1e-9), so that ties, which a
    symmetric task makes many of, do not fall to the order of the examples. Edges have no weights:
    on modular addition, weighting them by their cosine changed results by less than a change of
    ``neighbours`` did.

    Args:
        kernel: (N, N), for example ``blocks.total()``, or the projector V V^T of directions V.
        neighbours: how many per example, 1 to N - 1.

    Returns:
        Sparse (N, N) matrix.

    Raises:
        UserError: if the matrix is no kernel, a row of the centered kernel is zero, or there are
            not so many neighbours.

    Source: arXiv 2510.00468, footnote 7 (asked for there; this graph is ours).

    Example:
        >>> kernel = torch.block_diag(torch.ones(2, 2), torch.ones(2, 2))
        >>> kernel_laplacian(kernel, neighbours=1).toarray()[:2].tolist()
        [[1.0, -1.0, 0.0, 0.0], [-1.0, 1.0, 0.0, 0.0]]
    """
    checked = check_kernel(kernel)
    rows = center(checked)
    n = len(rows)
    check_between("neighbours", neighbours, n - 1, f"the kernel has {n} examples")
    norms = rows.norm(dim=1)
    # relative to what was centered: rounding leaves a little of a row that ought to vanish
    empty = norms <= 1e-12 * checked.norm(dim=1).max()
    if bool(empty.any()):
        raise UserError(
            f"row {int(empty.nonzero()[0])} of the centered kernel is zero: leave that example out."
        )
    unit = rows / norms[:, None]
    cosines = (unit @ unit.T).fill_diagonal_(-torch.inf)
    last = cosines.topk(neighbours, dim=1).values[:, -1:]
    near = cosines >= last - 1e-9
    joined = csr_array((near | near.T).numpy().astype(np.float64))
    return csr_array(laplacian(joined))
