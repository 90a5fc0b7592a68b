"""Eigendirections of J J^T by every way, in every number format and within a budget."""

import pytest
import torch
from torch import nn

import tl_entk
from tl_entk.directions.solver import leading_eigenpairs
from tl_entk.linearization import jacobian as module
from tl_entk.linearization.jacobian import Jacobian

pytestmark = pytest.mark.plain


def network(dtype, width=60, outputs=30, n=140):
    """A network with a kernel of no multiplicities, and inputs."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(50, width), nn.Tanh(), nn.Linear(width, outputs))
    return model.to(dtype), torch.randn(n, 50, dtype=dtype)


def residuals(eigen, J):
    """||K v - theta v|| / theta_1, K multiplied in J's factors."""
    found = []
    for vector, value in zip(eigen.vectors.double().unbind(-1), eigen.eigenvalues, strict=True):
        vector = vector.reshape(J.n, J.outputs)
        product = J.apply(J.adjoint(vector.to(J.dtype))).double()
        found.append(float((product - value * vector).norm() / eigen.eigenvalues[0]))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_default_tolerance_is_reached_in_every_number_format(dtype):
    model, x = network(dtype)
    J = tl_entk.jacobian(model, x)
    assert min(J.shape) > module._DENSE
    eigen = J.eigendecompose(k=4)  # a warning would be an error
    assert bool(eigen.converged.all())
    assert max(residuals(eigen, J)) < (2e-5 if dtype == torch.float32 else 2e-8)


def test_a_tolerance_beyond_the_format_is_the_callers_own(monkeypatch):
    monkeypatch.setattr(module, "_DENSE", 0)
    model, x = network(torch.float32, outputs=20, n=6)
    J = tl_entk.jacobian(model, x)
    with pytest.warns(RuntimeWarning, match="have not converged to 1e-12"):
        assert not bool(J.eigendecompose(k=3, tol=1e-12).converged.any())


def test_few_rows_and_many_weights_are_decomposed_directly(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("Lanczos for 20 rows")

    monkeypatch.setattr(module, "leading_eigenpairs", refuse)
    torch.manual_seed(0)
    layer, x = nn.Linear(50_000, 2), torch.randn(10, 50_000)
    J = tl_entk.jacobian(layer, x)
    assert J.shape == (20, 100_002)
    eigen = J.eigendecompose(k=20)
    # each output's kernel is x x^T + 1
    values = torch.linalg.eigvalsh(x.double() @ x.double().T + 1).flip(0)
    torch.testing.assert_close(eigen.eigenvalues, values.repeat_interleave(2))
    assert bool(eigen.converged.all())
    assert eigen.vectors.shape == (10, 2, 20)
    assert max(residuals(eigen, J)) < 1e-5


@pytest.mark.parametrize(("work", "lanczos"), [(40**2 * 4993, False), (40**2 * 4992, True)])
def test_rows_that_take_long_to_multiply_run_lanczos(work, lanczos, monkeypatch):
    called = []

    def recorded(*arguments, **options):
        called.append(True)
        return leading_eigenpairs(*arguments, **options)

    monkeypatch.setattr(module, "leading_eigenpairs", recorded)
    monkeypatch.setattr(module, "_WORK", work)
    J = tl_entk.jacobian(*network(torch.float64, width=96, outputs=1, n=40))
    assert J.shape == (40, 4993)
    J.eigendecompose(k=2)
    assert bool(called) == lanczos


@pytest.mark.parametrize("budget", [2**20, 2**21, None])
@pytest.mark.parametrize("slices", [100, 2**20])
def test_the_kernel_is_added_up_from_parts_that_fit_the_budget(budget, slices, monkeypatch):
    monkeypatch.setattr(module, "_SLICE", slices)
    model, x = network(torch.float64, outputs=3, n=12)
    whole = tl_entk.jacobian(model, x).weighted(torch.rand(12, 3))
    dense = whole.dense()
    J = Jacobian(
        whole.maps, whole.n, whole.outputs, budget or whole.memory_budget, whole.row_weights
    )
    written = []
    plain = Jacobian.block

    def recorded(self, key, chosen):
        rows = plain(self, key, chosen)
        written.append(rows.numel() * rows.element_size())
        return rows

    monkeypatch.setattr(Jacobian, "block", recorded)
    torch.testing.assert_close(J.kernel(), dense @ dense.T, atol=1e-12, rtol=1e-12)
    assert max(written) <= J.memory_budget // 8
    eigen = J.eigendecompose(k=5)
    expected = torch.linalg.eigvalsh(dense @ dense.T).flip(0)[:5]
    torch.testing.assert_close(eigen.eigenvalues, expected)


@pytest.mark.parametrize("wide", [False, True])
def test_directions_beyond_the_rank_are_zero_and_not_converged(wide):
    """Two of the examples are alike, whichever side is smaller."""
    torch.manual_seed(0)
    layer = nn.Linear(200 if wide else 4, 1, bias=False).double()
    x = torch.randn(8, layer.in_features, dtype=torch.float64)
    x[:, 3:] = 0  # three dimensions
    eigen = tl_entk.jacobian(layer, x).eigendecompose(k=4)
    assert eigen.converged.tolist() == [True, True, True, False]
    assert float(eigen.vectors[:, 3].abs().max()) == 0
    assert float(eigen.eigenvalues[3]) == 0
    gram = eigen.vectors[:, :3].T @ eigen.vectors[:, :3]
    torch.testing.assert_close(gram, torch.eye(3).double())


def test_both_sides_give_the_same_directions(monkeypatch):
    model, x = network(torch.float64, width=3, outputs=2, n=110)
    J = tl_entk.jacobian(model, x)
    assert J.shape == (220, 161)
    narrow = J.eigendecompose(k=6)
    monkeypatch.setattr(module, "_DENSE", 0)
    iterated = J.eigendecompose(k=6)
    torch.testing.assert_close(narrow.eigenvalues, iterated.eigenvalues)
    torch.testing.assert_close(narrow.vectors, iterated.vectors, atol=1e-5, rtol=0)
