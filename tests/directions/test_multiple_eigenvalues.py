"""Multiple and clustered eigenvalues, and kernels of extreme scale: no copy is skipped."""

import pytest
import torch

from tl_entk.directions import complement
from tl_entk.directions.solver import leading_eigenpairs

pytestmark = pytest.mark.plain


def kernel(values, seed=0):
    values = torch.as_tensor(values, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    turn = torch.randn(len(values), len(values), generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(turn)[0]
    return turn * values @ turn.T


SPECTRA = {
    "copies": [1.0] * 20 + [0.5] * 20 + [0.01] * 80,
    "nearly copies": [1.0, 1.0 - 1e-6, 0.9, 0.9 - 1e-8, 0.9 - 2e-8] + [0.1] * 115,
    "pairs": sorted([0.8**i for i in range(60)] * 2, reverse=True),
    "further on": [1.0, 0.7, 0.5, 0.5, 0.5, 0.5] + [0.9**i / 4 for i in range(114)],
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("block", [1, 4])
@pytest.mark.parametrize("name", SPECTRA)
def test_copies_of_an_eigenvalue_are_found(name, block, seed):
    values = torch.tensor(SPECTRA[name], dtype=torch.float64)
    matrix = kernel(values, seed)
    eigen = leading_eigenpairs(matrix, 6, tol=1e-5, block_size=block, seed=seed)
    torch.testing.assert_close(eigen.eigenvalues, values[:6], rtol=1e-5, atol=0)
    assert bool(eigen.converged.all())
    gram = eigen.vectors.T @ eigen.vectors
    torch.testing.assert_close(gram, torch.eye(6, dtype=torch.float64))
    residuals = (matrix @ eigen.vectors - eigen.vectors * eigen.eigenvalues).norm(dim=0)
    assert float(residuals.max()) <= 1e-4


def test_the_result_says_up_to_where_copies_may_be_missed():
    """Nothing above the bound is missing; below the last pair it need not be known."""
    values = torch.cat([torch.tensor([5.0, 5.0, 4.0, 3.0]), torch.full((300,), 0.01)])
    eigen = leading_eigenpairs(kernel(values), 4, tol=1e-6)
    assert 0 <= eigen.provenance["none_missed_above"] <= eigen.eigenvalues[-1]
    # a spectrum so flat that no small number of products can tell
    flat = torch.linspace(1, 0.9, 300)
    eigen = leading_eigenpairs(kernel(flat), 4, tol=1e-3)
    assert eigen.provenance["none_missed_above"] > eigen.eigenvalues[-1]
    # and a run that ended before it could look
    with pytest.warns(RuntimeWarning, match="have not converged"):
        eigen = leading_eigenpairs(kernel(flat), 4, tol=1e-3, max_products=8)
    assert eigen.provenance["none_missed_above"] == float("inf")


def test_the_bound_holds_as_often_as_it_says():
    """The largest eigenvalue is below it in 99 of 100 draws, also on a flat spectrum."""
    values = torch.cat([torch.ones(1), torch.linspace(0.99, 0, 499)])
    matrix, above = kernel(values), 0
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(500, 1, generator=generator, dtype=torch.float64)
        krylov = [start / start.norm()]
        for _ in range(8):
            product = matrix @ krylov[-1]
            for _ in range(2):
                for vector in krylov:
                    product = product - vector * (vector.T @ product)
            krylov.append(product / product.norm())
        basis = torch.cat(krylov[:-1], 1)
        ritz = float(torch.linalg.eigvalsh(basis.T @ matrix @ basis)[-1])
        above += complement.upper_bound(ritz, 500, 8) < 1
    assert above <= 2


@pytest.mark.parametrize("block", [1, 4])
@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-12, 1e12, 1e30])
def test_the_scale_of_a_kernel_changes_nothing_but_its_eigenvalues(scale, block):
    matrix = kernel(0.7 ** torch.arange(100)).float()
    plain = leading_eigenpairs(matrix, 6, tol=1e-4, block_size=block)
    scaled = leading_eigenpairs(matrix * scale, 6, tol=1e-4, block_size=block)
    torch.testing.assert_close(scaled.eigenvalues / scale, plain.eigenvalues, rtol=1e-5, atol=0)
    gram = scaled.vectors.T @ scaled.vectors
    torch.testing.assert_close(gram, torch.eye(6), atol=1e-5, rtol=0)
    assert bool(scaled.converged.all())
    torch.testing.assert_close(scaled.residuals, plain.residuals, rtol=0.1, atol=1e-5)


@pytest.mark.parametrize("stop", range(1, 40, 3))
def test_an_interrupted_search_ends_as_one_that_was_not(tmp_path, stop):
    """The same bits, wherever the run was interrupted."""
    matrix, path = kernel(SPECTRA["further on"]), tmp_path / "basis.safetensors"

    class Interrupted:
        shape, products = matrix.shape, 0

        def __matmul__(self, x):
            self.products += 1
            if self.products > stop:
                raise KeyboardInterrupt
            return matrix @ x

    whole = leading_eigenpairs(matrix, 6, tol=1e-5)
    assert whole.provenance["products"] > 40
    with pytest.raises(KeyboardInterrupt):
        leading_eigenpairs(Interrupted(), 6, tol=1e-5, resume=path)
    resumed = leading_eigenpairs(matrix, 6, tol=1e-5, resume=path)
    assert torch.equal(resumed.eigenvalues, whole.eigenvalues)
    assert torch.equal(resumed.vectors, whole.vectors)
    assert resumed.provenance == whole.provenance
