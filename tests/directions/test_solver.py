"""The Lanczos solver: against dense eigh and scipy, through breakdowns and restarts."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh

from tests.directions.matrices import Matrix, check, random_kernel
from tl_entk.directions import lanczos, solver
from tl_entk.directions.complement import MOST_STEPS
from tl_entk.directions.rows import Rows
from tl_entk.directions.solver import leading_eigenpairs

pytestmark = pytest.mark.plain


@pytest.mark.parametrize("block", [1, 3, 10])
def test_pairs_are_eighs(block):
    matrix = random_kernel()
    eigen = leading_eigenpairs(Matrix(matrix), 8, tol=1e-9, block_size=block)
    check(eigen, matrix, 8, 1e-9)
    assert bool(eigen.converged.all())
    assert eigen.vectors.shape == eigen.scores.shape == (120, 8)
    values, _ = eigsh(matrix.numpy(), k=8)
    assert np.allclose(values[::-1], eigen.eigenvalues.numpy(), atol=1e-12)


def test_the_basis_satisfies_the_lanczos_relation():
    """A Q = Q T + R E^T, Q orthonormal, through thick restarts, wider blocks, parts of them."""
    matrix = random_kernel()
    for block in (1, 4):
        state = lanczos.first_state(
            Rows(120), block, seed=1, dtype=torch.float64, device=torch.device("cpu")
        )
        for count in range(14):
            lanczos.step(state, lambda x: matrix @ x, 2 if 5 <= count <= 7 else None)
            if count == 4:
                lanczos.widen(state, 2)
            if count == 9:
                lanczos.restart(state, 6)
            known = state.basis[:, : state.known]
            fresh = state.basis[:, state.known :]
            right = (known @ state.projected + fresh @ state.coupling) * state.scale
            assert float((matrix @ known - right).abs().max()) < 1e-12
            whole = state.basis.shape[1]
            identity = torch.eye(whole, dtype=torch.float64)
            assert float((state.basis.T @ state.basis - identity).abs().max()) < 1e-12
            assert torch.allclose(state.projected, state.projected.T)


@pytest.mark.parametrize("block", [1, 4])
def test_a_thick_restart_finds_the_same_pairs(block, monkeypatch):
    matrix, restarts = random_kernel(decay=0.97), []
    monkeypatch.setattr(
        solver, "restart", lambda state, keep: (lanczos.restart(state, keep), restarts.append(keep))
    )
    column = 2 * 120 * 8
    eigen = leading_eigenpairs(
        Matrix(matrix), 6, tol=1e-7, block_size=block, basis_budget=24 * column
    )
    check(eigen, matrix, 6, 1e-7)
    assert restarts
    restarts.clear()
    leading_eigenpairs(Matrix(matrix), 6, tol=1e-7, block_size=block)
    assert not restarts
    with pytest.raises(ValueError, match="a larger memory budget"):
        leading_eigenpairs(Matrix(matrix), 6, basis_budget=4 * column)


@pytest.mark.parametrize("block", [1, 4])
def test_invariant_subspaces_are_no_end(block):
    # rank 5: after five vectors nothing new comes from products
    low = random_kernel(rank=5)
    eigen = leading_eigenpairs(Matrix(low), 8, tol=1e-8, block_size=block)
    check(eigen, low, 5, 1e-8)
    assert eigen.provenance["dropped"] == 3
    # every vector is an eigenvector
    eigen = leading_eigenpairs(Matrix(torch.eye(20, dtype=torch.float64)), 20, block_size=block)
    assert torch.allclose(eigen.eigenvalues, torch.ones(20, dtype=torch.float64))
    assert bool(eigen.converged.all())
    # nothing at all
    eigen = leading_eigenpairs(Matrix(torch.zeros(6, 6, dtype=torch.float64)), 2, block_size=block)
    assert torch.equal(eigen.eigenvalues, torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize("block", [1, 3, 11])
@pytest.mark.parametrize("noise", [0.0, 1e-2, 10.0])
def test_vectors_to_start_from_change_no_answer_and_save_products_where_they_are_near(noise, block):
    matrix = random_kernel(decay=0.9)
    whole = leading_eigenpairs(Matrix(matrix), 8, tol=1e-6)
    generator = torch.Generator().manual_seed(0)
    turned = torch.randn(120, 8, generator=generator, dtype=torch.float64)
    near = whole.vectors + noise * turned / 120**0.5
    counts = []
    for start in (None, near):
        counted = Matrix(matrix)
        eigen = leading_eigenpairs(counted, 8, tol=1e-5, block_size=block, start=start)
        check(eigen, matrix, 8, 1e-5)
        assert bool(eigen.converged.all())
        counts.append(counted.products)
    if noise < 1:
        assert counts[1] < counts[0]
    if noise == 0 and block == 1:
        assert counts[1] <= 13 + MOST_STEPS


@pytest.mark.parametrize("seed", range(5))
def test_small_pairs_are_not_converged_because_the_first_is_large(seed):
    """One eigenvalue 100 times the others: beside it every residual is small."""
    values = torch.cat([torch.tensor([100.0]), 0.95 ** torch.arange(119)]).double()
    generator = torch.Generator().manual_seed(seed)
    turn, _ = torch.linalg.qr(torch.randn(120, 120, generator=generator, dtype=torch.float64))
    matrix = turn * values @ turn.T
    eigen = leading_eigenpairs(Matrix(matrix), 10, tol=1e-3, seed=seed)
    found, expected = eigen.eigenvalues, values[:10]
    # the last may be an eigenvector's further on
    assert float(((expected - found) / expected)[:8].max()) < 1e-2
    assert bool((eigen.residuals * found[0] <= 1e-2 * found).all())
    # a few products are enough for residuals that are small beside the first eigenvalue alone
    state = lanczos.first_state(
        Rows(120), 1, seed=seed, dtype=torch.float64, device=torch.device("cpu")
    )
    for _ in range(eigen.provenance["products"] - MOST_STEPS - 8):
        lanczos.step(state, lambda x: matrix @ x)
    assert float(lanczos.ritz_pairs(state, 10).residuals.max()) < 1e-3


def test_vectors_that_do_not_fit_are_refused():
    matrix = Matrix(random_kernel())
    for start, message in (
        (torch.ones(7, 3), r"start has shape \(7, 3\): pass columns of 120 numbers"),
        (torch.full((120, 3), torch.nan), "start is not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            leading_eigenpairs(matrix, 2, start=start)


def test_blocks_find_multiple_eigenvalues():
    matrix = torch.diag(torch.cat([torch.full((4,), 3.0), 0.5 ** torch.arange(60)]).double())
    eigen = leading_eigenpairs(Matrix(matrix), 5, tol=1e-8, block_size=4)
    assert torch.allclose(eigen.eigenvalues[:4], torch.full((4,), 3.0, dtype=torch.float64))


def test_the_whole_spectrum():
    matrix = random_kernel(n=15)
    eigen = leading_eigenpairs(Matrix(matrix), 15, tol=1e-12, block_size=4)
    check(eigen, matrix, 15, 1e-12)


def test_pairs_that_have_not_converged_are_flagged():
    matrix = random_kernel(decay=0.98)
    with pytest.warns(RuntimeWarning, match="have not converged to 1e-06 after 20 products"):
        eigen = leading_eigenpairs(Matrix(matrix), 10, tol=1e-6, max_products=20)
    assert not bool(eigen.converged.all())
    assert torch.equal(eigen.converged, eigen.residuals <= 1e-6)


@pytest.mark.usefixtures("untyped")
def test_bad_settings_are_refused():
    matrix = Matrix(random_kernel(n=10))
    for settings, message in (
        ({"k": 11}, "10 eigendirections"),
        ({"k": 2, "tol": 0.0}, "between 0 and 1"),
        ({"k": 2, "block_size": 0}, "1 to 10 vectors"),
        ({"k": 3, "max_products": 2}, "at least 2 k"),
    ):
        with pytest.raises(ValueError, match=message):
            leading_eigenpairs(matrix, **settings)


def test_scores_are_the_leading_part_of_a_direction():
    matrix = random_kernel(n=24)
    eigen = leading_eigenpairs(Matrix(matrix, d=4), 3, tol=1e-10)
    assert eigen.vectors.shape == (6, 4, 3)
    assert eigen.scores.shape == (6, 3)
    for j in range(3):
        u, s, _ = torch.linalg.svd(eigen.vectors[:, :, j])
        assert torch.allclose(eigen.scores[:, j].abs(), (u[:, 0] * s[0]).abs())
        assert abs(float(eigen.rank1_share[j]) - float(s[0])) < 1e-12
        assert float(eigen.scores[eigen.scores[:, j].abs().argmax(), j]) > 0
    wide = leading_eigenpairs(Matrix(matrix, d=12), 2, tol=1e-10)  # more numbers than examples
    u, s, _ = torch.linalg.svd(wide.vectors[:, :, 0], full_matrices=False)
    assert torch.allclose(wide.scores[:, 0].abs(), (u[:, 0] * s[0]).abs())


def test_residuals_below_rounding_are_measured():
    matrix = random_kernel().float()
    with pytest.warns(RuntimeWarning, match="have not converged to 1e-12"):
        eigen = leading_eigenpairs(Matrix(matrix), 4, tol=1e-12)
    assert eigen.vectors.dtype == torch.float32
    assert float(eigen.residuals.max()) > 1e-9
