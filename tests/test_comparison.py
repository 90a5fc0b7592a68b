import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

import tl_entk
from feature_sets import FeatureSet, fourier
from tl_entk.comparison import BASES

N = 240
RNG = np.random.default_rng(0)
HIDDEN = RNG.standard_normal((N, 12))
REAL = HIDDEN @ RNG.standard_normal((12, 2)) + 0.3 * RNG.standard_normal((N, 2))
BINARY = (HIDDEN[:, :1] + 0.5 * RNG.standard_normal((N, 1)) > 0.8).astype(float)
ACTIVATIONS = torch.from_numpy(HIDDEN @ np.diag(np.linspace(5, 0.5, 12)))


def features():
    return FeatureSet(
        np.concatenate([REAL, BINARY], 1),
        ("wave cos", "wave sin", "is big"),
        ("waves", "waves", "tags"),
        ("wave", "wave", "is big"),
    )


def compare(k=4, **arguments):
    scores = torch.from_numpy(np.concatenate([REAL, BINARY, HIDDEN], 1)[:, :k])
    return tl_entk.compare(scores, features(), ACTIVATIONS, **{"n_bootstrap": 100, **arguments})


def test_good_directions_beat_pca_and_chance_and_the_interval_says_so():
    table = compare()
    wave, big = table.rows
    assert (wave.metric, big.metric) == ("R2", "AP")
    assert wave.scores["eNTK"].value > 0.99
    assert big.scores["eNTK"].value == pytest.approx(1)
    for row in table.rows:
        assert row.scores["eNTK"].value > row.scores["PCA"].value > row.scores["random"].value
        assert row.difference.low > 0
        for name in BASES:
            judged = row.scores[name]
            assert judged.low <= judged.value <= judged.high
    assert table.rows[0].scores["random"].value < 0.1
    assert table.k == 4
    assert table.n_test == N // 2


def test_ceiling_is_a_probe_on_all_activations():
    row = compare().rows[0]
    assert row.scores["all activations"].value > row.scores["PCA"].value
    assert row.scores["all activations"].value > 0.9


def test_real_probe_is_ridge_on_the_same_halves():
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(np.arange(N), train_size=N // 2, random_state=3)
    x = ACTIVATIONS.numpy()
    expected = r2_score(REAL[test], Ridge(1e-6).fit(x[train], REAL[train]).predict(x[test]))
    ours = compare(seed=3).rows[0].scores["all activations"].value
    assert ours == pytest.approx(expected, abs=0.02)


def test_bootstrap_by_counts_equals_bootstrap_by_rows():
    from tl_entk.comparison import _bootstrap

    truth, predicted = REAL[:50], REAL[:50] + 0.4 * RNG.standard_normal((50, 2))
    draws = np.random.default_rng(1).integers(0, 50, (20, 50))
    value, samples = _bootstrap(truth, predicted, draws, False)
    assert value == pytest.approx(r2_score(truth, predicted))
    by_rows = [r2_score(truth[rows], predicted[rows]) for rows in draws]
    np.testing.assert_allclose(samples, by_rows)


def test_the_seed_fixes_everything():
    assert compare(seed=5).rows == compare(seed=5).rows
    assert compare(seed=5).rows != compare(seed=6).rows


def test_macro_is_the_mean_over_rows():
    table = compare()
    assert table.macro()["PCA"] == pytest.approx(
        np.mean([row.scores["PCA"].value for row in table.rows])
    )
    assert table.macro("tags")["eNTK"] == table.rows[1].scores["eNTK"].value
    with pytest.raises(ValueError, match="no family"):
        table.macro("nothing")


def test_eigendirections_bring_their_provenance():
    matrix = torch.from_numpy(HIDDEN @ HIDDEN.T)
    eigen = tl_entk.eigendecompose(matrix, 3, provenance={"component": "blocks.0"})
    table = tl_entk.compare(eigen, features(), ACTIVATIONS, n_bootstrap=10)
    assert table.provenance["component"] == "blocks.0"
    assert table.provenance["n_bootstrap"] == 10


def test_truth_values_are_binary_features():
    ones = FeatureSet(BINARY.astype(bool), ("is big",), ("tags",), ("is big",))
    table = tl_entk.compare(torch.from_numpy(HIDDEN), ones, ACTIVATIONS, n_bootstrap=10)
    assert table.rows[0].metric == "AP"


@pytest.mark.usefixtures("untyped")
def test_refusals():
    scores = torch.zeros(N, 13)
    with pytest.raises(ValueError, match="fewer directions"):
        tl_entk.compare(scores, features(), ACTIVATIONS)
    with pytest.raises(ValueError, match="same order"):
        tl_entk.compare(scores[:5, :2], features(), ACTIVATIONS)
    with pytest.raises(ValueError, match="share between"):
        compare(split=1.0)
    rare = np.zeros((N, 1))
    rare[:3] = 1
    rare = FeatureSet(rare, ("rare",), ("t",), ("rare",))
    with pytest.raises(ValueError, match="too rare"):
        tl_entk.compare(scores[:, :2], rare, ACTIVATIONS)


def test_pca_is_the_eigenbasis_of_the_centred_gram_matrix():
    scores = tl_entk.pca_scores(ACTIVATIONS, 3)
    gram = tl_entk.center(ACTIVATIONS @ ACTIVATIONS.T)
    eigen = tl_entk.eigendecompose(gram, 3)
    overlap = tl_entk.subspace_overlap(eigen.vectors, scores)
    assert overlap.overlap == pytest.approx(3)
    with pytest.raises(ValueError, match="1 to 12 components"):
        tl_entk.pca_scores(ACTIVATIONS, 13)


def test_random_directions_are_seeded_and_orthonormal():
    first = tl_entk.random_directions(30, 4, seed=1)
    torch.testing.assert_close(first.T @ first, torch.eye(4).double())
    assert torch.equal(first, tl_entk.random_directions(30, 4, seed=1))
    assert not torch.equal(first, tl_entk.random_directions(30, 4, seed=2))
    with pytest.raises(ValueError, match="pass 1 to 3"):
        tl_entk.random_directions(3, 4)


def test_activations_are_the_caches(model):
    from tests.models import tokens

    batch = tokens(6)
    ours = tl_entk.activations_at(model, batch, "blocks.0.attn.hook_z", position=2)
    _, cache = model.run_with_cache(batch)
    torch.testing.assert_close(ours, cache["blocks.0.attn.hook_z"][:, 2].flatten(1))
    with pytest.raises(ValueError, match="no hook"):
        tl_entk.activations_at(model, batch, "blocks.0.hook_rezid_post")
    embedded = tl_entk.activations_at(model, batch, "hook_embed", position=0)
    torch.testing.assert_close(embedded, cache["hook_embed"][:, 0])
    small = tl_entk.activations_at(model, batch, "blocks.0.attn.hook_z", 2, batch_size=4)
    torch.testing.assert_close(small, ours)
    logits = tl_entk.activations_at(model, batch, "unembed.hook_out", position=1)
    torch.testing.assert_close(logits, model(batch)[:, 1])
    for hook in ("blocks.0.attn.hook_pattern", "blocks.0.attn.hook_attn_scores"):
        with pytest.raises(ValueError, match="heads before positions"):
            tl_entk.activations_at(model, batch, hook)


def test_fourier_features_of_a_linear_code_are_fully_probed():
    a, b = np.divmod(np.arange(49), 7)
    features = fourier(a, b, 7, families=["a+b", "a-b"])
    activations = torch.from_numpy(features.values)
    table = tl_entk.compare(activations[:, :6], features, activations, n_bootstrap=10)
    assert table.macro("a+b")["eNTK"] > 0.999
    assert table.macro("a-b")["eNTK"] < 0.2
    assert table.macro("a-b")["all activations"] > 0.999
