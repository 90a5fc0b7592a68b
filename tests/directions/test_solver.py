"""The Lanczos solver: against dense eigh and scipy, through breakdowns, restarts, interruptions."""

from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, aslinearoperator, eigsh

import tl_entk
from tests.models import build, tokens
from tl_entk.directions import lanczos, solver
from tl_entk.directions.complement import MOST_STEPS
from tl_entk.directions.rows import Rows
from tl_entk.directions.solver import leading_eigenpairs


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


def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
    matrix, path = random_kernel(decay=0.95), tmp_path / "basis.safetensors"
    whole = leading_eigenpairs(Matrix(matrix), 6, tol=1e-8)
    with pytest.raises(KeyboardInterrupt):
        leading_eigenpairs(Matrix(matrix, fail_after=20), 6, tol=1e-8, resume=path)
    rest = Matrix(matrix)
    eigen = leading_eigenpairs(rest, 6, tol=1e-8, resume=path)
    assert torch.equal(eigen.eigenvalues, whole.eigenvalues)
    assert torch.equal(eigen.vectors, whole.vectors)
    # 20 products were saved, one more tells that the kernel is the same
    assert rest.products == whole.provenance["products"] - 20 + 1
    # finished: a call with more pairs goes on, one with the same does nothing more
    again = Matrix(matrix)
    leading_eigenpairs(again, 6, tol=1e-8, resume=path)
    assert again.products == 1
    check(leading_eigenpairs(Matrix(matrix), 9, tol=1e-8, resume=path), matrix, 9, 1e-8)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    matrix, path = random_kernel(), tmp_path / "basis.safetensors"
    leading_eigenpairs(Matrix(matrix), 3, resume=path)
    with pytest.raises(ValueError, match=r"seed: '0', not '1'"):
        leading_eigenpairs(Matrix(matrix), 3, resume=path, seed=1)
    with pytest.raises(ValueError, match="weights differ"):
        leading_eigenpairs(Matrix(random_kernel(seed=5)), 3, resume=path)
    other = Matrix(matrix)
    other.identity = {"component": "another"}
    with pytest.raises(ValueError, match="component: 'a matrix', not 'another'"):
        leading_eigenpairs(other, 3, resume=path)
    path.write_text("no safetensors")
    with pytest.raises(ValueError, match="is no checkpoint"):
        leading_eigenpairs(Matrix(matrix), 3, resume=path)
    tl_entk.save(tl_entk.eigendecompose(matrix, 2), path)
    with pytest.raises(ValueError, match="no checkpoint of tl_entk's solver"):
        leading_eigenpairs(Matrix(matrix), 3, resume=path)


def test_what_people_read_of_a_kernel_decides_nothing(tmp_path):
    matrix, path = random_kernel(), tmp_path / "basis.safetensors"
    leading_eigenpairs(Matrix(matrix), 3, resume=path)
    other = Matrix(matrix)
    other.provenance = {"component": "another", "precision": "half"}
    leading_eigenpairs(other, 3, resume=path)
    assert other.products == 1


def test_an_operator_that_is_not_exact_has_its_residuals_measured():
    exact, rough = Matrix(random_kernel()), Matrix(random_kernel())
    rough.exact = False
    for matrix in (exact, rough):
        leading_eigenpairs(matrix, 3)
    assert rough.products == exact.products + 3


class OfOnesOwn:
    """No more than a shape and products with tensors."""

    def __init__(self, matrix):
        self.shape = matrix.shape
        self._matrix = matrix

    def __matmul__(self, x):
        return self._matrix @ x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "kind",
    [
        lambda matrix: matrix,
        lambda matrix: matrix.numpy(),
        lambda matrix: aslinearoperator(matrix.numpy()),
        lambda matrix: csr_array(matrix.numpy()),
        OfOnesOwn,
    ],
    ids=["tensor", "array", "LinearOperator", "sparse", "object"],
)
def test_whatever_has_a_shape_and_products_is_an_operator(kind, dtype):
    matrix = random_kernel(n=30, decay=0.5).to(dtype)
    eigen = leading_eigenpairs(kind(matrix), 3, tol=1e-5)
    expected = torch.linalg.eigvalsh(matrix.double()).flip(0)[:3]
    assert eigen.vectors.dtype == dtype
    assert eigen.vectors.shape == (30, 3)
    torch.testing.assert_close(eigen.eigenvalues, expected, rtol=1e-4, atol=0)


def test_a_scipy_operator_keeps_the_number_format_it_has():
    """Without one, products with numbers of four bytes have eight."""

    def multiply(x):
        return np.arange(5.0)[:, None] * x.reshape(5, -1)

    operator = LinearOperator((5, 5), matvec=multiply, matmat=multiply)
    assert leading_eigenpairs(operator, 1, tol=1e-8).eigenvalues.tolist() == pytest.approx([4.0])


@pytest.mark.parametrize(
    ("matrix", "problem"),
    [
        (torch.ones(3, 2), "no symmetric matrix"),
        (torch.ones(3), "no symmetric matrix"),
        ("a name", "no symmetric matrix"),
        (torch.eye(3).half(), "float32 or float64"),
        (torch.eye(3).long(), "float32 or float64"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_what_is_no_operator_is_refused(matrix, problem):
    with pytest.raises(ValueError, match=problem):
        leading_eigenpairs(matrix, 1)


def test_rows_must_be_examples_times_numbers():
    matrix = Matrix(torch.eye(6), d=4)
    with pytest.raises(ValueError, match="n d must be that"):
        leading_eigenpairs(matrix, 1)


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


@pytest.mark.parametrize("component", ["blocks.0.mlp.W_out", "blocks.0.*", "unembed.W_U"])
def test_top_directions_of_a_model_are_the_dense_kernels(model, component):
    batch = tokens(20)
    matrix = tl_entk.kernel_operator(model, batch, component).to_dense()
    eigen = tl_entk.top_eigendirections(model, batch, component, k=6, tol=1e-6)
    check(eigen, matrix, 6, 1e-6)
    assert eigen.vectors.shape == (20, 12, 6)
    assert eigen.provenance["component"] == component or "blocks.0" in eigen.provenance["component"]


def test_top_directions_of_a_scalar_readout_are_eigendecomposes(model):
    batch = tokens(20)
    block = tl_entk.kernel_blocks(model, batch, "logsumexp")["blocks.0.mlp.W_out"]
    dense = tl_entk.eigendecompose(block, 3)
    eigen = tl_entk.top_eigendirections(
        model, batch, "blocks.0.mlp.W_out", 3, readout="logsumexp", tol=1e-10
    )
    assert torch.allclose(eigen.eigenvalues, dense.eigenvalues)
    assert torch.allclose(eigen.scores, dense.scores, atol=1e-6)


def test_progress_and_files(capsys, monkeypatch, tmp_path):
    terminal = Console(force_terminal=True, width=200, file=StringIO())
    monkeypatch.setattr("rich._console", terminal)
    model = build("native:plain")
    eigen = tl_entk.top_eigendirections(
        model, tokens(10), "blocks.0.mlp.W_in", 4, progress=True, resume=tmp_path / "basis"
    )
    assert "products of" in capsys.readouterr().out
    assert "worst residual" in terminal.file.getvalue()
    assert eigen.provenance["estimate"]["products"] > 0
    assert (tmp_path / "basis").exists()
    loaded = tl_entk.load(tl_entk.save(eigen, tmp_path / "eigen"))
    assert torch.equal(loaded.vectors, eigen.vectors)
    assert loaded.provenance["estimate"] == eigen.provenance["estimate"]


def test_an_operator_may_return_what_it_was_given():
    class Identity(Matrix):
        def __matmul__(self, x):
            return x

    eigen = leading_eigenpairs(Identity(torch.eye(8, dtype=torch.float64)), 3)
    gram = eigen.vectors.T @ eigen.vectors
    assert torch.allclose(gram, torch.eye(3, dtype=torch.float64))


def test_residuals_below_rounding_are_measured():
    matrix = random_kernel().float()
    with pytest.warns(RuntimeWarning, match="have not converged to 1e-12"):
        eigen = leading_eigenpairs(Matrix(matrix), 4, tol=1e-12)
    assert eigen.vectors.dtype == torch.float32
    assert float(eigen.residuals.max()) > 1e-9


def test_products_that_are_not_finite_spoil_no_checkpoint(tmp_path):
    matrix, path = random_kernel(decay=0.95), tmp_path / "basis"
    leading_eigenpairs(Matrix(matrix), 3, tol=1e-3, resume=path)
    before = path.read_bytes()

    class Broken(Matrix):
        def __matmul__(self, x):
            product = super().__matmul__(x)
            return product if self.products == 1 else product * float("nan")

    with pytest.raises(RuntimeError, match="not finite"):
        leading_eigenpairs(Broken(matrix), 20, resume=path)
    assert path.read_bytes() == before
