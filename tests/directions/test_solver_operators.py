"""What the solver takes as an operator, from a matrix to a model's kernel."""

from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import tl_entk
from tests.directions.matrices import Matrix, check, random_kernel
from tests.models import build, tokens
from tl_entk.directions.solver import leading_eigenpairs


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
