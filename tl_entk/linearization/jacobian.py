"""The Jacobian of all outputs of all examples, kept as factors.

The flattened kernel of N examples with R outputs is K = J J^T, N R x N R. Where the weights have
fewer numbers P than there are rows, J^T J (P x P) has its nonzero spectrum, and J its vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.directions.eigen import EigenDirections
from tl_entk.directions.solver import leading_eigenpairs, rank_one_scores
from tl_entk.model.gradient_map import GradientMap

# up to here the eigenproblem of J^T J takes less time than Lanczos
_DENSE = 4096


@dataclass(frozen=True, eq=False)
class Jacobian:
    """J (N R x P) of N examples' R outputs by P weights; rows are example-major (row n R + r).

    Attributes:
        maps: the sites' blocks of columns.
        n: examples.
        outputs: R.
        memory_budget: bytes that what is written out may take.
        row_weights: (N, R) factor of every row.
        provenance: model, readout, components and versions.
    """

    maps: tuple[GradientMap, ...]
    n: int
    outputs: int
    memory_budget: int
    row_weights: Float[Tensor, "n r"]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, slice]:
        """The columns of every component."""
        widths = {part.key: torch.Size(part.shape).numel() for part in self.maps}
        ends = torch.tensor([0, *widths.values()]).cumsum(0).tolist()
        return {key: slice(*ends[i : i + 2]) for i, key in enumerate(widths)}

    @property
    def shape(self) -> tuple[int, int]:
        """(N R, P)."""
        return self.n * self.outputs, max(part.stop for part in self.columns.values())

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the factors."""
        return self.row_weights.dtype

    def weighted(self, factors: Float[Tensor, " r"] | Float[Tensor, "n r"]) -> Jacobian:
        """The same with every row multiplied by a factor (of its output, or of its own).

        Raises:
            UserError: for factors of another shape.
        """
        if factors.shape not in ((self.outputs,), (self.n, self.outputs)):
            raise UserError(
                f"factors of shape {tuple(factors.shape)}: pass ({self.outputs},), one per output, "
                f"or {(self.n, self.outputs)}."
            )
        factors = factors.to(self.row_weights)
        return replace(self, row_weights=self.row_weights * factors)

    def apply(self, change: Float[Tensor, " p"]) -> Float[Tensor, "n r"]:
        """J u: what a change of the weights does to the outputs, to first order."""
        total = torch.zeros_like(self.row_weights)
        for part in self.maps:
            total += part.apply(change[self.columns[part.key]])
        return total * self.row_weights

    def adjoint(self, values: Float[Tensor, "n r"]) -> Float[Tensor, " p"]:
        """J^T v, a change of the weights."""
        values = values * self.row_weights
        total = values.new_zeros(self.shape[1])
        for part in self.maps:
            total[self.columns[part.key]] += part.adjoint(values)
        return total

    def dense(self) -> Float[Tensor, "nr p"]:
        """J written out.

        Raises:
            UserError: if it takes more than ``memory_budget``.
        """
        needed = self.shape[0] * self.shape[1] * self.dtype.itemsize
        if needed > self.memory_budget:
            raise UserError(
                f"J of shape {self.shape} takes {needed / 2**30:.1f} GiB, more than memory_budget: "
                f"multiply with it instead (apply, adjoint), or pass memory_budget={needed}."
            )
        return torch.cat([rows for _, rows in self._chunks()])

    def gram(self) -> Float[Tensor, "p p"]:
        """J^T J in float64."""
        total = torch.zeros(self.shape[1], self.shape[1], dtype=torch.float64)
        for _, rows in self._chunks():
            # outputs that are cut off have zero gradient
            used = rows[rows.any(1)].double().cpu()
            total.addmm_(used.T, used)
        return total

    def eigendecompose(self, k: int = 25, *, tol: float = 1e-8, seed: int = 0) -> EigenDirections:
        """Top eigendirections of the flattened kernel J J^T, which is not formed.

        Through J^T J where the weights have up to 4096 numbers, else by block Lanczos.

        Args:
            k: how many.
            tol: residual relative to the first eigenvalue up to which a pair counts as converged.
            seed: of Lanczos' start.

        Returns:
            Eigenvalues, largest first; vectors (N, R, k), scores, residuals. Beyond the rank of J
            (eigenvalues that are rounding errors) they are zero, and not converged.

        Raises:
            UserError: if k is not between 1 and the number of nonzero eigenvalues there can be.

        Source: arXiv 2510.00468, section 3 (the flattened kernel of toy models).

        Example:
            >>> from tl_entk.linearization.build_jacobian import jacobian
            >>> J = jacobian(torch.nn.Linear(3, 2).double(), torch.eye(3).double()[[0, 1, 2, 0]])
            >>> eigen = J.eigendecompose(k=6)
            >>> J.shape, eigen.vectors.shape, bool(eigen.converged.all())
            ((8, 8), torch.Size([4, 2, 6]), True)
        """
        rows, width = self.shape
        if not 1 <= k <= min(rows, width):
            raise UserError(
                f"k = {k}: the kernel has at most {min(rows, width)} nonzero eigenvalues; pass 1 "
                f"to {min(rows, width)}."
            )
        if width > _DENSE:
            return leading_eigenpairs(_Kernel(self), k, tol=tol, seed=seed)
        gram = self.gram()
        span = [width - k, width - 1]
        found, right = scipy.linalg.eigh(gram.numpy(), subset_by_index=span)
        values = torch.from_numpy(found[::-1].copy())
        coordinates = torch.from_numpy(right[:, ::-1].copy())
        return self._directions(values, coordinates, tol)

    def _directions(
        self, values: Float[Tensor, " k"], coordinates: Float[Tensor, "p k"], tol: float
    ) -> EigenDirections:
        """Eigenvectors u = J v / sqrt(theta) of J J^T from those of J^T J."""
        flat = torch.cat([rows.double().cpu() @ coordinates for _, rows in self._chunks()])
        back = torch.zeros_like(coordinates)
        for chosen, rows in self._chunks():
            back += rows.double().cpu().T @ flat[chosen]
        first = values[0].clamp_min(torch.finfo(torch.float64).tiny)
        sizes = flat.norm(dim=0)
        # |K u - theta u| <= |J| |J^T J v - theta v| / |J v| for u = J v / |J v|
        errors = (back - coordinates * values).norm(dim=0)
        residuals = errors / (sizes.clamp_min(1e-300) * first.sqrt())
        there = values > torch.finfo(torch.float64).eps * len(coordinates) * first
        values = torch.where(there, values, 0)
        flat = torch.where(there, flat / sizes.clamp_min(1e-300), 0)
        vectors = flat.reshape(self.n, self.outputs, -1)
        scores, share = rank_one_scores(vectors)
        signs = scores.gather(0, scores.abs().argmax(0)[None]).sign()
        vectors = vectors * signs
        return EigenDirections(
            values,
            scores * signs,
            vectors if self.outputs > 1 else vectors[:, 0],
            share,
            residuals,
            (residuals <= tol) & there,
            self.provenance,
            "outputs" if self.outputs > 1 else "examples",
        )

    def _chunks(self) -> Iterator[tuple[slice, Float[Tensor, "br p"]]]:
        """Rows written out, as many examples at a time as a quarter of the budget holds."""
        each = self.outputs * self.shape[1] * self.dtype.itemsize
        step = max(1, min(self.n, self.memory_budget // 4 // each))
        columns = self.columns
        for start in range(0, self.n, step):
            chosen = slice(start, min(start + step, self.n))
            rows = self.row_weights.new_zeros(
                chosen.stop - chosen.start, self.outputs, self.shape[1]
            )
            for part in self.maps:
                rows[:, :, columns[part.key]] += part.dense(chosen)
            rows *= self.row_weights[chosen][..., None]
            span = slice(chosen.start * self.outputs, chosen.stop * self.outputs)
            yield span, rows.flatten(0, 1)


class _Kernel:
    """J J^T as an operator, for the Lanczos solver."""

    def __init__(self, jacobian: Jacobian) -> None:
        self.jacobian = jacobian
        self.n, self.d = jacobian.n, jacobian.outputs
        self.shape = (jacobian.shape[0],) * 2
        self.dtype = jacobian.dtype
        self.device = jacobian.row_weights.device
        self.provenance = jacobian.provenance

    def __matmul__(self, x: Float[Tensor, "nr ..."]) -> Float[Tensor, "nr ..."]:
        columns = x.reshape(self.shape[0], -1).T.reshape(-1, self.n, self.d)
        products = [self.jacobian.apply(self.jacobian.adjoint(v)).flatten() for v in columns]
        return torch.stack(products, 1).reshape(x.shape)
