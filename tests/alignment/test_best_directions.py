import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

import tl_entk
from feature_sets import FeatureSet
from tl_entk.alignment.best_directions import LayerDirection
from tl_entk.alignment.ranking import resamples
from tl_entk.alignment.splitting import _find_strata, halves

pytestmark = pytest.mark.plain

N = 400
RNG = np.random.default_rng(0)
TAGS = np.eye(4)[RNG.integers(0, 4, N)][:, :3]  # the fourth: no tag at all
PLURAL = (RNG.random((N, 1)) < 0.3).astype(float)
NAMES = ("NOUN", "VERB", "DET", "plural")
FEATURES = FeatureSet(np.concatenate([TAGS, PLURAL], 1), NAMES, ("tag",) * 3 + ("number",), NAMES)
NOISE = RNG.standard_normal((N, 6))
PLANTED = NOISE.copy()
PLANTED[:, 2] -= 3 * TAGS[:, 1]
PLANTED[:, 4] += 2 * PLURAL[:, 0]


def best(scores=PLANTED, features=FEATURES, **arguments):
    settings = {"n_bootstrap": 100, "n_permutations": 0, **arguments}
    return tl_entk.best_directions(torch.from_numpy(scores), features, **settings)


def single(labels):
    return FeatureSet(labels.reshape(-1, 1), ("f",), ("t",), ("f",))


# the split


def test_halves_keep_the_proportions_of_exclusive_labels():
    train, test = halves(FEATURES, seed=1)
    assert sorted([*train, *test]) == list(range(N))
    strata = np.append(TAGS, 1 - TAGS.sum(1, keepdims=True), 1)
    assert np.abs(strata[train].sum(0) - strata[test].sum(0)).max() <= 1
    assert not np.array_equal(train, halves(FEATURES, seed=2)[0])


def test_labels_that_go_together_are_not_stratified_by():
    both = np.array([[1.0, 1], [1, 0], [0, 1], [0, 0]] * 6)
    features = FeatureSet(both, ("a", "b"), ("t", "t"), ("a", "b"))
    positives = {both[halves(features, seed=seed)[0], 0].sum() for seed in range(8)}
    assert len(positives) > 1


def test_a_real_feature_and_a_binary_one_are_stratified_by_the_binary_one():
    values = np.stack([np.arange(40.0), np.arange(40) % 10 == 0], 1)
    features = FeatureSet(values, ("real", "tenth"), ("x", "x"), ("real", "tenth"))
    for seed in range(5):
        train, test = halves(features, seed=seed)
        assert values[train, 1].sum() == values[test, 1].sum() == 2


def test_strata_of_one_example_are_merged():
    tags = np.eye(5)[np.repeat(np.arange(5), [1, 1, 5, 5, 8])][:, :4]
    names = ("a", "b", "c", "d")
    strata = _find_strata(FeatureSet(tags, names, ("t",) * 4, names))
    assert np.bincount(np.unique(strata, return_inverse=True)[1]).tolist() == [5, 5, 8, 2]
    # one alone has none to merge with and joins the largest stratum
    strata = _find_strata(FeatureSet(tags[1:, 1:], names[1:], ("t",) * 3, names[1:]))
    assert sorted(np.unique(strata, return_counts=True)[1]) == [5, 5, 9]


def test_rare_features_are_refused_by_name():
    rare = np.zeros(N)
    rare[:3] = 1
    with pytest.raises(ValueError, match=r"'f' has 1 positives .* too rare to split; drop it"):
        halves(single(rare))
    with pytest.raises(ValueError, match="leaves one half empty"):
        halves(FEATURES, split=0.0001)


# the choice


def test_planted_directions_are_found_with_their_sign():
    table = best(columns=[f"layer {i}" for i in range(6)], n_permutations=99)
    _, verb, _, plural = table.rows
    assert (verb.direction, verb.column, verb.sign) == (2, "layer 2", -1)
    assert (plural.direction, plural.sign, plural.family) == (4, 1, "number")
    assert verb.ap.value > 0.9 > 0.5 > table.rows[0].ap.value
    assert verb.p_value == plural.p_value == 0.01
    assert table.rows[0].p_value > 0.05
    assert (table.k, table.n_test) == (6, N // 2)
    for metric in ("ap", "auroc", "precision", "enrichment"):
        judged = getattr(verb, metric)
        assert judged.low <= judged.value <= judged.high


def test_a_row_knows_layer_and_index_of_its_direction():
    two_layers = [LayerDirection(str(i // 3), i % 3) for i in range(6)]
    _, verb, _, plural = best(columns=two_layers).rows
    assert (verb.place, verb.column) == (LayerDirection("0", 2), "layer 0, direction 2")
    assert (plural.place, plural.direction) == (LayerDirection("1", 1), 4)
    assert best().rows[1].place == LayerDirection(None, 2)


def test_every_figure_is_scikit_learns_on_the_test_half():
    train, test = halves(FEATURES, seed=0)
    for i, row in enumerate(best().rows):
        labels = FEATURES.values[:, i]
        choices = {
            (c, s): average_precision_score(labels[train], s * PLANTED[train, c])
            for c in range(6)
            for s in (1, -1)
        }
        assert max(choices, key=choices.get) == (row.direction, row.sign)
        assert row.train_ap == pytest.approx(max(choices.values()), abs=1e-12)
        score, truth = row.sign * PLANTED[test, row.direction], labels[test]
        assert row.ap.value == pytest.approx(average_precision_score(truth, score), abs=1e-12)
        assert row.auroc.value == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
        first = truth[np.argsort(-score)][: int(truth.sum())]
        assert row.precision.value == pytest.approx(first.mean())
        assert row.enrichment.value == pytest.approx(first.mean() / truth.mean())
        assert row.positives == truth.sum()


def test_the_test_half_has_no_say_in_the_choice():
    _, test = halves(FEATURES, seed=0)
    scores = NOISE.copy()
    scores[test, 5] = FEATURES.values[test, 1]  # perfect, but only where it is judged
    found = best(scores)
    scores[test] = 0
    blind = best(scores)
    for choice in ("direction", "sign", "train_ap"):
        assert [getattr(r, choice) for r in found.rows] == [getattr(r, choice) for r in blind.rows]
    assert found.rows[1].direction != 5
    assert found.rows[1].ap.value < 0.5


def test_one_column_twice_changes_nothing():
    once, twice = best(NOISE), best(np.concatenate([NOISE, NOISE], 1))
    assert once.rows == twice.rows


def test_whole_groups_are_drawn_anew():
    groups = (np.arange(N) // 3).tolist()
    table, (_, test) = best(groups=groups, n_bootstrap=20), halves(FEATURES, groups=groups)
    order = list(dict.fromkeys(groups[i] for i in test))
    numbers = np.array([order.index(groups[i]) for i in test])
    for i, row in enumerate(table.rows):
        score, truth = row.sign * PLANTED[test, row.direction], FEATURES.values[test, i]
        expected = [
            average_precision_score(truth, score, sample_weight=times)
            for times in resamples(len(test), 20, 0, numbers)
        ]
        np.testing.assert_allclose(table.samples["ap"].resampled[:, i], expected)


def test_the_summary_names_the_best_feature():
    table = best()
    row = max(table.rows, key=lambda row: row.ap.value)
    macro = table.macro()
    assert f"best {row.feature}: {row.ap.value:.2f} by {row.column}" in repr(table)
    assert f"mean AP {macro.value:.2f} ({macro.low:.2f} to {macro.high:.2f})" in repr(table)


def test_a_notebook_shows_the_best_feature_first():
    shown = best()._shown_table()
    assert list(shown.ap) == sorted((row.ap.value for row in best().rows), reverse=True)


def test_eigendirections_bring_scores_and_provenance():
    matrix = torch.from_numpy(PLANTED @ PLANTED.T)
    eigen = tl_entk.eigendecompose(matrix, 3, provenance={"component": "W"})
    table = tl_entk.best_directions(eigen, FEATURES, n_bootstrap=5, n_permutations=3)
    assert table.rows == best(eigen.scores.numpy(), n_bootstrap=5, n_permutations=3).rows
    assert table.provenance == {
        "component": "W",
        "split": 0.5,
        "seed": 0,
        "n_bootstrap": 5,
        "n_permutations": 3,
    }


# the null


def test_of_shuffled_labels_p_is_uniform_and_auroc_a_half():
    rng = np.random.default_rng(5)
    p, covered = [], []
    for seed in range(12):
        labels = (rng.random((120, 5)) < rng.uniform(0.15, 0.5, 5)).astype(float)
        names = tuple("abcde")
        features = FeatureSet(labels, names, names, names)
        scores = rng.standard_normal((120, 8))
        table = best(scores, features, seed=seed, n_permutations=39)
        p += [row.p_value for row in table.rows]
        covered += [row.auroc.low <= 0.5 <= row.auroc.high for row in table.rows]
    p = np.array(p)
    assert min(p) >= 1 / 40
    for level in (0.1, 0.25, 0.5, 0.75):
        # three standard errors of a share of 60
        assert abs((p <= level).mean() - level) < 3 * np.sqrt(level * (1 - level) / 60)
    assert np.mean(covered) > 0.85


def test_permutations_that_tie_with_the_labels_do_as_well():
    table = best(np.zeros((N, 2)), n_permutations=9)  # every order of the examples is the same
    assert [row.p_value for row in table.rows] == [1.0] * 4


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("count", [-1, 1.5])
def test_a_number_of_permutations_is_none_or_more(count):
    with pytest.raises(ValueError, match=f"n_permutations = {count}"):
        best(n_permutations=count)


def test_p_is_that_of_the_plain_loop():
    """Labels shuffled in either half and the choice made anew, one permutation at a time."""
    count = 9
    labels = FEATURES.values
    train, test = halves(FEATURES, seed=0)

    def test_ap(first, second):
        figures = []
        for y, z in zip(first.T, second.T, strict=True):
            choices = [(c, s) for c in range(6) for s in (1, -1)]
            c, s = max(choices, key=lambda x: average_precision_score(y, x[1] * NOISE[train, x[0]]))
            figures.append(average_precision_score(z, s * NOISE[test, c]))
        return np.array(figures)

    rng = np.random.default_rng([0, 1])
    observed = test_ap(labels[train], labels[test])
    null = [
        test_ap(rng.permutation(labels[train]), rng.permutation(labels[test])) for _ in range(count)
    ]
    expected = (1 + (np.array(null) >= observed - 1e-12).sum(0)) / (1 + count)
    table = best(NOISE, n_permutations=count)
    np.testing.assert_allclose([row.p_value for row in table.rows], expected)


# means and differences


def test_macro_is_the_mean_with_an_interval_of_the_mean():
    table = best()
    aps = [row.ap.value for row in table.rows]
    macro = table.macro()
    assert macro.value == pytest.approx(np.mean(aps))
    assert table.macro("auroc", "tag").value == pytest.approx(
        np.mean([row.auroc.value for row in table.rows[:3]])
    )
    assert table.macro(family="number") == table.rows[3].ap
    assert macro.high - macro.low < max(row.ap.high - row.ap.low for row in table.rows)


def test_differences_are_paired():
    planted, noise = best(), best(NOISE)
    difference = planted.difference(noise)
    assert difference.value == pytest.approx(planted.macro().value - noise.macro().value)
    assert difference.low > 0
    assert planted.feature_difference(noise, "VERB", "auroc").low > 0
    same = planted.difference(best(2 * PLANTED, n_permutations=3))
    assert same.low == same.value == same.high == 0
    # the plain twin: figures of both on the rows that one resample draws
    _, test = halves(FEATURES, seed=0)
    rows = np.repeat(test, resamples(len(test), 100, seed=0)[7])
    ours, theirs = (
        average_precision_score(FEATURES.values[rows, 1], r.sign * scores[rows, r.direction])
        for scores, r in ((PLANTED, planted.rows[1]), (NOISE, noise.rows[1]))
    )
    paired = planted.samples["ap"] - noise.samples["ap"]
    assert paired.resampled[7, 1] == pytest.approx(ours - theirs)


def test_tables_that_are_not_paired_are_refused():
    table = best()
    for other in ({"seed": 1}, {"split": 0.6}, {"n_bootstrap": 50}):
        with pytest.raises(ValueError, match=r"not paired: make both with the same"):
            table.difference(best(**other))
    with pytest.raises(ValueError, match="other features"):
        table.difference(best(features=FEATURES.family("tag")))
    flipped = FeatureSet(1 - FEATURES.values, *(3 * [NAMES]))
    with pytest.raises(ValueError, match="other features or examples"):
        table.feature_difference(best(features=flipped), "VERB")
    with pytest.raises(ValueError, match="no feature 'verb'"):
        table.feature_difference(table, "verb")
    with pytest.raises(ValueError, match="no metric 'f1': there are ap"):
        table.macro("f1")
    with pytest.raises(ValueError, match="no family"):
        table.macro(family="mood")


def test_the_seed_fixes_everything():
    assert best(seed=3, n_permutations=9).rows == best(seed=3, n_permutations=9).rows
    assert best(seed=3).rows != best(seed=4).rows


@pytest.mark.usefixtures("untyped")
def test_refusals():
    with pytest.raises(ValueError, match="examples in the same order"):
        best(PLANTED[:50])
    with pytest.raises(ValueError, match="one column or more"):
        best(PLANTED[:, :0])
    with pytest.raises(ValueError, match="not finite"):
        best(PLANTED * np.nan)
    with pytest.raises(ValueError, match="2 names for 6 columns"):
        best(columns=["a", "b"])
    with pytest.raises(ValueError, match="pass 1 or more"):
        best(n_bootstrap=0)
    real = FeatureSet(NOISE[:, :1], ("depth",), ("tree",), ("depth",))
    with pytest.raises(ValueError, match=r"these are real: depth. Use compare"):
        best(features=real)
