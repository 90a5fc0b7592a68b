import subprocess
import sys

import numpy as np
import pytest
import torch

from feature_sets import fourier
from tl_entk.alignment.overlap import purity
from tl_entk.directions.laplacians import torus_laplacians
from tl_entk.directions.rotation import Rotation, orthonormal_directions, rotate_by_smoothness
from tl_entk.directions.scores import choose_signs
from tl_entk.directions.unsupervised_rotation import (
    rotate_by_ica,
    rotate_by_kernel,
    rotate_by_varimax,
)

pytestmark = pytest.mark.plain

P = 7
A, B = np.divmod(np.arange(P * P), P)
LAPLACIANS = torus_laplacians(A, B, P)
FEATURES = fourier(A, B, P, families=["a", "b", "a+b", "a-b"])
UNSUPERVISED = (rotate_by_kernel, rotate_by_varimax, rotate_by_ica)


def random(n, k, seed=0):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def span(families, seed=0):
    """Orthonormal directions of the families' span, turned at random."""
    values = torch.from_numpy(FEATURES.family(*families).values)
    return torch.linalg.qr(values @ random(values.shape[1], values.shape[1], seed))[0]


def projector(vectors):
    return vectors @ vectors.T


@pytest.mark.parametrize("families", [("a", "b"), ("a+b", "a-b")])
def test_fourier_modes_come_back_from_their_span(families):
    vectors = span(families)
    assert purity(vectors, FEATURES).max() < 0.9
    rotation = rotate_by_smoothness(vectors, [LAPLACIANS[f] for f in families])
    torch.testing.assert_close(purity(rotation.vectors, FEATURES), torch.ones(12).double())
    lower, upper = rotation.roughness.split(6)
    torch.testing.assert_close(lower[:, 0], torch.zeros(6).double())
    torch.testing.assert_close(upper[:, 1], torch.zeros(6).double())
    cycle = (2 - 2 * torch.cos(2 * torch.pi * torch.arange(1, 4) / P)).double()
    torch.testing.assert_close(upper[:, 0], cycle.repeat_interleave(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(lower[:, 1], cycle.repeat_interleave(2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("k", [1, 2, 5, 12, 30])
def test_rotation_is_orthonormal_within_the_span(k):
    vectors = orthonormal_directions(random(30, k))
    matrices = [m @ m.T for m in (random(30, 30, seed).numpy() for seed in (1, 2, 3))]
    rotated = rotate_by_smoothness(vectors, matrices).vectors
    torch.testing.assert_close(rotated.T @ rotated, torch.eye(k).double())
    torch.testing.assert_close(projector(rotated), projector(vectors))


def test_rotation_does_not_depend_on_the_basis():
    matrices = [projector(random(30, 30, seed)).numpy() for seed in (1, 2)]
    vectors = random(30, 6)
    plain = rotate_by_smoothness(vectors, matrices)
    mixed = rotate_by_smoothness(vectors @ random(6, 6, 3), matrices)
    torch.testing.assert_close(mixed.vectors, plain.vectors)
    torch.testing.assert_close(mixed.roughness, plain.roughness)


def test_one_laplacian_gives_the_compressed_eigenvalues():
    matrix, vectors = projector(random(30, 30, 1)).numpy(), orthonormal_directions(random(30, 6))
    rotation = rotate_by_smoothness(vectors, [matrix])
    expected = np.linalg.eigvalsh(vectors.numpy().T @ matrix @ vectors.numpy())
    np.testing.assert_allclose(rotation.roughness[:, 0].numpy(), expected)


def test_each_further_laplacian_orders_the_lower_half():
    matrices = [projector(random(30, 30, seed)).numpy() for seed in (1, 2, 3)]
    first, second, third = rotate_by_smoothness(random(30, 9), matrices).roughness.T
    for ascending in (first[4:], second[2:4], third[:2]):
        assert bool((ascending.diff() >= 0).all())
    only = rotate_by_smoothness(random(30, 9), matrices[:1]).roughness[:, 0]
    torch.testing.assert_close(first[4:], only[4:])


def test_permuting_the_examples_permutes_the_directions():
    order = np.random.default_rng(0).permutation(30)
    matrix, vectors = projector(random(30, 30, 1)).numpy(), random(30, 5)
    plain = rotate_by_smoothness(vectors, [matrix]).vectors
    permuted = rotate_by_smoothness(vectors[order], [matrix[np.ix_(order, order)]]).vectors
    torch.testing.assert_close(permuted, plain[order])


def test_orthonormal_directions_stay_as_they_are():
    vectors = torch.linalg.qr(random(20, 4))[0]
    torch.testing.assert_close(orthonormal_directions(vectors), vectors)
    assert torch.equal(choose_signs(-vectors), -choose_signs(vectors))


def test_roughness_is_the_rayleigh_quotient_in_every_format():
    laplacians = [LAPLACIANS["a"], LAPLACIANS["b"].tocoo()]
    sparse = rotate_by_smoothness(span(["a", "a+b"]).float(), laplacians)
    dense = rotate_by_smoothness(span(["a", "a+b"]).float(), [m.toarray() for m in laplacians])
    assert sparse.vectors.dtype == torch.float64
    torch.testing.assert_close(sparse.roughness, dense.roughness)
    v, matrix = sparse.vectors[:, 3].numpy(), LAPLACIANS["b"].toarray()
    assert sparse.roughness[3, 1] == pytest.approx(v @ matrix @ v)


@pytest.mark.usefixtures("untyped")
def test_bad_directions_are_refused():
    column = random(49, 1)
    for dependent in (column.repeat(1, 2), (column.float() * torch.tensor([1.0, 3.3])), column * 0):
        with pytest.raises(ValueError, match="drop the dependent"):
            rotate_by_smoothness(dependent, [LAPLACIANS["a"]])
    with pytest.raises(ValueError, match="not finite"):
        rotate_by_smoothness(column * torch.nan, [LAPLACIANS["a"]])
    for none in (column[:, :0], column[:, 0]):
        with pytest.raises(ValueError, match="at least one"):
            rotate_by_smoothness(none, [LAPLACIANS["a"]])


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("laplacians", "advice"),
    [
        ([], "at least one"),
        ([LAPLACIANS["a"], np.eye(48)], "Laplacian 1 has shape"),
        ([np.ones(49)], "Laplacian 0 has shape"),
        ([np.triu(np.ones((49, 49)))], "not symmetric"),
        ([LAPLACIANS["a"] * np.inf], "not finite"),
    ],
)
def test_bad_laplacians_are_refused(laplacians, advice):
    with pytest.raises(ValueError, match=advice):
        rotate_by_smoothness(random(49, 3), laplacians)


@pytest.mark.parametrize("rotate", UNSUPERVISED)
@pytest.mark.parametrize("k", [1, 2, 8])
def test_unsupervised_rotations_are_orthonormal_within_the_span(rotate, k):
    vectors = random(200, k) ** 3 @ random(k, k)  # sparse ones, so that there is what to find
    rotated = rotate(vectors).vectors
    torch.testing.assert_close(rotated.T @ rotated, torch.eye(k).double())
    torch.testing.assert_close(projector(rotated), projector(orthonormal_directions(vectors)))


@pytest.mark.parametrize("rotate", [rotate_by_varimax, rotate_by_ica])
@pytest.mark.parametrize("families", [("a", "b"), ("a+b", "a-b")])
def test_sparse_rotations_part_the_families_but_not_the_frequencies(rotate, families):
    features = fourier(*np.divmod(np.arange(121), 11), 11, families=families)
    rotated = rotate(torch.from_numpy(features.values)).vectors  # even from the modes themselves
    assert purity(rotated, features, by="family").min() > 0.9
    assert purity(rotated, features).max() < 0.5


def test_varimax_finds_what_statsmodels_varimax_finds():
    from statsmodels.multivariate.factor_rotation import rotate_factors

    vectors = orthonormal_directions(random(40, 4)).numpy()
    expected, _ = rotate_factors(40**0.25 * vectors, "varimax", max_tries=1000)
    rotated = rotate_by_varimax(torch.from_numpy(vectors)).vectors.numpy()
    cosines = np.abs(rotated.T @ expected) / 40**0.25
    np.testing.assert_allclose(cosines.max(1), 1, atol=1e-4)


def test_varimax_finds_planted_sparse_directions():
    planted = torch.block_diag(*[torch.ones(5, 1, dtype=torch.float64)] * 4) / 5**0.5
    rotated = rotate_by_varimax(planted @ torch.linalg.qr(random(4, 4))[0]).vectors
    torch.testing.assert_close((rotated.T @ planted).max(0).values, torch.ones(4).double())


def test_ica_finds_planted_independent_directions():
    planted = random(2000, 4) ** 3
    planted = planted / planted.norm(dim=0)
    rotated = rotate_by_ica(planted @ random(4, 4)).vectors
    assert (rotated.T @ planted).abs().max(0).values.min() > 0.98


@pytest.mark.parametrize("rotate", UNSUPERVISED)
def test_all_rotations_return_one_type(rotate):
    found = rotate(random(200, 5) ** 3)
    assert isinstance(found, Rotation)
    assert found.converged
    assert found.roughness.shape == (5, int(rotate is rotate_by_kernel))
    largest = found.vectors.gather(0, found.vectors.abs().argmax(0)[None])
    assert bool((largest > 0).all())


def test_statsmodels_is_imported_by_varimax_only():
    code = "import sys, tl_entk; print('statsmodels' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split()[-1] == "False"


@pytest.mark.parametrize("rotate", [rotate_by_varimax, rotate_by_ica])
def test_a_seed_repeats(rotate):
    vectors = random(200, 5) ** 3
    torch.testing.assert_close(rotate(vectors, seed=3).vectors, rotate(vectors, seed=3).vectors)


@pytest.mark.parametrize("rotate", [rotate_by_varimax, rotate_by_ica])
def test_a_rotation_that_did_not_converge_warns(rotate):
    vectors = random(49, 8)
    with pytest.warns(UserWarning, match="raise max_iterations"):
        rotated = rotate(vectors, max_iterations=1)
    assert not rotated.converged
    torch.testing.assert_close(
        projector(rotated.vectors), projector(orthonormal_directions(vectors))
    )


def test_a_kernel_with_groups_rotates_into_the_groups():
    planted = torch.block_diag(*[torch.ones(n, 1, dtype=torch.float64) for n in (4, 5, 6)])
    noisy = torch.cat([torch.nn.functional.normalize(planted, dim=0), random(15, 2)], 1)
    rotated = rotate_by_kernel(noisy, planted @ planted.T, neighbours=3).vectors
    smooth = torch.linalg.qr(planted)[0]
    torch.testing.assert_close(projector(rotated[:, :3]), projector(smooth))


def test_default_kernel_is_the_directions_projector():
    vectors = orthonormal_directions(random(49, 6))
    torch.testing.assert_close(
        rotate_by_kernel(vectors).vectors,
        rotate_by_kernel(vectors, vectors @ vectors.T).vectors,
    )


def test_purity_is_the_largest_share():
    wave = torch.from_numpy(np.cos(2 * np.pi * A / P) + 2 * np.cos(2 * np.pi * 3 * A / P + 0.4))
    assert purity(wave[:, None], FEATURES).item() == pytest.approx(0.8)
    assert purity(wave[:, None], FEATURES, by="family").item() == pytest.approx(1)
