"""Eigendirections of a dense kernel, computed in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import scipy.linalg
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from feature_sets.display import Shown, list_some
from feature_sets.errors import UserError
from tl_entk.directions.basis import kernel_rank, rounding_level
from tl_entk.directions.scores import choose_signs
from tl_entk.kernel.kernel_blocks import KernelBlocks
from tl_entk.model.origin import Origin
from tl_entk.model.sites import match_names, partition
from tl_entk.tools.arrays import ASYMMETRY, Matrix, Rows, to_kernel, to_matrix, to_tensor
from tl_entk.tools.values import (
    check_between,
    check_kind,
    check_known,
    check_place,
    check_share,
    read_list,
)

if TYPE_CHECKING:
    from tl_entk import WeightDirection, WeightDirections
    from tl_entk.directions.examples import TopExamples, TopTokens

# what numbers an example's part of an eigenvector has: one; one for each output; the coordinates of
# the final hidden vector, whitened by the unembedding
Space = Literal["examples", "outputs", "final_hidden"]
# what the d numbers of an example are
_EACH = {"examples": "numbers", "outputs": "outputs", "final_hidden": "of the final hidden vector"}
_ONE_EACH = ("eigenvalues", "rank1_share", "residuals", "converged")
_TENSORS = ("scores", "vectors", *_ONE_EACH)


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
        origin: what the kernel was computed of, where that is known; not kept in files.

    Raises:
        UserError: for parts whose shapes do not belong together, or that are no real numbers.
    """

    eigenvalues: Float[Tensor, " k"]
    scores: Float[Tensor, "n k"]
    vectors: Float[Tensor, "n *d k"]
    rank1_share: Float[Tensor, " k"]
    residuals: Float[Tensor, " k"]
    converged: Bool[Tensor, " k"]
    provenance: dict[str, Any] = field(default_factory=dict)
    space: Space = "examples"
    origin: Origin | None = None

    def __post_init__(self) -> None:
        for name in _TENSORS:
            check_kind(name, getattr(self, name), Tensor, "a tensor")
        check_known("space", self.space, _EACH)
        check_kind("provenance", self.provenance, dict, "a dict of what they were made of")
        shapes = {name: tuple(tensor.shape) for name, tensor in self.tensors().items()}
        if len(shapes["scores"]) != 2:
            raise UserError(f"scores has shape {shapes['scores']}: pass (N, k).")
        if len(shapes["vectors"]) not in (2, 3):
            raise UserError(f"vectors has shape {shapes['vectors']}: pass (N, k) or (N, d, k).")
        n, k = shapes["scores"]
        for name in _ONE_EACH:
            if shapes[name] != (k,):
                raise UserError(
                    f"{name} has shape {shapes[name]}, not ({k},): pass one number for each of "
                    f"{k} directions."
                )
        for what, count, found in (
            ("examples", n, shapes["vectors"][0]),
            ("directions", k, shapes["vectors"][-1]),
        ):
            if found != count:
                raise UserError(f"scores of {count} {what}, vectors of {found}: pass as many.")
        for name, tensor in self.tensors().items():
            wanted, right = "real numbers", tensor.is_floating_point()
            if name == "converged":
                wanted, right = "truth values", tensor.dtype == torch.bool
            if not right:
                raise UserError(f"{name} is of {tensor.dtype}: pass {wanted}.")

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
            *([f"{about['dropped']} more asked for are rounding"] if "dropped" in about else []),
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

    def weight_directions(self, model: Any = None, **options: Any) -> WeightDirections:
        """Their counterparts in the weights: :func:`tl_entk.weight_directions`."""
        import tl_entk

        return tl_entk.weight_directions(self, model, **options)

    def weight_direction(
        self, direction: int, model: Any = None, **options: Any
    ) -> WeightDirection:
        """The counterpart of one of them: :func:`tl_entk.weight_directions`."""
        check_place("direction", direction, self.scores.shape[1])
        return self.take([direction]).weight_directions(model, **options)[0]

    def project(self, model: Any, tokens: Any, **options: Any) -> Float[Tensor, "n *t k"]:
        """Scores of new windows: :func:`tl_entk.project`."""
        import tl_entk

        return tl_entk.project(self, model, tokens, **options)

    def take(self, columns: Sequence[int]) -> EigenDirections:
        """Some of the directions, in this order.

        Raises:
            UserError: for one that there is not.
        """
        chosen = read_list("columns", columns, "integers")
        for column in chosen:
            check_place("direction", column, self.scores.shape[1])
        parts: dict[str, Any] = {n: tensor[..., chosen] for n, tensor in self.tensors().items()}
        return replace(self, **parts)

    def tensors(self) -> dict[str, Tensor]:
        """Everything but provenance, space and origin, by attribute."""
        return {k: v for k, v in vars(self).items() if isinstance(v, Tensor)}


def check_directions(found: EigenDirections) -> None:
    """Refuse directions of numbers that are not finite.

    Raises:
        UserError: names them.
    """
    for name in ("eigenvalues", "scores", "vectors"):
        if not bool(getattr(found, name).isfinite().all()):
            raise UserError(f"{name} of directions are not finite: compute them anew.")


def scores_of(directions: EigenDirections | Rows, n: int | None = None) -> Float[Tensor, "n k"]:
    """The scores of directions, or the scores that were passed themselves.

    Args:
        directions: directions, or scores (N, k).
        n: examples there have to be; None for any number.

    Raises:
        UserError: as :func:`tl_entk.tools.arrays.to_matrix`, and for vectors (N, d, k).
    """
    found = directions.scores if isinstance(directions, EigenDirections) else directions
    if getattr(found, "ndim", 2) == 3:
        raise UserError(
            f"scores has shape {tuple(found.shape)}: of directions of many outputs pass their "
            "scores (N, k), eigen.scores."
        )
    return to_matrix(found, "scores", n)


def check_kernel(matrix: Matrix) -> Float[Tensor, "n n"]:
    """The matrix in float64 on the CPU, made exactly symmetric.

    Raises:
        UserError: as :func:`tl_entk.tools.arrays.to_kernel`.
    """
    kernel = to_kernel(matrix).cpu().double()
    return kernel if torch.equal(kernel, kernel.T) else (kernel + kernel.T) / 2


def eigendecompose(
    matrix: Matrix | KernelBlocks,
    k: int | None = 25,
    *,
    components: str | Sequence[str] | None = None,
    normalization: str = "plain",
    tol: float = 1e-8,
    provenance: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> EigenDirections:
    """Top eigendirections K v = theta v of a dense kernel, in float64.

    Args:
        matrix: (N, N) symmetric, any number format, a tensor or a numpy array; or kernel blocks,
            whose eigendirections know their weights (:meth:`EigenDirections.weight_directions`).
        k: how many; None for the whole spectrum, rounding included.
        components: of blocks, which are added: names or globs; default all, nothing counted twice.
        normalization: of blocks, what is done to each before it is added, as for
            :meth:`KernelBlocks.sum`.
        tol: residual relative to the first eigenvalue up to which a pair counts as converged.
        provenance: what to keep with the result; of blocks, beside theirs.
        dtype: number format that the numbers were computed in, where they were converted since.

    Returns:
        Eigenvalues in descending order with unit eigenvectors. A vector's sign is set so that
        its entry of largest size is positive. Directions beyond the kernel's rank, whose
        eigenvalues are the rounding of ``dtype`` (:func:`rounding_level`), are noise and are left
        out; ``provenance["dropped"]`` says how many of k. A kernel of zeros has one direction.

    Raises:
        UserError: if the matrix is no kernel, k is not between 1 and N, or components and
            normalization are asked of a matrix.

    Example:
        >>> eigen = eigendecompose(torch.diag(torch.tensor([1.0, 4.0, 2.0])), k=2)
        >>> eigen.eigenvalues.tolist()
        [4.0, 2.0]
    """
    check_kind("provenance", provenance, (Mapping, type(None)), "a mapping, blocks.provenance")
    check_kind("dtype", dtype, (torch.dtype, type(None)), "a number format, torch.float32")
    about, origin = dict(provenance or {}), None
    if isinstance(matrix, KernelBlocks):
        about = {**matrix.provenance, **about}
        matrix, origin = _add_blocks(matrix, components, normalization)
    elif components is not None or normalization != "plain":
        raise UserError(
            "components and normalization choose among kernel blocks: pass those, not a matrix, or "
            "matrix = blocks.sum(components, normalization)."
        )
    kernel = check_kernel(matrix)
    n = len(kernel)
    whole = k is None
    k = n if k is None else k
    check_between("k", k, n, f"the kernel has {n} eigendirections")
    check_share("tol", tol, "a relative residual", 1e-8)
    values, vectors = scipy.linalg.eigh(kernel.numpy(), subset_by_index=[n - k, n - 1])
    values, vectors = values[::-1].copy(), vectors[:, ::-1].copy()
    theta, v = torch.from_numpy(values), torch.from_numpy(vectors)
    came_in = to_tensor(matrix, "kernel").dtype if dtype is None else dtype
    there = _count_above_rounding(theta, n, came_in)
    there = k if whole else there
    about |= {"dropped": k - there} if there < k else {}
    theta, v = theta[:there], v[:, :there]
    v = v * choose_signs(v)
    first = theta[0].clamp_min(torch.finfo(torch.float64).tiny)
    residuals = (kernel @ v - v * theta).norm(dim=0) / first
    converged, one = residuals <= tol, torch.ones_like(theta)
    return EigenDirections(theta, v, v, one, residuals, converged, about, origin=origin)


def _add_blocks(
    blocks: KernelBlocks, components: str | Sequence[str] | None, normalization: str
) -> tuple[Float[Tensor, "n n"], Origin | None]:
    """The kernel of some components, and what it was computed of.

    Raises:
        UserError: as :meth:`KernelBlocks.sum`.
    """
    names = list(blocks) if components is None else match_names(list(blocks), components)
    names, origin = partition(names), blocks.origin
    if origin is not None:
        origin = origin.normalized(tuple(names), normalization)
    return blocks.sum(names, normalization), origin


def _count_above_rounding(theta: Float[Tensor, " k"], n: int, dtype: torch.dtype) -> int:
    """How many of the largest eigenvalues of an n x n kernel are no rounding, one at least.

    Raises:
        UserError: if one is negative beyond rounding.
    """
    first, last = float(theta[0]), float(theta[-1])
    if last < -max(rounding_level(n, dtype), ASYMMETRY) * max(first, 0):
        raise UserError(
            f"an eigenvalue is negative, {last:.3g} beside {first:.3g}, so this is no kernel: "
            "those are positive semidefinite; add up kernels, never differences."
        )
    return max(1, kernel_rank(theta, n, dtype))
