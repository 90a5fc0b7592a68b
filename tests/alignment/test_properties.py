"""What holds for any numbers: bounds, and what must make no difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tl_entk
from feature_sets import FeatureSet, UserError
from tl_entk.alignment.probes import probe_scores
from tl_entk.alignment.splitting import halves

pytestmark = pytest.mark.plain

SEEDS = st.integers(0, 2**20)
FEW = settings(max_examples=25, deadline=None)
FAST = {"n_bootstrap": 2, "n_permutations": 0}
CLOSE = {"rel": 1e-8, "abs": 1e-8}


def turn(k, seed):
    """A random rotation."""
    return scipy.stats.ortho_group.rvs(k, random_state=seed) if k > 1 else np.eye(1)


def overlap(vectors, features):
    return tl_entk.subspace_overlap(vectors, features).overlap


@FEW
@given(n=st.integers(2, 20), k=st.integers(1, 5), f=st.integers(1, 5), seed=SEEDS)
def test_an_overlap_is_of_spans(n, k, f, seed):
    rng = np.random.default_rng(seed)
    vectors, features = rng.standard_normal((n, k)), rng.standard_normal((n, f))
    found = tl_entk.subspace_overlap(vectors, features)
    assert 0 <= found.overlap <= found.max_overlap + 1e-9
    assert 0 <= found.share <= 1 + 1e-9
    same = pytest.approx(found.overlap, **CLOSE)
    order, signs = rng.permutation(n), rng.choice([-1, 1], k)
    assert overlap(vectors @ turn(k, seed), features) == same
    assert overlap(vectors, features @ turn(f, seed)) == same
    assert overlap(1e6 * vectors * signs, 1e-6 * features + 3) == same
    assert overlap(vectors[order], features[order]) == same
    # every example twice, and a direction that is there already
    assert overlap(np.repeat(vectors, 2, 0), np.repeat(features, 2, 0)) == same
    assert overlap(np.concatenate([vectors, vectors[:, :1]], 1), features) == same


@FEW
@given(n=st.integers(2, 20), k=st.integers(1, 5), seed=SEEDS)
def test_a_span_overlaps_with_itself_wholly(n, k, seed):
    vectors = np.random.default_rng(seed).standard_normal((n, min(k, n - 1)))
    centered = vectors - vectors.mean(0)
    found = tl_entk.subspace_overlap(centered, vectors)
    assert found.overlap == pytest.approx(found.max_overlap)
    assert found.max_overlap == vectors.shape[1]


@FEW
@given(n=st.integers(4, 20), k=st.integers(1, 4), seed=SEEDS)
def test_cosines_and_projections_are_between_0_and_1(n, k, seed):
    rng = np.random.default_rng(seed)
    vectors, signs = rng.standard_normal((n, k)), rng.choice([-1, 1], k)
    features = FeatureSet(rng.standard_normal((n, 3)), ("x", "y", "z"), ("f",) * 3, ("g", "g", "z"))
    cosines = tl_entk.abs_cosines(vectors, features)
    shares, _ = tl_entk.group_projections(vectors, features)
    for found in (cosines, shares):
        assert float(found.min()) >= 0
        assert float(found.max()) <= 1 + 1e-12
    # a group holds at least what its best feature does, a family at least what its groups do
    assert bool((shares[:, 0] >= cosines[:, :2].square().amax(1) - 1e-9).all())
    family = tl_entk.purity(vectors, features, by="family")
    assert bool((family >= shares.amax(1) - 1e-9).all())
    turned = features.values.copy()
    turned[:, :2] = turned[:, :2] @ turn(2, seed)
    again, _ = tl_entk.group_projections(vectors * signs, replace(features, values=turned))
    torch.testing.assert_close(again, shares)
    order = rng.permutation(n)
    torch.testing.assert_close(tl_entk.abs_cosines(vectors[order], features.rows(order)), cosines)


@FEW
@given(
    n=st.integers(1, 30),
    f=st.integers(1, 3),
    split=st.sampled_from([0.3, 0.5, 0.8]),
    common=st.floats(0, 1),
    seed=SEEDS,
)
def test_halves_are_a_partition_or_refused(n, f, split, common, seed):
    labels = np.random.default_rng(seed).random((n, f)) < common
    try:
        features = FeatureSet.from_dict({f"label {i}": labels[:, i] for i in range(f)})
        train, test = halves(features, split, seed)
    except UserError:  # all positive, all negative, or too rare
        return
    assert sorted([*train, *test]) == list(range(n))
    assert len(train) == round(split * n)
    for half in (train, test):
        positives = labels[half].sum(0)
        assert min(positives) >= 2
        assert min(len(half) - positives) >= 2
    np.testing.assert_array_equal(halves(features, split, seed)[0], train)


@FEW
@given(groups=st.lists(st.integers(0, 6), min_size=12, max_size=30), seed=SEEDS)
def test_a_group_lies_in_one_half(groups, seed):
    labels = np.arange(len(groups)) % 2
    try:
        train, test = halves(FeatureSet.from_dict({"x": labels}), seed=seed, groups=groups)
    except UserError:
        return
    assert not {groups[i] for i in train} & {groups[i] for i in test}
    assert sorted([*train, *test]) == list(range(len(groups)))


@FEW
@given(n=st.integers(12, 40), k=st.integers(1, 4), seed=SEEDS)
def test_best_directions_are_of_the_order_alone(n, k, seed):
    rng = np.random.default_rng(seed)
    # whole numbers, so that some are tied
    scores = rng.integers(-4, 5, (n, k)).astype(float)
    features = FeatureSet.from_dict({"x": np.arange(n) % 2})
    (row,) = tl_entk.best_directions(scores, features, **FAST).rows
    assert 0 <= row.ap.value <= 1
    assert 0 <= row.auroc.value <= 1
    assert 0 <= row.precision.value <= 1
    wide = np.concatenate([scores, scores[:, :1]], 1)
    flipped = scores * rng.choice([-1, 1], k)
    for other in (scores**3 * 5 + 1, flipped, scores[:, ::-1].copy(), wide):
        (again,) = tl_entk.best_directions(other, features, **FAST).rows
        assert again.train_ap == pytest.approx(row.train_ap)
        if k == 1:
            assert again.ap.value == pytest.approx(row.ap.value)
    (perfect,) = tl_entk.best_directions(features.values, features, **FAST).rows
    assert perfect.ap.value == perfect.auroc.value == perfect.train_ap == 1


@FEW
@given(n=st.integers(8, 30), constant=st.floats(-5, 5))
def test_constant_scores_tell_nothing(n, constant):
    features = FeatureSet.from_dict({"x": np.arange(n) % 2})
    (row,) = tl_entk.best_directions(np.full((n, 2), constant), features, **FAST).rows
    n_test = n - round(0.5 * n)
    assert row.auroc.value == 0.5
    assert row.ap.value == pytest.approx(row.positives / n_test)


@FEW
@given(n=st.integers(12, 40), d=st.integers(1, 4), seed=SEEDS)
def test_ridge_probes_do_not_see_units_order_or_constants(n, d, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, d)), rng.standard_normal((n, 1))
    train, test = slice(0, n, 2), slice(1, n, 2)

    def predicted(inputs):
        return probe_scores(inputs[train], y[train], inputs[test], [False])

    wanted = predicted(x)
    order, scale = rng.permutation(d), rng.choice([-1, 1], d) * 10 ** rng.uniform(-4, 4, d)
    constants = np.concatenate([x, np.full((n, 2), 7.0)], 1)
    for other in (x[:, order], x * scale, x + 100, constants):
        np.testing.assert_allclose(predicted(other), wanted, rtol=1e-5, atol=1e-7)


@FEW
@given(n=st.integers(1, 12), blocks=st.integers(1, 4), k=st.integers(1, 3), seed=SEEDS)
def test_shares_add_up_to_one(n, blocks, k, seed):
    rng = np.random.default_rng(seed)
    roots = rng.standard_normal((blocks, n, 3))
    kernels = torch.from_numpy(roots @ roots.transpose(0, 2, 1))
    direction = rng.standard_normal((n, k))

    def shares(kernels, direction):
        named = {f"W{i}": kernel for i, kernel in enumerate(kernels)}
        return list(tl_entk.component_shares(tl_entk.KernelBlocks(named), direction).values())

    found = shares(kernels, direction)
    assert min(found) >= -1e-12
    assert sum(found) == pytest.approx(1)
    order = rng.permutation(n)
    for others in (
        shares(1e-9 * kernels, -1e3 * direction),
        shares(kernels, direction @ turn(k, seed)),
        shares(kernels[:, order][:, :, order], direction[order]),
    ):
        assert others == pytest.approx(found)


@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_examples_are_taken_or_refused(n):
    kernel, states = 3 * torch.eye(n), torch.arange(2.0 * n).reshape(n, 2)
    eigen = tl_entk.eigendecompose(kernel, n)
    assert eigen.eigenvalues.tolist() == [3.0] * n
    assert tl_entk.component_shares(tl_entk.KernelBlocks({"W": kernel}), states) == {"W": 1.0}
    if n == 2:
        labels = FeatureSet.from_dict({"x": [0, 1]})
        with pytest.raises(UserError, match="too rare to split; drop it or add examples"):
            tl_entk.best_directions(states, labels)
        assert tl_entk.subspace_overlap(states, torch.eye(2)[:, :1]).max_overlap == 1
        assert tl_entk.pca_scores(states, 1).shape == (2, 1)
    else:
        with pytest.raises(UserError, match="'x' is constant over the examples: drop it"):
            FeatureSet.from_dict({"x": [1]})
        with pytest.raises(UserError, match="feature 0 is constant"):
            tl_entk.subspace_overlap(states, torch.ones(1, 1))
