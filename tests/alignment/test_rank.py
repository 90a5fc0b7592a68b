"""Directions beyond the rank are noise: nothing that makes directions keeps them.

Where 25 directions are asked for and examples lie in three dimensions, the 22 others are rounding.
A probe scales its inputs to one variance, and would fit that noise.
"""

import numpy as np
import pytest
import torch

import tl_entk
from feature_sets import FeatureSet
from tl_entk.alignment.baselines import leading_scores, product_scores
from tl_entk.alignment.names import PCA, STANDARDIZED
from tl_entk.alignment.probes import probe_scores

pytestmark = pytest.mark.plain

RNG = np.random.default_rng(3)
N, RANK, K = 120, 3, 25
LATENT = RNG.standard_normal((N, RANK))
STATES = torch.from_numpy(LATENT @ RNG.standard_normal((RANK, 40))).float()
KERNEL = STATES @ STATES.T
# what a probe can learn in three dimensions, in part
LABEL = LATENT[:, 0] + 0.7 * RNG.standard_normal(N) > 0.3
FEATURES = FeatureSet.from_dict({"label": LABEL})
# three examples many times over, computed in two batches: alike but for rounding
REPEATED = STATES[:RANK].repeat(N // RANK, 1) * (1 + 1e-7 * torch.randn(N, 1))


def noisy(k):
    """Directions as they were kept: leading eigenvectors, and as many of rounding as asked for."""
    return torch.linalg.eigh(KERNEL.double()).eigenvectors.flip(1)[:, :k]


def test_a_probe_would_fit_the_noise():
    table = tl_entk.probe_bases({"three": noisy(RANK), "many": noisy(K)}, FEATURES, n_bootstrap=5)
    three, many = (table.macro(name).value for name in table.bases)
    assert three > many + 0.1


def test_probes_are_as_good_whatever_k_is():
    few, many = (
        tl_entk.compare(
            tl_entk.eigendecompose(KERNEL, k), FEATURES, STATES, n_bootstrap=5, probe="ridge"
        )
        for k in (RANK, K)
    )
    for basis in ("eNTK", PCA, STANDARDIZED):
        assert many.macro(basis).value == pytest.approx(few.macro(basis).value, abs=1e-6)
        assert many.provenance["columns"][basis] == RANK


def test_how_many_are_dropped_is_said():
    eigen = tl_entk.eigendecompose(KERNEL, K)
    assert eigen.scores.shape == eigen.vectors.shape == (N, RANK)
    assert eigen.eigenvalues.shape == eigen.residuals.shape == eigen.converged.shape == (RANK,)
    assert eigen.provenance["dropped"] == K - RANK
    assert "22 more asked for are rounding" in repr(eigen)
    assert "dropped" not in tl_entk.eigendecompose(KERNEL, RANK).provenance
    with pytest.warns(UserWarning, match="k = 25: .* 3 principal components, the 22 others"):
        assert tl_entk.pca_scores(STATES, K).shape == (N, RANK)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_rank_is_that_of_the_numbers(scale, dtype):
    exact = torch.from_numpy(LATENT @ RNG.standard_normal((RANK, 40))).to(dtype)
    kernel = scale * (exact @ exact.T)
    assert tl_entk.eigendecompose(kernel, K).scores.shape[1] == RANK
    # the format that they were computed in, where they were converted since
    assert tl_entk.eigendecompose(kernel.double(), K, dtype=dtype).scores.shape[1] == RANK


def test_a_kernel_of_zeros_has_one_direction():
    eigen = tl_entk.eigendecompose(torch.zeros(5, 5), 3)
    assert eigen.eigenvalues.tolist() == [0.0]
    assert eigen.provenance["dropped"] == 2


def test_small_directions_are_no_noise():
    values = torch.logspace(0, -9, 10, dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(N, 10, dtype=torch.float64))[0]
    eigen = tl_entk.eigendecompose((basis * values) @ basis.T, 10)
    torch.testing.assert_close(eigen.eigenvalues, values)


def test_arrays_have_a_format_too():
    assert tl_entk.eigendecompose(KERNEL.numpy(), K).scores.shape[1] == RANK


@pytest.mark.parametrize("seed", range(8))
def test_centering_takes_a_mean_away_without_noise(seed):
    rng = np.random.default_rng(seed)
    latent = np.concatenate([np.ones((N, 1)), 0.2 * rng.standard_normal((N, RANK))], 1)
    states = torch.from_numpy(latent @ rng.standard_normal((RANK + 1, 40))).float()
    assert tl_entk.eigendecompose(tl_entk.center(states @ states.T), K).scores.shape[1] == RANK


def test_centering_and_cosines_keep_the_rank():
    assert tl_entk.eigendecompose(tl_entk.center(KERNEL), K).scores.shape[1] == RANK
    assert tl_entk.eigendecompose(tl_entk.cosine_normalize(KERNEL), K).scores.shape[1] == RANK


def test_baselines_of_repeated_states():
    for standardize in (False, True):
        assert leading_scores(REPEATED, K, standardize=standardize).shape[1] == RANK - 1
    assert product_scores([REPEATED, REPEATED], K).shape[1] <= RANK
    alike = torch.ones(N, 4) * (1 + 1e-7 * torch.randn(N, 4))
    assert not leading_scores(alike, 2).any()
    assert not leading_scores(alike, 2, standardize=True).any()


def test_a_state_that_is_the_same_but_for_rounding_is_no_input():
    noise = 1 + 1e-9 * RNG.standard_normal((N, 30))
    half = slice(0, N, 2), slice(1, N, 2)
    plain, beside = (
        probe_scores(x[half[0]], LABEL[half[0], None] * 1.0, x[half[1]], [True])
        for x in (LATENT, np.concatenate([LATENT, noise], 1))
    )
    np.testing.assert_allclose(beside, plain, atol=1e-6)


def test_a_track_keeps_its_shape():
    watch = tl_entk.Watch("total", range(5), FEATURES)
    track = tl_entk.Track(lambda model: {"total": KERNEL}, {"label": watch}, at=[0, 1], k=6)
    for step in (0, 1):
        track(step, None)
    course = track.course()
    assert course.eigenvalues["total"].shape == (2, 6)
    assert int((course.eigenvalues["total"][0] > 0).sum()) == RANK
    wanted = tl_entk.subspace_overlap(tl_entk.eigendecompose(KERNEL, RANK), FEATURES)
    assert course.overlaps["label"][0] == pytest.approx(wanted.overlap)
