from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tl_entk
from tests.models import tokens
from tl_entk import eigendecompose, find_cliffs


def kernel(n, rank, seed=0):
    j = torch.randn(n, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return j @ j.T


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 30), rank=st.integers(1, 40), data=st.data())
def test_pairs_are_eigenpairs_and_scipys(n, rank, data):
    matrix = kernel(n, rank)
    k = data.draw(st.integers(1, n))
    eigen = eigendecompose(matrix, k)
    there = min(k, rank)
    expected = scipy.linalg.eigvalsh(matrix.numpy())[::-1][:there]
    assert np.abs(eigen.eigenvalues.numpy() - expected).max() <= 1e-12 * expected[0]
    torch.testing.assert_close(eigen.vectors.T @ eigen.vectors, torch.eye(there).double())
    assert eigen.converged.all()
    assert float(eigen.residuals.max()) < 1e-12
    assert torch.equal(eigen.scores, eigen.vectors)


def test_full_spectrum_sums_to_the_trace():
    matrix = kernel(12, 5)
    eigen = eigendecompose(matrix, None)
    assert len(eigen.eigenvalues) == 12
    torch.testing.assert_close(eigen.eigenvalues.sum(), matrix.trace())


def test_eigenvalues_of_a_models_blocks_are_scipys(model):
    blocks = tl_entk.kernel_blocks(model, tokens(20), "class_trace", lambda n: True)
    for name, block in blocks.items():
        ours = eigendecompose(block, 6).eigenvalues.numpy()
        theirs = scipy.sparse.linalg.eigsh(block.numpy(), 6, return_eigenvectors=False, tol=1e-13)
        scale = float(blocks.total().abs().max())
        # those beyond a block's rank are left out
        ours = np.pad(ours, (0, 6 - len(ours)))
        assert np.abs(ours - np.sort(theirs)[::-1]).max() < 1e-10 * scale, name


def test_float32_kernels_are_decomposed_in_float64():
    assert eigendecompose(kernel(6, 3).float(), 2).eigenvalues.dtype == torch.float64


def test_signs_are_fixed(monkeypatch):
    matrix = kernel(7, 3)
    plain = eigendecompose(matrix, 3).vectors
    solve = scipy.linalg.eigh

    def flipped(*arguments, **options):
        values, vectors = solve(*arguments, **options)
        return values, -vectors

    monkeypatch.setattr(scipy.linalg, "eigh", flipped)
    assert torch.equal(eigendecompose(matrix, 3).vectors, plain)
    assert (plain[plain.abs().argmax(0), torch.arange(3)] > 0).all()


@pytest.mark.parametrize(
    ("matrix", "k", "advice"),
    [
        (torch.eye(3), 4, "pass 1 to 3"),
        (torch.eye(3), 0, "pass 1 to 3"),
        (torch.ones(2, 3), 1, "square"),
        (torch.tensor([[1.0, 2.0], [0.0, 1.0]]), 1, "not symmetric"),
        (torch.full((2, 2), float("nan")), 1, "not finite"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_what_is_no_kernel_is_refused(matrix, k, advice):
    with pytest.raises(ValueError, match=advice):
        eigendecompose(matrix, k)


@pytest.mark.usefixtures("untyped")
def test_parts_of_directions_are_of_as_many_directions():
    eigen = eigendecompose(kernel(5, 3), 3)
    for name in eigen.tensors():
        said = {
            "scores": r"eigenvalues has shape \(3,\), not \(2,\)",
            "vectors": "scores of 3 directions, vectors of 2: pass as many",
        }.get(name, rf"{name} has shape \(2,\), not \(3,\)")
        with pytest.raises(ValueError, match=said):
            replace(eigen, **{name: getattr(eigen, name)[..., :2]})
        if name not in ("scores", "vectors"):
            with pytest.raises(ValueError, match=rf"^{name} has shape \(\), not \(3,\)"):
                replace(eigen, **{name: torch.tensor(1.0)})


def test_cliffs_are_found_and_ranked_with_their_sharpness():
    values = torch.cat([torch.full((4,), 100.0), torch.full((8,), 5.0), torch.full((20,), 1.0)])
    values *= torch.linspace(1.05, 1.0, 32)
    first, second, third = find_cliffs(values, 3)
    assert (first.position, second.position) == (4, 12)
    assert first.ratio == pytest.approx(20, rel=0.01)
    assert first.sharpness > second.sharpness > 100
    assert third.sharpness < 2  # no cliff: a drop like its neighbours


def test_noise_below_the_floor_ends_the_spectrum():
    values = torch.tensor([1.0, 0.9, 0.8, 1e-14, 1e-17, -1e-17], dtype=torch.float64)
    assert [c.position for c in find_cliffs(values)] == [2, 1]


def test_skip_leaves_out_the_first_drops():
    values = torch.tensor([50.0, 2.0, 1.9, 1.0])
    assert find_cliffs(values, 1)[0].position == 1
    assert find_cliffs(values, 1, skip=2)[0].position == 3


@pytest.mark.parametrize(("skip", "first"), [(0, 1), (1, 1), (2, 2), (3, 3), (4, None)])
def test_skip_is_the_first_position_that_counts(skip, first):
    values = torch.tensor([8.0, 4.0, 2.0, 1.0])
    found = sorted(cliff.position for cliff in find_cliffs(values, skip=skip))
    assert found == ([] if first is None else list(range(first, 4)))


@pytest.mark.parametrize("options", [{"skip": -1}, {"skip": 1.5}, {"count": -1}])
@pytest.mark.usefixtures("untyped")
def test_positions_and_counts_are_integers(options):
    with pytest.raises(ValueError, match="pass an integer, 0 or more"):
        find_cliffs(torch.tensor([2.0, 1.0]), **options)


def test_a_spectrum_of_none_or_one_has_no_cliff():
    assert find_cliffs(torch.zeros(0)) == find_cliffs(torch.ones(1)) == []


def test_unsorted_eigenvalues_are_refused():
    with pytest.raises(ValueError, match="sort them"):
        find_cliffs(torch.tensor([1.0, 2.0]))


def test_normalizations(model):
    matrix = tl_entk.kernel_blocks(model, tokens(9)).total()
    cosine = tl_entk.cosine_normalize(matrix)
    torch.testing.assert_close(cosine.diagonal(), torch.ones(9).double())
    h = torch.eye(9).double() - 1 / 9
    torch.testing.assert_close(tl_entk.center(matrix), h @ matrix @ h)
    with pytest.raises(ValueError, match="zero gradient"):
        tl_entk.cosine_normalize(torch.zeros(2, 2))
