"""Matrices of known spectra as operators, and what must hold of their eigenpairs."""

import torch


class Matrix:
    """A dense matrix as an operator that counts its products."""

    def __init__(self, matrix, d=1, fail_after=None):
        self.matrix, self.d, self.n = matrix, d, len(matrix) // d
        self.shape, self.dtype, self.device = tuple(matrix.shape), matrix.dtype, matrix.device
        self.provenance = {"component": "of the matrix"}
        self.identity, self.exact = {"component": "a matrix"}, True
        self.products, self.fail_after = 0, fail_after

    def __matmul__(self, x):
        self.products += 1 if x.ndim == 1 else x.shape[1]
        if self.fail_after is not None and self.products > self.fail_after:
            raise KeyboardInterrupt
        return self.matrix @ x


def random_kernel(n=120, decay=0.8, seed=0, rank=None):
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
    values = decay ** torch.arange(n, dtype=torch.float64)
    if rank is not None:
        values[rank:] = 0
    return (q * values) @ q.T


def check(eigen, matrix, k, tol):
    """Eigenvalues, orthonormal vectors, and residuals that are what they say."""
    values = torch.linalg.eigvalsh(matrix).flip(0)[:k]
    flat = eigen.vectors.reshape(len(matrix), k).double()
    residuals = (matrix @ flat - flat * eigen.eigenvalues).norm(dim=0) / values[0]
    assert torch.allclose(flat.T @ flat, torch.eye(k, dtype=torch.float64), atol=1e-6)
    assert float((eigen.eigenvalues - values).abs().max()) <= tol * float(values[0])
    assert float(residuals.max()) <= 1.1 * tol + 1e-6 * (eigen.vectors.dtype != torch.float64)
    assert torch.allclose(eigen.residuals, residuals, atol=max(1e-10, 0.1 * tol))
