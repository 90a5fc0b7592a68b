"""A symmetric matrix known by its products: the base of every operator of tl_entk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.directions.eigen import Space
from tl_entk.directions.rows import Rows
from tl_entk.tools.ranks import ALONE, Ranks


class SymmetricOperator(ABC):
    """A positive semidefinite (N d) x (N d) matrix K, multiplied but never formed.

    Rows are example-major: number i of example n is row n * d + i. A subclass says what K times a
    block of vectors is; vectors of any device and floating-point format may be multiplied. Where
    examples are split over processes, it says so for this process's rows of both.

    Attributes:
        n: examples N.
        d: numbers per example.
        dtype: number format that products are computed in.
        device: where they are computed.
        provenance: what the matrix was made of, for people to read.
        identity: what tells the matrix from others: a checkpoint must agree in all of it.
        exact: whether products are exact up to the rounding of ``dtype``.
        space: what the d numbers of an example are, see :class:`EigenDirections`.
        ranks: the processes that the examples are split over.
    """

    def __init__(
        self,
        n: int,
        d: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
        provenance: Mapping[str, Any] | None = None,
        identity: Mapping[str, str] | None = None,
        exact: bool = True,
        space: Space | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        ranks.check_examples(n)
        self.ranks = ranks
        self.n, self.d = n, d
        self.dtype, self.device = dtype, device
        self.provenance = dict(provenance or {})
        self.identity = dict(identity or {})
        self.exact = exact
        self.space: Space = space or ("examples" if d == 1 else "outputs")

    @property
    def shape(self) -> tuple[int, int]:
        """(N d, N d)."""
        return self.n * self.d, self.n * self.d

    def __repr__(self) -> str:
        of = self.provenance.get("component", "")
        return f"{type(self).__name__}({of}, {self.shape[0]} x {self.shape[1]}, {self.dtype})"

    @abstractmethod
    def _multiply(self, x: Float[Tensor, "n d b"]) -> Float[Tensor, "n d b"]:
        """K x for b vectors, in ``dtype`` on ``device``; x is left as it is.

        Of x and of the product, the examples of this process.
        """

    @property
    def rows(self) -> Rows:
        """The matrix's rows, and which of them this process has."""
        return Rows(self.shape[0], self.d, self.ranks)

    def multiply_own(self, x: Float[Tensor, "rows b"]) -> Float[Tensor, "rows b"]:
        """This process's rows of K x, from its rows of x in ``dtype`` on ``device``."""
        return self._multiply(x.unflatten(0, (-1, self.d))).reshape(x.shape)

    def __matmul__(self, x: Float[Tensor, "nd ..."]) -> Float[Tensor, "nd ..."]:
        """K x for a vector (N d,) or a block of vectors (N d, b), where and as x is.

        Raises:
            UserError: if x is no tensor of floating-point numbers, or has another number of rows.
        """
        if not isinstance(x, Tensor):
            raise UserError(f"x is a {type(x).__name__}: pass a tensor, or use .to_scipy().")
        rows = self.shape[0]
        if x.ndim not in (1, 2) or len(x) != rows:
            raise UserError(f"x has shape {tuple(x.shape)}: pass ({rows},) or ({rows}, b).")
        if not x.dtype.is_floating_point:
            raise UserError(f"x has dtype {x.dtype}: pass floating-point numbers.")
        columns = x.detach().to(self.device, self.dtype).reshape(rows, -1)
        product = self.multiply_own(columns[self.rows.own])
        return self.rows.join(product).reshape(x.shape).to(x.device)

    def to_scipy(self) -> LinearOperator:
        """The operator for scipy.sparse.linalg, for example ``eigsh(op.to_scipy(), k=5)``."""
        kind = np.dtype(str(self.dtype).removeprefix("torch."))

        def multiply(x: np.ndarray) -> np.ndarray:
            return (self @ torch.from_numpy(np.ascontiguousarray(x, dtype=kind))).numpy()

        return LinearOperator(
            self.shape, matvec=multiply, rmatvec=multiply, matmat=multiply, dtype=kind
        )

    def to_dense(self) -> Float[Tensor, "nd nd"]:
        """The whole matrix, (N d, N d): for small kernels only."""
        return self @ torch.eye(self.shape[0], dtype=self.dtype, device=self.device)


@runtime_checkable
class Products(Protocol):
    """Anything with a shape and products: what :func:`as_operator` makes an operator of."""

    @property
    def shape(self) -> Sequence[int]:
        """(rows, rows)."""

    def __matmul__(self, x: Any) -> Any:
        """The product with a block of vectors (rows, b)."""


def as_operator(matrix: Products) -> SymmetricOperator:
    """A symmetric matrix known by its products, as a :class:`SymmetricOperator`.

    Args:
        matrix: an operator, which is returned as it is; a dense tensor or array; a scipy sparse
            matrix or LinearOperator; or any object with ``.shape`` and ``@`` for blocks of
            vectors. Attributes of :class:`SymmetricOperator` are taken from it where it has them.
            The defaults are n = rows, d = 1, products that are exact, and the number format and
            device of a product with zero.

    Raises:
        UserError: if it is not square, has other than n d rows, or computes in another format than
            float32 or float64.

    Example:
        >>> operator = as_operator(torch.eye(6))
        >>> operator.n, operator.d, operator.dtype
        (6, 1, torch.float32)
    """
    if isinstance(matrix, SymmetricOperator):
        return matrix
    shape = tuple(getattr(matrix, "shape", ()))
    if len(shape) != 2 or shape[0] != shape[1] or not hasattr(matrix, "__matmul__"):
        raise UserError(
            f"a {type(matrix).__name__} of shape {shape} is no symmetric matrix: pass an operator, "
            "or anything square with .shape and @."
        )
    if isinstance(matrix, np.ndarray | LinearOperator) or scipy.sparse.issparse(matrix):
        return _GivenProducts(_ScipyProducts(aslinearoperator(matrix)))
    return _GivenProducts(matrix)


class _ScipyProducts:
    """A scipy operator that multiplies tensors."""

    def __init__(self, operator: LinearOperator) -> None:
        self.operator, self.shape = operator, operator.shape

    def __matmul__(self, x: Float[Tensor, "rows b"]) -> Float[Tensor, "rows b"]:
        return torch.as_tensor(self.operator @ x.numpy())


class _GivenProducts(SymmetricOperator):
    """Somebody else's products."""

    def __init__(self, matrix: Products) -> None:
        rows, _ = matrix.shape
        d = getattr(matrix, "d", 1)
        n = getattr(matrix, "n", rows // d)
        if n * d != rows:
            raise UserError(f"n = {n}, d = {d} of an operator with {rows} rows: n d must be that.")
        dtype, device = getattr(matrix, "dtype", None), getattr(matrix, "device", None)
        if not isinstance(dtype, torch.dtype):
            dtype, device = _format_of_products(matrix)
        if dtype not in (torch.float32, torch.float64):
            raise UserError(
                f"products in {dtype}: pass an operator that computes in torch.float32 or float64."
            )
        super().__init__(
            n,
            d,
            dtype=dtype,
            device=torch.device("cpu") if device is None else torch.device(device),
            provenance=getattr(matrix, "provenance", None),
            identity=getattr(matrix, "identity", None),
            exact=getattr(matrix, "exact", True),
            space=getattr(matrix, "space", None),
        )
        self._matrix = matrix

    def _multiply(self, x: Float[Tensor, "n d b"]) -> Float[Tensor, "n d b"]:
        return (self._matrix @ x.flatten(0, 1)).to(self.dtype).reshape(x.shape)


def _format_of_products(matrix: Products) -> tuple[torch.dtype, torch.device]:
    """Number format and device that products come in, where an operator does not say."""
    for dtype in (torch.float32, torch.float64):
        try:
            product = matrix @ torch.zeros(matrix.shape[0], 1, dtype=dtype)
        except RuntimeError:  # torch's own refusal of two formats
            continue
        return product.dtype, product.device
    return torch.float32, torch.device("cpu")
