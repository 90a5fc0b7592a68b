"""Controls tell apart what was planted in the prediction, in the activations, in the weights."""

import numpy as np
import pytest
import torch

import tl_entk
from feature_sets import FeatureSet
from tests.models import T, V, build
from tl_entk.alignment.controls import center_within, shared_groups, varying_labels
from tl_entk.alignment.model_baselines import baseline_scores
from tl_entk.alignment.splitting import halves, too_rare
from tl_entk.model.last_logits import last_logits

N, K = 400, 6
RNG = np.random.default_rng(0)


def binary(*columns, names=None):
    names = names or tuple(f"label {i}" for i in range(len(columns)))
    values = np.stack([np.asarray(column, float) for column in columns], 1)
    return FeatureSet(values, names, names, names)


# --- scores within a group -------------------------------------------------------------------


def test_nothing_is_left_of_what_only_the_group_tells():
    groups = RNG.integers(0, 9, N).tolist()
    of_group = torch.tensor([[float(group), group**2] for group in groups])
    assert (center_within(of_group, groups) == 0).all()
    other = torch.from_numpy(RNG.standard_normal((N, 2)))
    left = center_within(of_group + other, groups)
    torch.testing.assert_close(left, center_within(other, groups))
    for group in set(groups):
        rows = [i for i, g in enumerate(groups) if g == group]
        assert left[rows].mean(0).abs().max() < 1e-12


def test_groups_of_another_number_are_refused():
    with pytest.raises(ValueError, match="2 groups for 3 examples"):
        center_within(torch.zeros(3, 1), ["a", "b"])
    with pytest.raises(ValueError, match="2 groups for 4 examples"):
        varying_labels(binary([0, 1, 0, 1]), ["a", "b"])


def test_labels_vary_only_where_a_group_has_both():
    groups = ["a"] * 10 + ["b"] * 10 + ["c"] * 20
    constant = [1] * 10 + [0] * 30
    mixed = [1] * 10 + [0, 1] * 5 + [0] * 20
    found = binary(constant, mixed)
    assert varying_labels(found, groups, least=5) == ["label 1"]
    assert varying_labels(found, groups, least=6) == []
    assert shared_groups(["x", *groups, "y"]).tolist() == list(range(1, 41))


def test_groups_may_be_tensors_or_arrays():
    groups = RNG.integers(0, 9, N)
    labels, scores = binary(RNG.random(N) < 0.5), torch.from_numpy(RNG.standard_normal((N, 2)))
    for given in (groups, torch.from_numpy(groups)):
        torch.testing.assert_close(
            center_within(scores, given), center_within(scores, groups.tolist())
        )
        np.testing.assert_array_equal(
            halves(labels, groups=given)[0], halves(labels, groups=groups.tolist())[0]
        )
        assert len(shared_groups(given)) == N
        ours, expected = (
            tl_entk.best_directions(scores, labels, n_permutations=0, n_bootstrap=50, groups=g)
            for g in (given, groups.tolist())
        )
        assert ours.rows == expected.rows  # the intervals too: whole groups are drawn


# --- a split that keeps groups together ------------------------------------------------------


def test_no_group_lies_in_both_halves_and_the_halves_are_even():
    groups = RNG.integers(0, 60, N).tolist()
    labels = binary(RNG.random(N) < 0.3)
    train, test = halves(labels, groups=groups)
    assert sorted([*train, *test]) == list(range(N))
    assert not {groups[i] for i in train} & {groups[i] for i in test}
    assert abs(len(train) - len(test)) < N / 10
    shares = [labels.values[half].mean() for half in (train, test)]
    assert shares[0] == pytest.approx(shares[1], abs=0.1)
    assert not np.array_equal(train, halves(labels, groups=groups, seed=1)[0])
    np.testing.assert_array_equal(train, halves(labels, groups=groups)[0])


def test_a_label_of_one_group_is_too_rare():
    groups = (np.arange(N) // 40).tolist()
    labels = binary(np.array(groups) == 3, RNG.random(N) < 0.5)
    assert too_rare(labels, groups=groups) == ["label 0"]
    assert too_rare(labels) == []


@pytest.mark.parametrize(
    ("groups", "split", "message"),
    [
        (["a"] * N, 0.5, "all examples are of one group"),
        (["a", "b"], 0.5, f"2 groups for {N} examples"),
        (list(range(N)), 0.3, "parted into halves, pass 0.5"),
    ],
)
def test_groups_that_cannot_be_parted_are_refused(groups, split, message):
    with pytest.raises(ValueError, match=message):
        halves(binary(RNG.random(N) < 0.5), split, groups=groups)


# --- what was planted where ------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted():
    """A model, its windows' predicted tokens, and three labels.

    One label is of the predicted token, one of a direction of the residual stream that is no
    leading one of the prediction, one of a leading direction of a kernel of weights.
    """
    model = build("hf:gemma3")
    tokens = torch.randint(0, V, (N, T), generator=torch.Generator().manual_seed(3))
    predicted = last_logits(model, tokens).argmax(1).tolist()
    scores = baseline_scores(model, tokens, K, layers=[0, 1])
    kernel = tl_entk.kernel_blocks(model, tokens, "logsumexp", "blocks.0.attn.W_Q")
    eigen = tl_entk.eigendecompose(kernel.total(), K)
    counts = np.bincount(predicted)
    common = np.flatnonzero(counts > 20)
    of_token = np.isin(predicted, common[: len(common) // 2])
    of_activation = (scores["PCA"]["0"][:, 1] > 0).numpy()
    left = center_within(eigen.scores[:, 1:2], predicted).flatten()
    of_weights = (left > left.median()).numpy()
    labels = binary(
        of_token, of_activation, of_weights, names=("prediction", "activations", "weights")
    )
    methods = {"kernel": eigen.scores, "unembedding": scores["predicted unembedding"]["all"]}
    return labels, methods | {"PCA": scores["PCA"]["0"]}, predicted


def found(scores, labels, name, groups=None):
    """Lead of the best direction's AP over the base rate, as a share of what there is to gain."""
    table = tl_entk.best_directions(scores, labels, n_permutations=0, groups=groups)
    (row,) = [row for row in table.rows if row.feature == name]
    rate = row.positives / table.n_test
    return (row.ap.value - rate) / (1 - rate)


def test_each_is_found_where_it_was_planted(planted):
    labels, methods, _ = planted
    assert found(methods["unembedding"], labels, "prediction") > 0.6
    assert found(methods["PCA"], labels, "activations") > 0.95
    assert found(methods["kernel"], labels, "weights") > 0.5


def test_within_a_predicted_token_the_prediction_is_gone_and_the_rest_stays(planted):
    labels, methods, predicted = planted
    rows = shared_groups(predicted)
    groups = [predicted[i] for i in rows]
    left = {name: center_within(scores[rows], groups) for name, scores in methods.items()}
    inside = labels.rows(rows)
    varying = varying_labels(inside, groups)
    assert varying == ["activations", "weights"]  # the planted token says the same all over a group
    for scores in left.values():
        assert found(scores, inside, "prediction") < 0.25
    # all scores are the same: its AP is the base rate, whatever the label
    assert (left["unembedding"] == 0).all()
    assert found(left["unembedding"], inside, "activations") == pytest.approx(0)
    assert found(left["PCA"], inside, "activations") > 0.5
    assert found(left["kernel"], inside, "weights") > 0.5


def test_what_only_the_weights_tell_no_baseline_finds(planted):
    labels, methods, _ = planted
    for name in ("unembedding", "PCA"):
        assert found(methods[name], labels, "weights") < found(methods["kernel"], labels, "weights")


def test_with_tokens_apart_a_token_that_was_learned_by_heart_is_not_found(planted):
    labels, methods, predicted = planted
    # a column for every token: the best of them knows a token of the train half by heart
    by_heart = torch.nn.functional.one_hot(torch.tensor(predicted)).double()
    noise = torch.from_numpy(np.random.default_rng(1).standard_normal(by_heart.shape))
    scores = by_heart + 1e-3 * noise
    mixed, apart = (found(scores, labels, "prediction", g) for g in (None, predicted))
    assert mixed > apart + 0.05
    assert found(methods["PCA"], labels, "activations", predicted) > 0.9
