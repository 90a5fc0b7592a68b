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
from statsmodels.multivariate.factor_rotation import rotate_factors
from torch import Tensor

from tl_entk.directions.laplacians import kernel_laplacian
from tl_entk.directions.rotation import orthonormal_directions, rotate_by_smoothness, with_signs

_MEND = (
    "raise max_iterations or try another seed. What is returned spans the same, but take the "
    "single directions with care"
)


def rotate_by_kernel(
    vectors: Float[Tensor, "n k"],
    kernel: Float[Tensor, "n n"] | None = None,
    neighbours: int = 8,
) -> Float[Tensor, "n k"]:
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
        (N, k) orthonormal directions of the same span, smoothest first.

    Raises:
        UserError: as ``rotate_by_smoothness`` and ``kernel_laplacian``.

    Source: arXiv 2510.00468, footnote 7 (asked for there; the graph is ours).

    Example:
        >>> groups = torch.block_diag(torch.ones(3, 3), torch.ones(4, 4))
        >>> rotate_by_kernel(torch.eye(7)[:, :2], groups, neighbours=2).shape
        torch.Size([7, 2])
    """
    if kernel is None:
        basis = orthonormal_directions(vectors)
        kernel = basis @ basis.T
    return rotate_by_smoothness(vectors, [kernel_laplacian(kernel, neighbours)]).vectors


def rotate_by_varimax(
    vectors: Float[Tensor, "n k"], seed: int = 0, *, max_iterations: int = 1000
) -> Float[Tensor, "n k"]:
    """Rotate directions until each rests on few examples: varimax (statsmodels).

    Maximizes the sum over directions of the variance over examples of v_n^2. All rotations of
    orthonormal directions have sum_n v_n^2 = 1, so that this is the largest sum of v_n^4.

    Args:
        vectors: (N, k) directions.
        seed: of the random rotation to start from: a given basis may be a saddle point, and the
            Fourier modes are one.
        max_iterations: of the gradient projection algorithm.

    Returns:
        (N, k) orthonormal directions of the same span, in no particular order. A warning says if
        they did not converge.

    Raises:
        UserError: if the directions are dependent or not finite.

    Source: Kaiser, "The varimax criterion", Psychometrika 23 (1958); algorithm of Bernaards and
    Jennrich (2005).

    Example:
        >>> mixed = torch.tensor([[0.8, -0.6], [0.6, 0.8], [0.0, 0.0]])
        >>> rotate_by_varimax(mixed).round(decimals=3).sum(0).tolist()
        [1.0, 1.0]
    """
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
    if np.abs(gradient - gradient.T).max() > 1e-4 * np.abs(gradient).max():
        warnings.warn(
            f"varimax did not converge in {max_iterations} iterations: {_MEND}.", stacklevel=2
        )
    return with_signs(torch.from_numpy(rotated))


def rotate_by_ica(
    vectors: Float[Tensor, "n k"], seed: int = 0, *, max_iterations: int = 1000
) -> Float[Tensor, "n k"]:
    """Rotate directions to be as independent over the examples as can be: FastICA (scikit-learn).

    Maximizes the non-Gaussianity of every direction's entries (log cosh contrast). Orthonormal
    directions are white already; they are not centered, so that the span stays the same.

    Args:
        vectors: (N, k) directions.
        seed: of the random start.
        max_iterations: of the fixed-point iteration.

    Returns:
        (N, k) orthonormal directions of the same span, in no particular order. A warning says if
        they did not converge.

    Raises:
        UserError: if the directions are dependent or not finite.

    Source: Hyvarinen and Oja, "Independent component analysis: algorithms and applications",
    Neural Networks 13 (2000).

    Example:
        >>> rotate_by_ica(torch.eye(6)[:, :2]).shape
        torch.Size([6, 2])
    """
    basis = orthonormal_directions(vectors).numpy()
    ica = FastICA(whiten=False, max_iter=max_iterations, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # ours says what to do
        ica.fit(basis * len(basis) ** 0.5)
    if ica.n_iter_ >= max_iterations:
        warnings.warn(
            f"ICA did not converge in {max_iterations} iterations: {_MEND}.", stacklevel=2
        )
    return with_signs(torch.from_numpy(basis @ ica.components_.T))
