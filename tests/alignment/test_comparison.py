import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score, r2_score, roc_auc_score

import tl_entk
from feature_sets import FeatureSet, fourier
from tl_entk.alignment.comparison import _mean_r2, probe_bases, probe_validation
from tl_entk.alignment.probes import probe_scores
from tl_entk.alignment.ranking import METRICS, resamples
from tl_entk.alignment.splitting import halves

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
    assert (wave.metric, big.metric) == ("r2", "ap")
    assert wave.scores["eNTK"].value > 0.99
    assert big.scores["eNTK"].value == pytest.approx(1)
    for row in table.rows:
        assert row.scores["eNTK"].value > row.scores["PCA"].value > row.scores["random"].value
        assert row.difference.low > 0
        for name in ("eNTK", "PCA", "random", "all activations"):
            judged = row.scores[name]
            assert judged.low <= judged.value <= judged.high
    assert table.rows[0].scores["random"].value < 0.1
    assert table.k == 4
    assert table.n_test == N // 2


def test_further_baselines_stand_beside_at_the_same_budget():
    wide = torch.from_numpy(HIDDEN)
    table = compare(baselines={"mine": wide, "narrow": wide[:, :2]})
    assert table.bases[:3] == ["eNTK", "PCA", "standardized PCA"]
    assert {"mine", "narrow"} < set(table.bases)
    twin = compare(baselines={"mine": tl_entk.pca_scores(wide, 4)})
    assert table.macro("mine", "ap") == twin.macro("mine", "ap")
    # every activation counts the same: PCA of HIDDEN's columns, which are about standardized
    standardized = tl_entk.pca_scores(ACTIVATIONS, 4, standardize=True)
    assert compare(baselines={"again": standardized}).macro("again", "ap") == table.macro(
        "standardized PCA", "ap"
    )
    with pytest.raises(ValueError, match="'PCA' has the name of another"):
        compare(baselines={"PCA": wide})


def test_a_baseline_of_other_examples_is_refused(untyped):
    with pytest.raises(ValueError, match="basis 'short' of 3 examples"):
        compare(baselines={"short": torch.zeros(3, 2)})


def test_ceiling_is_a_probe_on_all_activations():
    row = compare().rows[0]
    assert row.scores["all activations"].value > row.scores["PCA"].value
    assert row.scores["all activations"].value > 0.9


def test_real_probe_is_ridge_on_the_same_halves():
    train, test = halves(features(), seed=3)
    x = ACTIVATIONS.numpy()
    expected = r2_score(REAL[test], Ridge(1e-6).fit(x[train], REAL[train]).predict(x[test]))
    ours = compare(seed=3).rows[0].scores["all activations"].value
    assert ours == pytest.approx(expected, abs=0.02)


def test_bootstrap_by_counts_equals_bootstrap_by_rows():
    truth, predicted = REAL[:50], REAL[:50] + 0.4 * RNG.standard_normal((50, 2))
    times = resamples(50, 20, seed=1)
    samples = _mean_r2(truth, predicted, times.astype(float))
    drawn = [np.repeat(np.arange(50), row) for row in times]
    by_rows = [r2_score(truth[rows], predicted[rows]) for rows in drawn]
    np.testing.assert_allclose(samples, by_rows)
    with_itself = _mean_r2(truth, predicted, np.ones((1, 50)))
    assert with_itself[0] == pytest.approx(r2_score(truth, predicted))
    constant = np.eye(50)[:1] * 50  # one example, fifty times
    assert np.isnan(_mean_r2(truth, predicted, constant)).all()


def test_the_seed_fixes_everything():
    first = compare(seed=5).rows
    assert first == compare(seed=5).rows
    assert first != compare(seed=6).rows


def binary_features():
    """Three binary features in two families."""
    values = np.concatenate([BINARY, HIDDEN[:, 1:3] > 0.5], 1).astype(float)
    return FeatureSet(values, ("big", "wide", "deep"), ("size", "size", "depth"), ("x", "y", "z"))


def test_macro_is_the_mean_over_rows():
    table = probe_bases(
        {"PCA": tl_entk.pca_scores(ACTIVATIONS, 4), "random": tl_entk.random_directions(N, 4)},
        binary_features(),
        n_bootstrap=50,
        probe="ridge",
    )
    figures = [row.scores["PCA"].value for row in table.rows]
    assert table.macro("PCA").value == pytest.approx(np.mean(figures))
    assert table.macro("PCA", family="size").value == pytest.approx(np.mean(figures[:2]))
    assert table.macro("PCA", "ap", "depth") == table.rows[2].scores["PCA"]
    with pytest.raises(ValueError, match="no family"):
        table.macro("PCA", family="nothing")


def test_a_mean_is_of_one_metric():
    table = compare()
    wave, big = table.rows
    assert table.macro("PCA", "r2") == table.macro("PCA", family="waves") == wave.scores["PCA"]
    assert table.macro("PCA", "ap") == table.macro("PCA", family="tags") == big.scores["PCA"]
    assert table.difference("eNTK", "PCA", "r2") == wave.difference
    for mean in (lambda: table.macro("PCA"), lambda: table.difference("eNTK", "PCA")):
        with pytest.raises(ValueError, match="pass metric='ap' or 'r2'"):
            mean()


@pytest.mark.parametrize("probe", ["logistic", "ridge"])
def test_binary_features_have_every_metric_on_the_common_halves(probe):
    table = compare(probe=probe)
    wave, big = table.rows
    assert list(wave.metrics) == ["r2"]
    assert list(big.metrics) == list(METRICS)
    assert wave.metrics["r2"] == wave.scores
    assert big.metrics["ap"] == big.scores
    train, test = halves(features(), seed=0)
    x, truth = ACTIVATIONS.numpy(), BINARY[test, 0]
    score = probe_scores(x[train], BINARY[train], x[test], [True], probe)[:, 0]
    judged = {metric: bases["all activations"] for metric, bases in big.metrics.items()}
    assert judged["ap"].value == pytest.approx(average_precision_score(truth, score))
    assert judged["auroc"].value == pytest.approx(roc_auc_score(truth, score))
    first = truth[np.argsort(-score)][: int(truth.sum())].mean()
    assert judged["precision"].value == pytest.approx(first)
    assert judged["enrichment"].value == pytest.approx(first / truth.mean())
    assert judged["auroc"].low > 0.5


def test_one_ridge_fit_serves_all_features_as_well_as_one_each():
    x, targets = HIDDEN[:120], np.concatenate([REAL, BINARY], 1)[:120]
    together = probe_scores(x, targets, HIDDEN[120:], [False, False, True], "ridge")
    for i in range(3):
        alone = probe_scores(x, targets[:, [i]], HIDDEN[120:], [i == 2], "ridge")
        np.testing.assert_allclose(together[:, [i]], alone)


def test_a_group_of_binary_features_is_judged_by_their_mean():
    values = np.concatenate([BINARY, HIDDEN[:, [1]] > 0.5], 1).astype(float)
    names = ("big", "wide")
    scores = torch.from_numpy(HIDDEN[:, :3])
    alone, together = (
        tl_entk.compare(
            scores,
            FeatureSet(values, names, names, groups),
            ACTIVATIONS,
            n_bootstrap=20,
            probe="ridge",
        )
        for groups in (names, ("size", "size"))
    )
    for metric in METRICS:
        for basis in ("eNTK", "PCA", "random", "all activations"):
            mean = np.mean([row.metrics[metric][basis].value for row in alone.rows])
            assert together.rows[0].metrics[metric][basis].value == pytest.approx(mean)


def test_a_difference_is_paired():
    table = compare()
    for metric in ("ap", "r2"):
        difference = table.difference("eNTK", "PCA", metric)
        ours, theirs = (table.macro(basis, metric).value for basis in ("eNTK", "PCA"))
        assert difference.value == pytest.approx(ours - theirs)
        assert difference.low > 0
        itself = table.difference("PCA", "PCA", metric)
        assert itself.low == itself.high == 0
    assert table.difference("eNTK", "PCA", family="tags") == table.rows[1].difference
    # one basis under two names: both uncertain, and their difference not at all
    twice = tl_entk.compare(
        tl_entk.pca_scores(ACTIVATIONS, 4), features(), ACTIVATIONS, n_bootstrap=50
    )
    for metric in ("ap", "r2"):
        macro = twice.macro("eNTK", metric)
        assert macro.high - macro.low > 0.05
        none = twice.difference("eNTK", "PCA", metric)
        assert none.low == none.value == none.high == 0


def test_macro_has_the_interval_of_the_mean():
    table = compare()
    assert table.macro("PCA", family="tags") == table.rows[1].scores["PCA"]
    auroc = table.macro("PCA", "auroc", "tags")
    assert auroc == table.rows[1].metrics["auroc"]["PCA"]
    assert table.macro("PCA", "auroc") == auroc
    with pytest.raises(ValueError, match="no features of waves have 'auroc': choose another"):
        table.macro("PCA", "auroc", "waves")
    with pytest.raises(ValueError, match="no metric 'f1'"):
        table.macro("PCA", "f1")
    with pytest.raises(ValueError, match="no basis 'entk': there are eNTK"):
        table.difference("entk", "PCA", "ap")


@pytest.mark.parametrize("probe", ["logistic", "ridge"])
def test_no_basis_knows_labels_that_were_shuffled(probe):
    rng = np.random.default_rng(3)
    labels = np.stack([rng.permutation(np.arange(N) % 4 == 0) for _ in range(4)], 1)
    names = tuple("abcd")
    table = tl_entk.compare(
        torch.from_numpy(HIDDEN[:, :3]),
        FeatureSet(labels, names, ("t",) * 4, names),
        ACTIVATIONS,
        n_bootstrap=100,
        probe=probe,
    )
    for basis in ("eNTK", "PCA", "random", "all activations"):
        macro = table.macro(basis, "auroc")
        # four features: three standard errors of their mean
        assert abs(macro.value - 0.5) < 3 * 0.06 / np.sqrt(4)
        inside = [
            r.metrics["auroc"][basis].low < 0.5 < r.metrics["auroc"][basis].high for r in table.rows
        ]
        assert sum(inside) >= 3


def test_eigendirections_bring_their_provenance():
    matrix = torch.from_numpy(HIDDEN @ HIDDEN.T)
    eigen = tl_entk.eigendecompose(matrix, 3, provenance={"component": "blocks.0"})
    table = tl_entk.compare(eigen, features(), ACTIVATIONS, n_bootstrap=10)
    assert table.provenance["component"] == "blocks.0"
    assert table.provenance["n_bootstrap"] == 10


def test_truth_values_are_binary_features():
    ones = FeatureSet(BINARY.astype(bool), ("is big",), ("tags",), ("is big",))
    table = tl_entk.compare(torch.from_numpy(HIDDEN), ones, ACTIVATIONS, n_bootstrap=10)
    assert table.rows[0].metric == "ap"


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
    with pytest.raises(ValueError, match="pass 'logistic' or 'ridge'"):
        compare(probe="svm")
    with pytest.raises(ValueError, match="pass 1 or more"):
        compare(n_bootstrap=0)


def test_pca_is_the_eigenbasis_of_the_centered_gram_matrix():
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
    assert table.macro("eNTK", family="a+b").value > 0.999
    assert table.macro("eNTK", family="a-b").value < 0.2
    assert table.macro("all activations", family="a-b").value > 0.999


def test_bases_of_ones_own_are_probed_as_compare_does():
    table = compare()
    scores = torch.from_numpy(np.concatenate([REAL, BINARY, HIDDEN], 1)[:, :4])
    bases = {"ours": scores, "theirs": tl_entk.pca_scores(ACTIVATIONS, 4)}
    found = probe_bases(bases, features(), n_bootstrap=100)
    assert found.bases == ["ours", "theirs"]
    for row, other in zip(found.rows, table.rows, strict=True):
        assert row.scores == {"ours": other.scores["eNTK"], "theirs": other.scores["PCA"]}
        assert row.difference == other.difference
    with pytest.raises(ValueError, match="1 bases: pass two or more"):
        probe_bases({"ours": scores}, features())
    with pytest.raises(ValueError, match="basis 'short' of 3 examples"):
        probe_bases({"ours": scores, "short": scores[:3]}, features())


def test_a_layer_is_chosen_by_probes_judged_on_the_other_half_of_these_examples():
    """Noise of many columns fits one half of the examples and must not be preferred."""
    binary = FeatureSet(BINARY, ("is big",), ("tags",), ("is big",))
    noise = torch.from_numpy(np.random.default_rng(5).standard_normal((N, N // 2)))
    known = probe_validation(torch.from_numpy(HIDDEN[:, :1]), binary)
    assert known > 0.7 > 0.5 > probe_validation(noise, binary)
    train, test = halves(binary)
    expected = average_precision_score(
        BINARY[test, 0], Ridge().fit(HIDDEN[train, :1], BINARY[train, 0]).predict(HIDDEN[test, :1])
    )
    # one column: ridge of any strength ranks alike
    assert known == pytest.approx(expected)
