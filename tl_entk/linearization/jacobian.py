"""The Jacobian of all outputs of all examples, kept as factors.

The flattened kernel of N examples with R outputs is K = J J^T, N R x N R. Where the weights have
fewer numbers P than there are rows, J^T J (P x P) has its nonzero spectrum, and J its vectors.
Either is added up from parts of J that are written out and let go of again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.display import Shown, list_some
from feature_sets.errors import UserError
from tl_entk.directions.eigen import EigenDirections
from tl_entk.directions.scores import score_vectors
from tl_entk.directions.solver import leading_eigenpairs
from tl_entk.directions.symmetric_operator import SymmetricOperator
from tl_entk.model.batches import refuse_if_full, run_in_batches
from tl_entk.model.gradient_map import GradientMap
from tl_entk.tools.arrays import to_tensor
from tl_entk.tools.ranks import ALONE, Ranks
from tl_entk.tools.values import check_between, check_kind, check_seed, check_share, is_integer

# the eigenproblem of J^T J or J J^T takes less time than Lanczos up to this width, if forming J J^T
# of many weights takes no more multiplications than this
_DENSE, _WORK = 4096, 10**11
# numbers of J that are multiplied in float64 at a time
_SLICE = 2**20


@dataclass(frozen=True, eq=False, repr=False)
class Jacobian(Shown):
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

    def _lines(self) -> list[str]:
        rows, width = self.shape
        return [
            f"Jacobian: {rows:,} x {width:,}, {self.outputs} outputs of {self.n} examples by the "
            f"weights of {len(self.columns)} components",
            list_some(self.columns),
        ]

    def to_pandas(self) -> Any:
        """A row per component: its columns, from start to stop - 1, and how many weights it has."""
        import pandas as pd

        rows = [(key, part.start, part.stop) for key, part in self.columns.items()]
        frame = pd.DataFrame(rows, columns=["component", "start", "stop"])
        return frame.assign(weights=frame.stop - frame.start)

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
            UserError: for factors of another shape, or that are not finite.
        """
        factors = to_tensor(factors, "factors")
        if not bool(factors.isfinite().all()):
            raise UserError("the factors are not finite: pass finite ones.")
        if factors.shape not in ((self.outputs,), (self.n, self.outputs)):
            raise UserError(
                f"factors of shape {tuple(factors.shape)}: pass ({self.outputs},), one per output, "
                f"or {(self.n, self.outputs)}."
            )
        factors = factors.to(self.row_weights)
        return replace(self, row_weights=self.row_weights * factors)

    def outputs_between(self, start: int, stop: int) -> Jacobian:
        """The rows of some of the outputs, start to stop - 1.

        Raises:
            UserError: if there are no such outputs.
        """
        if not (is_integer(start) and is_integer(stop) and 0 <= start <= stop <= self.outputs):
            raise UserError(
                f"start = {start!r}, stop = {stop!r}: pass some of the outputs 0 to {self.outputs}."
            )
        chosen = slice(start, stop)
        maps = tuple(part.outputs_between(start, stop) for part in self.maps)
        weights = self.row_weights[:, chosen]
        return replace(self, maps=maps, outputs=stop - start, row_weights=weights)

    def apply(self, change: Float[Tensor, " p"]) -> Float[Tensor, "n r"]:
        """J u: what a change of the weights does to the outputs, to first order.

        Raises:
            UserError: for a change of another shape.
            torch.OutOfMemoryError: if the device has no room for it beside the factors.
        """
        change = _check_shape("change", change, (self.shape[1],))
        total = torch.zeros_like(self.row_weights)
        with self._beside_factors():
            for part in self.maps:
                total += part.apply(change[self.columns[part.key]])
        return total * self.row_weights

    def adjoint(self, values: Float[Tensor, "n r"]) -> Float[Tensor, " p"]:
        """J^T v, a change of the weights.

        Raises:
            UserError: for values of another shape.
            torch.OutOfMemoryError: if the device has no room for it beside the factors.
        """
        values = _check_shape("values", values, (self.n, self.outputs))
        values = values * self.row_weights
        with self._beside_factors():
            total = values.new_zeros(self.shape[1])
            for part in self.maps:
                total[self.columns[part.key]] += part.adjoint(values)
        return total

    def dense(self) -> Float[Tensor, "nr p"]:
        """J written out.

        Raises:
            UserError: if it takes more than ``memory_budget``.
            torch.OutOfMemoryError: if the device has no room for it beside the factors.
        """
        needed = self.shape[0] * self.shape[1] * self.dtype.itemsize
        if needed > self.memory_budget:
            raise UserError(
                f"J of shape {self.shape} takes {needed / 2**30:.1f} GiB, more than memory_budget: "
                f"multiply with it instead (apply, adjoint), or pass memory_budget={needed}."
            )
        found: list[Tensor] = []
        self._write_out(lambda _, rows: found.append(rows))
        with self._beside_factors():
            return torch.cat(found)

    def gram(self) -> Float[Tensor, "p p"]:
        """J^T J in float64."""
        total = torch.zeros(self.shape[1], self.shape[1], dtype=torch.float64)

        def add(_: slice, rows: Float[Tensor, "br p"]) -> None:
            # outputs that are cut off have zero gradient
            used = rows[rows.any(1)].double().cpu()
            total.addmm_(used.T, used)

        self._write_out(add)
        return total

    def kernel(self) -> Float[Tensor, "nr nr"]:
        """J J^T in float64, the flattened kernel itself: for few rows."""
        total = torch.zeros(self.shape[0], self.shape[0], dtype=torch.float64)
        for key, columns in self.columns.items():
            # two parts are there at a time
            step = self._step(columns.stop - columns.start, self.memory_budget // 8)
            run_in_batches(self.n, step, partial(self._add_products, total, key))
        return total

    def _add_products(self, total: Float[Tensor, "nr nr"], key: str, first: slice) -> None:
        """Add one component's products of some examples' rows with all rows from theirs on."""
        step, rows = first.stop - first.start, self._rows(first)
        left = self.block(key, first).flatten(0, 1)
        found = [_products(left, left)]
        for at in range(first.stop, self.n, step):
            second = slice(at, min(at + step, self.n))
            found.append(_products(left, self.block(key, second).flatten(0, 1)))
        products = torch.cat(found, 1)
        total[rows, rows.start :] += products
        total[rows.stop :, rows] += products[:, len(left) :].T

    def eigendecompose(
        self, k: int = 25, *, tol: float | None = None, seed: int = 0
    ) -> EigenDirections:
        """Top eigendirections of the flattened kernel J J^T.

        Through the smaller of J^T J and J J^T where either is up to 4096 wide, and cheap to form;
        else by block Lanczos.

        Args:
            k: how many.
            tol: residual relative to the first eigenvalue up to which a pair counts as converged;
                default a hundred times the rounding of J's number format, at least 1e-8 (1.2e-5
                in float32).
            seed: of Lanczos' start.

        Returns:
            Eigenvalues, largest first; vectors (N, R, k), scores, residuals. Beyond the rank of J
            (eigenvalues that are rounding errors) they are zero, and not converged.

        Raises:
            UserError: if k is not between 1 and the number of nonzero eigenvalues there can be,
                or tol is no share.

        Source: arXiv 2510.00468, section 3 (the flattened kernel of toy models).

        Example:
            >>> from tl_entk.linearization.build_jacobian import jacobian
            >>> J = jacobian(torch.nn.Linear(3, 2).double(), torch.eye(3).double()[[0, 1, 2, 0]])
            >>> eigen = J.eigendecompose(k=6)
            >>> J.shape, eigen.vectors.shape, bool(eigen.converged.all())
            ((8, 8), torch.Size([4, 2, 6]), True)
        """
        rows, width = self.shape
        most = min(rows, width)
        check_between("k", k, most, f"the kernel has at most {most} nonzero eigenvalues")
        tol = _default_tolerance(self.dtype) if tol is None else tol
        check_share("tol", tol, "a relative residual", 1e-8)
        check_seed(seed)
        if width > _DENSE and (rows > _DENSE or rows**2 * width > _WORK):
            return leading_eigenpairs(FlattenedKernel(self), k, tol=tol, seed=seed)
        if rows < width:
            kernel = self.kernel()
            values, flat = _leading_pairs(kernel, k)
            residuals = (kernel @ flat - flat * values).norm(dim=0) / _scale(values)
        else:
            values, coordinates = _leading_pairs(self.gram(), k)
            flat, residuals = self._images(values, coordinates)
        there = values > torch.finfo(torch.float64).eps * min(rows, width) * _scale(values)
        vectors = torch.where(there, flat, 0).reshape(self.n, self.outputs, -1)
        scores, vectors, share = score_vectors(vectors)
        return EigenDirections(
            torch.where(there, values, 0),
            scores,
            vectors,
            share,
            residuals,
            (residuals <= tol) & there,
            self.provenance,
            "outputs" if self.outputs > 1 else "examples",
        )

    def _images(
        self, values: Float[Tensor, " k"], coordinates: Float[Tensor, "p k"]
    ) -> tuple[Float[Tensor, "nr k"], Float[Tensor, " k"]]:
        """Eigenvectors u = J v / |J v| of J J^T from those of J^T J, and their residuals."""
        flat = coordinates.new_zeros(self.shape[0], coordinates.shape[1])
        back = torch.zeros_like(coordinates)

        def add(chosen: slice, rows: Float[Tensor, "br p"]) -> None:
            wide = rows.double().cpu()
            flat[chosen] = wide @ coordinates
            back.addmm_(wide.T, flat[chosen])

        self._write_out(add)
        sizes = flat.norm(dim=0).clamp_min(1e-300)
        # |K u - theta u| <= |J| |J^T J v - theta v| / |J v|
        errors = (back - coordinates * values).norm(dim=0)
        return flat / sizes, errors / (sizes * _scale(values).sqrt())

    def block(self, key: str, chosen: slice) -> Float[Tensor, "b r p"]:
        """The columns of one component written out, for some of the examples."""
        parts = [part.dense(chosen) for part in self.maps if part.key == key]
        return sum(parts[1:], parts[0]) * self.row_weights[chosen][..., None]

    def _write_out(self, take: Callable[[slice, Float[Tensor, "br p"]], None]) -> None:
        """Hand over all rows, as many examples at a time as a quarter of the budget holds."""

        def write(chosen: slice) -> None:
            rows = torch.cat([self.block(key, chosen) for key in self.columns], 2)
            take(self._rows(chosen), rows.flatten(0, 1))

        run_in_batches(self.n, self._step(self.shape[1], self.memory_budget // 4), write)

    def _step(self, width: int, budget: int) -> int:
        """Examples whose rows, so wide, the budget holds."""
        return max(1, min(self.n, budget // (self.outputs * width * self.dtype.itemsize)))

    def _beside_factors(self) -> AbstractContextManager[None]:
        return refuse_if_full(f"what is made of the factors of {self.n} examples")

    def _rows(self, examples: slice) -> slice:
        return slice(examples.start * self.outputs, examples.stop * self.outputs)


def _check_shape(name: str, values: Any, shape: tuple[int, ...]) -> Float[Tensor, " ..."]:
    check_kind(name, values, Tensor, f"a tensor of shape {shape}")
    if values.shape != shape:
        raise UserError(f"{name} has shape {tuple(values.shape)}: pass {shape}.")
    return values


def _products(left: Float[Tensor, "a p"], right: Float[Tensor, "b p"]) -> Float[Tensor, "a b"]:
    """Left right^T in float64, converted a few columns at a time."""
    total = torch.zeros(len(left), len(right), dtype=torch.float64)
    step = max(1, _SLICE // max(len(left), len(right)))
    for x, y in zip(left.split(step, 1), right.split(step, 1), strict=True):
        total.addmm_(x.double().cpu(), y.double().cpu().T)
    return total


def _leading_pairs(
    matrix: Float[Tensor, "m m"], k: int
) -> tuple[Float[Tensor, " k"], Float[Tensor, "m k"]]:
    """The k largest eigenvalues, largest first, with their vectors."""
    span = [len(matrix) - k, len(matrix) - 1]
    values, vectors = scipy.linalg.eigh(matrix.numpy(), subset_by_index=span)
    return torch.from_numpy(values[::-1].copy()), torch.from_numpy(vectors[:, ::-1].copy())


def _scale(values: Float[Tensor, " k"]) -> Float[Tensor, ""]:
    """The first eigenvalue, as what the others are measured by."""
    return values[0].clamp_min(torch.finfo(torch.float64).tiny)


def _default_tolerance(dtype: torch.dtype) -> float:
    """A relative residual that products in a number format can come down to."""
    return max(1e-8, 100 * torch.finfo(dtype).eps)


class FlattenedKernel(SymmetricOperator):
    """J J^T as an operator, for the Lanczos solver.

    Args:
        jacobian: of the examples of this process.
        n: examples of all processes; by default those of ``jacobian``.
        ranks: the processes.
    """

    def __init__(self, jacobian: Jacobian, n: int | None = None, ranks: Ranks = ALONE) -> None:
        super().__init__(
            jacobian.n if n is None else n,
            jacobian.outputs,
            dtype=jacobian.dtype,
            device=jacobian.row_weights.device,
            provenance=jacobian.provenance,
            ranks=ranks,
        )
        self._jacobian = jacobian

    def _multiply(self, x: Float[Tensor, "n r b"]) -> Float[Tensor, "n r b"]:
        J = self._jacobian
        return torch.stack([J.apply(self.adjoint(v)) for v in x.unbind(2)], 2)

    def adjoint(self, values: Float[Tensor, "n r"]) -> Float[Tensor, " p"]:
        """J^T v over the examples of all processes, from this one's part of v."""
        change = self._jacobian.adjoint(values)
        self.ranks.add_up(change)
        return change
