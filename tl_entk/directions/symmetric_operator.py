"""A symmetric matrix known by its products: the base of every operator of tl_entk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from feature_sets.errors import UserError


class SymmetricOperator(ABC):
    """A positive semidefinite (N d) x (N d) matrix K, multiplied but never formed.

    Rows are example-major: number i of example n is row n * d + i. A subclass says what K times a
    block of vectors is; vectors of any device and floating-point format may be multiplied.

    Attributes:
        n: examples N.
        d: numbers per example.
        dtype: number format that products are computed in.
        device: where they are computed.
        provenance: what the matrix was made of, for people to read.
        identity: what tells the matrix from others: a checkpoint must agree in all of it.
        exact: whether products are exact up to the rounding of ``dtype``.
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
    ) -> None:
        self.n, self.d = n, d
        self.dtype, self.device = dtype, device
        self.provenance = dict(provenance or {})
        self.identity = dict(identity or {})
        self.exact = exact

    @property
    def shape(self) -> tuple[int, int]:
        """(N d, N d)."""
        return self.n * self.d, self.n * self.d

    def __repr__(self) -> str:
        of = self.provenance.get("component", "")
        return f"{type(self).__name__}({of}, {self.shape[0]} x {self.shape[1]}, {self.dtype})"

    @abstractmethod
    def _multiply(self, x: Float[Tensor, "n d b"]) -> Float[Tensor, "n d b"]:
        """K x for b vectors, in ``dtype`` on ``device``; x is left as it is."""

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
        blocks = x.detach().to(self.device, self.dtype).reshape(self.n, self.d, -1)
        return self._multiply(blocks).reshape(x.shape).to(x.device)

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
