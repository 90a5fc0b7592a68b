"""One rule of rank: what the number format rounds does not count as a direction."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tl_entk.alignment.attribution import energies
from tl_entk.alignment.overlap import subspace_overlap
from tl_entk.directions.basis import numerical_rank, orthonormal_basis
from tl_entk.directions.rotation import orthonormal_directions

pytestmark = pytest.mark.plain

FORMATS = (torch.float64, torch.float32, torch.bfloat16)


def dependent(dtype, n=40, rank=3, columns=6, seed=0):
    """Columns rounded to a format, of which only ``rank`` are independent but for the rounding."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(n, rank, generator=generator, dtype=torch.float64)
    right = torch.randn(rank, columns, generator=generator, dtype=torch.float64)
    return (left @ right).to(dtype)


@settings(deadline=None, max_examples=30)
@given(
    dtype=st.sampled_from((torch.float64, torch.float32)),
    n=st.integers(10, 200),
    rank=st.integers(1, 4),
    seed=st.integers(0, 10),
)
def test_dependent_columns_do_not_count_in_any_format(dtype, n, rank, seed):
    values = dependent(dtype, n, rank, 6, seed)
    assert orthonormal_basis(values).shape == (n, rank)
    # the format is known after a conversion too
    assert orthonormal_basis(values.double(), dtype).shape == (n, rank)
    with pytest.raises(ValueError, match=f"span {rank} dimensions only"):
        orthonormal_directions(values)


def test_rounding_counts_where_the_format_is_not_known():
    assert orthonormal_basis(dependent(torch.float32).double()).shape[1] > 3


def test_dependent_float32_features_and_directions_count_once():
    values = dependent(torch.float32)
    assert subspace_overlap(values, values).max_overlap == 3
    kernel = values.double() @ values.double().T
    centered = (values - values.mean(0)).double()
    found = energies(kernel, {"x": values})["x"]
    expected = energies(kernel, {"x": orthonormal_basis(centered, torch.float32)})["x"]
    assert found == pytest.approx(expected)


def test_independent_columns_count_in_coarse_formats():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(300, 5, generator=generator)
    for dtype in FORMATS:
        assert orthonormal_basis(values.to(dtype)).shape == (300, 5)
        assert orthonormal_directions(values.to(dtype)).shape == (300, 5)


def test_integers_are_exact():
    values = torch.tensor([[1, 2, 0], [0, 0, 1], [3, 6, 0]])
    basis = orthonormal_basis(values)
    assert basis.shape == (3, 2)
    torch.testing.assert_close(basis.T @ basis, torch.eye(2).double())


@pytest.mark.parametrize("values", [torch.zeros(4, 2), torch.zeros(4, 0)])
def test_nothing_has_no_basis(values):
    assert orthonormal_basis(values).shape == (4, 0)
    assert numerical_rank(torch.zeros(0), (4, 0), torch.float32) == 0
