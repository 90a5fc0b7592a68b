"""Eigendirections of a dense kernel, computed in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from feature_sets.display import Shown, list_some
from feature_sets.errors import UserError
from tl_entk.directions.scores import choose_signs
from tl_entk.tools.arrays import Matrix, Rows, to_matrix, to_tensor

if TYPE_CHECKING:
    from tl_entk.directions.examples import TopExamples, TopTokens

# what numbers an example's part of an eigenvector has: one; one for each output; the coordinates of
# the final hidden vector, whitened by the unembedding
Space = Literal["examples", "outputs", "final_hidden"]
# what the d numbers of an example are
_EACH = {"examples": "numbers", "outputs": "outputs", "final_hidden": "of the final hidden vector"}


@dataclass(frozen=True, eq=False, repr=False)
class EigenDirections(Shown):
    """Leading eigenpairs of a kernel, largest eigenvalue first.

    Attributes:
        eigenvalues: (k,).
        scores: (N, k), one signed number per example and direction. For an N x N kernel they
            are the eigenvectors themselves.
        vectors: (N, k) unit eigenvectors; (N, d, k) for a kernel of N d rows.
        rank1_share: (k,) share of a vector's norm that its scores hold; 1 for an N x N kernel.
        residuals: (k,) ||K v - theta v|| / theta_1.
        converged: (k,) whether the residual is below the tolerance.
        provenance: where the kernel came from, for people to read.
        space: what the rows of the kernel are: "examples" of an N x N kernel; of one of N d rows
            "outputs", or "final_hidden" for the whitened final hidden vector of every example.
    """

    eigenvalues: Float[Tensor, " k"]
    scores: Float[Tensor, "n k"]
    vectors: Float[Tensor, "n *d k"]
    rank1_share: Float[Tensor, " k"]
    residuals: Float[Tensor, " k"]
    converged: Bool[Tensor, " k"]
    provenance: dict[str, Any] = field(default_factory=dict)
    space: Space = "examples"

    def _lines(self) -> list[str]:
        n, k = self.scores.shape
        each = "" if self.vectors.ndim == 2 else f" x {self.vectors.shape[1]} {_EACH[self.space]}"
        about = self.provenance
        made_of = [str(about["component"])] if "component" in about else []
        made_of += [f"readout {about['readout']}"] if "readout" in about else []
        return [
            f"EigenDirections: {k} directions over {n} examples{each}",
            *([f"of {'; '.join(made_of)}"] if made_of else []),
            f"eigenvalues {list_some(self.eigenvalues)}; {int(self.converged.sum())} of {k} "
            "converged",
        ]

    def to_pandas(self) -> Any:
        """A row per direction: eigenvalue, over the first, residual, converged, rank-1 share."""
        import pandas as pd

        values = self.eigenvalues.detach().cpu().double()
        first = values[0] if len(values) and values[0] > 0 else 1.0
        return pd.DataFrame(
            {
                "direction": range(len(values)),
                "eigenvalue": values,
                "relative": values / first,
                "residual": self.residuals.detach().cpu().double(),
                "converged": self.converged.cpu(),
                "rank1_share": self.rank1_share.detach().cpu().double(),
            }
        )

    def top_examples(self, direction: int, windows: Any = None, **options: Any) -> TopExamples:
        """The examples that a direction scores highest and lowest: :func:`top_examples`."""
        from tl_entk.directions.examples import top_examples

        return top_examples(self, direction, windows, **options)

    def top_tokens(self, direction: int, model: Any, windows: Any, **options: Any) -> TopTokens:
        """The tokens that go up and down with a direction's scores: :func:`top_tokens`."""
        from tl_entk.directions.examples import top_tokens

        return top_tokens(self, direction, model, windows, **options)

    def take(self, columns: Sequence[int]) -> EigenDirections:
        """Some of the directions, in this order."""
        chosen = list(columns)
        parts: dict[str, Any] = {n: tensor[..., chosen] for n, tensor in self.tensors().items()}
        return replace(self, **parts)

    def tensors(self) -> dict[str, Tensor]:
        """Everything but provenance and space, by attribute."""
        return {k: v for k, v in vars(self).items() if isinstance(v, Tensor)}


def check_directions(found: EigenDirections) -> None:
    """Refuse directions whose parts do not belong together.

    Raises:
        UserError: for other shapes than the class has, numbers that are not real or not finite,
            or an unknown space.
    """
    k = len(found.eigenvalues) if found.eigenvalues.ndim else 0
    n = len(found.scores) if found.scores.ndim else 0
    shapes = {name: tuple(tensor.shape) for name, tensor in found.tensors().items()}
    vectors = shapes.pop("vectors")
    each = ("eigenvalues", "rank1_share", "residuals", "converged")
    if shapes != {"scores": (n, k), **dict.fromkeys(each, (k,))} or not (
        len(vectors) in (2, 3) and (vectors[0], vectors[-1]) == (n, k)
    ):
        raise UserError(
            f"directions of shapes {shapes | {'vectors': vectors}}: (k,), scores (n, k) and "
            "vectors (n, k) or (n, d, k) belong together."
        )
    for name, tensor in found.tensors().items():
        if tensor.is_floating_point() is (name == "converged"):
            raise UserError(f"{name} of directions are of {tensor.dtype}: pass real numbers.")
    for name in ("eigenvalues", "scores", "vectors"):
        if not bool(getattr(found, name).isfinite().all()):
            raise UserError(f"{name} of directions are not finite: compute them anew.")
    if found.space not in get_args(Space):
        raise UserError(f"space {found.space!r} of directions: it is one of {get_args(Space)}.")


def scores_of(directions: EigenDirections | Rows, n: int | None = None) -> Float[Tensor, "n k"]:
    """The scores of directions, or the scores that were passed themselves.

    Args:
        directions: directions, or scores (N, k).
        n: examples there have to be; None for any number.

    Raises:
        UserError: as :func:`tl_entk.tools.arrays.to_matrix`.
    """
    found = directions.scores if isinstance(directions, EigenDirections) else directions
    return to_matrix(found, "scores", n)


def check_kernel(matrix: Matrix) -> Float[Tensor, "n n"]:
    """The matrix in float64 on the CPU, made exactly symmetric.

    Raises:
        UserError: if it is neither tensor nor numpy array, not square, not finite, or not
            symmetric.
    """
    if not isinstance(matrix, Tensor | np.ndarray):
        raise UserError(
            f"a kernel is a tensor or a numpy array, not {type(matrix).__name__}: pass one block, "
            "blocks[name], or blocks.total()."
        )
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise UserError(f"a kernel is square; this matrix has shape {tuple(matrix.shape)}.")
    kernel = to_tensor(matrix, "kernel").cpu().double()
    if not bool(torch.isfinite(kernel).all()):
        raise UserError("the kernel is not finite: compute it in a wider format.")
    if torch.equal(kernel, kernel.T):
        return kernel
    if float((kernel - kernel.T).abs().max()) > 1e-4 * float(kernel.abs().max()):
        raise UserError("the kernel is not symmetric: pass one of KernelBlocks' matrices.")
    return (kernel + kernel.T) / 2


def eigendecompose(
    matrix: Matrix,
    k: int | None = 25,
    *,
    tol: float = 1e-8,
    provenance: Mapping[str, Any] | None = None,
) -> EigenDirections:
    """Top eigendirections K v = theta v of a dense kernel, in float64.

    Args:
        matrix: (N, N) symmetric, any number format, a tensor or a numpy array.
        k: how many; None for the whole spectrum.
        tol: residual relative to the first eigenvalue up to which a pair counts as converged.
        provenance: what to keep with the result, for example ``blocks.provenance``.

    Returns:
        Eigenvalues in descending order with unit eigenvectors. A vector's sign is set so that
        its entry of largest size is positive.

    Raises:
        UserError: if the matrix is no kernel, or k is not between 1 and N.

    Example:
        >>> eigen = eigendecompose(torch.diag(torch.tensor([1.0, 4.0, 2.0])), k=2)
        >>> eigen.eigenvalues.tolist()
        [4.0, 2.0]
    """
    kernel = check_kernel(matrix)
    n = len(kernel)
    k = n if k is None else k
    if not 1 <= k <= n:
        raise UserError(f"k = {k}: the kernel has {n} eigendirections; pass 1 to {n}.")
    values, vectors = scipy.linalg.eigh(kernel.numpy(), subset_by_index=[n - k, n - 1])
    values, vectors = values[::-1].copy(), vectors[:, ::-1].copy()
    theta, v = torch.from_numpy(values), torch.from_numpy(vectors)
    v *= choose_signs(v)
    first = theta[0].abs().clamp_min(torch.finfo(torch.float64).tiny)
    residuals = (kernel @ v - v * theta).norm(dim=0) / first
    return EigenDirections(
        theta, v, v, torch.ones_like(theta), residuals, residuals <= tol, dict(provenance or {})
    )
