"""Rotations of a cliff's directions that know nothing of the task.

What they can find is what the span and the kernel tell. A cliff of modular addition spans all
functions of a and all of b (or of a + b and of a - b). Varimax and ICA part the two families and
settle on their sparsest members, one direction per residue. They do not find the Fourier modes,
and no rotation by the span alone could: every relabelling of the residues maps the span to itself
but mixes the frequencies. The order of the residues must be given, as ``torus_laplacians`` does.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from jaxtyping import Float
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning

from feature_sets.warn import warn_user
from tl_entk.directions.laplacians import kernel_laplacian
from tl_entk.directions.rotation import Rotation, orthonormal_directions, rotate_by_smoothness
from tl_entk.directions.scores import choose_signs
from tl_entk.tools.arrays import Matrix, Rows
from tl_entk.tools.values import check_at_least, check_seed

_ADVICE = (
    "raise max_iterations or try another seed. What is returned spans the same, but take the "
    "single directions with care"
)


def rotate_by_kernel(
    vectors: Rows,
    kernel: Matrix | None = None,
    neighbours: int = 8,
) -> Rotation:
    """Rotate directions to be smooth on the graph of examples that a kernel holds alike.

    ``rotate_by_smoothness`` with the one Laplacian ``kernel_laplacian(kernel, neighbours)``.

    Args:
        vectors: (N, k) directions.
        kernel: (N, N) whose rows tell which examples are alike; default the directions' own
            projector V V^T. On modular addition the full kernel serves its first cliff better
            (0.86 of the squared norm in one family, the projector 0.75) but says nothing about
            the second (0.54, as random directions; the projector 0.90).
        neighbours: per example.

    Returns:
        Orthonormal directions of the same span, smoothest first, with their roughness.

    Raises:
        UserError: as ``rotate_by_smoothness`` and ``kernel_laplacian``.

    Source: arXiv 2510.00468, footnote 7 (asked for there; the graph is ours).

    Example:
        >>> groups = torch.block_diag(torch.ones(3, 3), torch.ones(4, 4))
        >>> rotate_by_kernel(torch.eye(7)[:, :2], groups, neighbours=2).vectors.shape
        torch.Size([7, 2])
    """
    if kernel is None:
        basis = orthonormal_directions(vectors)
        kernel = basis @ basis.T
    return rotate_by_smoothness(vectors, [kernel_laplacian(kernel, neighbours)])


def rotate_by_varimax(vectors: Rows, seed: int = 0, *, max_iterations: int = 1000) -> Rotation:
    """Rotate directions until each rests on few examples: varimax (statsmodels).

    Maximizes the sum over directions of the variance over examples of v_n^2. All rotations of
    orthonormal directions have sum_n v_n^2 = 1, so that this is the largest sum of v_n^4.

    Args:
        vectors: (N, k) directions.
        seed: of the random rotation to start from: a given basis may be a saddle point, and the
            Fourier modes are one.
        max_iterations: of the gradient projection algorithm.

    Returns:
        Orthonormal directions of the same span, in no particular order.

    Raises:
        UserError: if the directions are dependent or not finite, or seed or max_iterations is out
            of range.

    Warns:
        UserWarning: if the rotation did not converge.

    Source: Kaiser, "The varimax criterion", Psychometrika 23 (1958); algorithm of Bernaards and
    Jennrich (2005).

    Example:
        >>> mixed = torch.tensor([[0.8, -0.6], [0.6, 0.8], [0.0, 0.0]])
        >>> rotate_by_varimax(mixed).vectors.round(decimals=3).sum(0).tolist()
        [1.0, 1.0]
    """
    # slow to import, and used here only
    from statsmodels.multivariate.factor_rotation import rotate_factors

    check_seed(seed)
    check_at_least("max_iterations", max_iterations)
    basis = orthonormal_directions(vectors).numpy()
    n, k = basis.shape
    start = np.linalg.qr(np.random.default_rng(seed).standard_normal((k, k)))[0]
    # Quartimax is varimax here (see above) but forms no N x N matrix. Entries of order n^(-1/4)
    # make its criterion of order k, for which the library's step size and tolerance are meant.
    with np.errstate(divide="ignore"):  # its log of a gradient that is exactly zero
        _, turn = rotate_factors(n**0.25 * basis @ start, "quartimax", max_tries=max_iterations)
    rotated = basis @ start @ turn
    # V^T V^3 is symmetric where the criterion is stationary
    gradient = rotated.T @ rotated**3
    converged = bool(np.abs(gradient - gradient.T).max() <= 1e-4 * np.abs(gradient).max())
    return _make_rotation(rotated, "varimax", max_iterations, converged)


def rotate_by_ica(vectors: Rows, seed: int = 0, *, max_iterations: int = 1000) -> Rotation:
    """Rotate directions to be as independent over the examples as can be: FastICA (scikit-learn).

    Maximizes the non-Gaussianity of every direction's entries (log cosh contrast). Orthonormal
    directions are white already; they are not centered, so that the span stays the same.

    Args:
        vectors: (N, k) directions.
        seed: of the random start.
        max_iterations: of the fixed-point iteration.

    Returns:
        Orthonormal directions of the same span, in no particular order.

    Raises:
        UserError: if the directions are dependent or not finite, or seed or max_iterations is out
            of range.

    Warns:
        UserWarning: if the rotation did not converge.

    Source: Hyvarinen and Oja, "Independent component analysis: algorithms and applications",
    Neural Networks 13 (2000).

    Example:
        >>> rotate_by_ica(torch.eye(6)[:, :2]).vectors.shape
        torch.Size([6, 2])
    """
    check_seed(seed)
    check_at_least("max_iterations", max_iterations)
    basis = orthonormal_directions(vectors).numpy()
    ica = FastICA(whiten=False, max_iter=max_iterations, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # ours says what to do
        ica.fit(basis * len(basis) ** 0.5)
    converged = ica.n_iter_ < max_iterations
    return _make_rotation(basis @ ica.components_.T, "ICA", max_iterations, converged)


def _make_rotation(
    rotated: Float[np.ndarray, "n k"], name: str, max_iterations: int, converged: bool
) -> Rotation:
    """The result of a rotation without Laplacians, with a warning if it is not the final one."""
    if not converged:
        warn_user(f"{name} did not converge in {max_iterations} iterations: {_ADVICE}.")
    vectors = torch.from_numpy(rotated)
    none = torch.zeros(vectors.shape[1], 0, dtype=torch.float64)
    return Rotation(vectors * choose_signs(vectors), none, converged)
