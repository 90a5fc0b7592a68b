import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import average_precision_score, roc_auc_score

from tl_entk.alignment.bootstrap import Samples, rows_of
from tl_entk.alignment.ranking import METRICS, Ranking, resamples

pytestmark = pytest.mark.plain

TIGHT = dict(rtol=0, atol=1e-12)


def plain_hits(scores, labels, weights, quota):
    """Expected weight of positives among the first ``quota``, one distinct score at a time."""
    left, hits = quota, 0.0
    for value in sorted(set(scores), reverse=True):
        tied = scores == value
        size = weights[tied].sum()
        taken = min(left, size)
        hits += (weights * labels)[tied].sum() * (taken / size if size else 0)
        left -= taken
    return hits


@st.composite
def cases(draw):
    """Scores from few values, so heavily tied, labels of both kinds, weights some of them zero."""
    n = draw(st.integers(2, 14))
    scores = draw(arrays.arrays(np.int64, n, elements=st.integers(-3, 3))) / 4
    labels = draw(arrays.arrays(np.int64, n, elements=st.integers(0, 1))).astype(float)
    labels[:2] = 0, 1
    times = draw(arrays.arrays(np.int64, n, elements=st.integers(0, 3))).astype(float)
    times[:2] += 1
    order = draw(st.permutations(range(n)))
    return scores[order], labels[order], times[order]


def ranking_metrics(scores, labels, weights=None):
    """Every metric of every column and feature: (c, f), with weights (c, f, b)."""
    labels = labels.reshape(len(labels), -1)
    times = None if weights is None else weights.T.astype(float)
    found = [
        [Ranking(column).curve(label[:, None], times).metrics() for label in labels.T]
        for column in scores.T
    ]
    shape = (scores.shape[1], labels.shape[1], *(() if weights is None else weights.shape[:1]))
    return {m: np.array([[one[m] for one in row] for row in found]).reshape(shape) for m in METRICS}


@settings(max_examples=100, deadline=None)
@given(cases(), st.sampled_from([1.0, 0.37]))
def test_every_metric_is_the_plain_one_with_ties_and_weights(case, unit):
    scores, labels, times = case
    weights = times * unit
    found = ranking_metrics(scores[:, None], labels, weights[None])
    quota, size = (weights * labels).sum(), weights.sum()
    precision = plain_hits(scores, labels, weights, quota) / quota
    expected = {
        "ap": average_precision_score(labels, scores, sample_weight=weights),
        "auroc": roc_auc_score(labels, scores, sample_weight=weights),
        "precision": precision,
        "enrichment": precision / (quota / size),
    }
    for metric in METRICS:
        np.testing.assert_allclose(found[metric][0, 0], expected[metric], err_msg=metric, **TIGHT)


@settings(max_examples=50, deadline=None)
@given(cases())
def test_either_sign_from_one_order(case):
    scores, labels, _ = case
    both = Ranking(scores).average_precisions(labels[:, None])
    expected = [average_precision_score(labels, sign * scores) for sign in (1, -1)]
    np.testing.assert_allclose(both[:, 0], expected, **TIGHT)


def test_columns_by_features_by_resamples():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((60, 3))
    scores[:, 2] = scores[:, 2].round()
    labels = (rng.random((60, 4)) < 0.3).astype(float)
    times = resamples(60, 5, seed=1)
    plain = ranking_metrics(scores, labels)
    drawn = ranking_metrics(scores, labels, times)
    assert plain["ap"].shape == (3, 4)
    assert drawn["ap"].shape == (3, 4, 5)
    rows = np.repeat(np.arange(60), times[2])
    for c in range(3):
        for f in range(4):
            truth, score = labels[:, f], scores[:, c]
            for metric, measure in (("ap", average_precision_score), ("auroc", roc_auc_score)):
                np.testing.assert_allclose(plain[metric][c, f], measure(truth, score), **TIGHT)
                np.testing.assert_allclose(
                    drawn[metric][c, f, 2], measure(truth[rows], score[rows]), **TIGHT
                )


def test_ties_at_the_cut_count_by_their_expected_share():
    scores, labels = np.array([[2.0], [1], [1], [1], [0]]), np.array([1.0, 1, 0, 0, 0])
    found = ranking_metrics(scores, labels)
    assert found["precision"][0] == pytest.approx((1 + 1 / 3) / 2)
    assert found["enrichment"][0] == pytest.approx((1 + 1 / 3) / 2 / (2 / 5))
    everything_tied = ranking_metrics(np.zeros((5, 1)), labels)
    assert everything_tied["enrichment"][0] == pytest.approx(1)


def test_single_precision_labels_give_single_precision_figures():
    rng = np.random.default_rng(0)
    ranking, labels = Ranking(rng.standard_normal(300)), rng.random((300, 4)) < 0.2
    single = ranking.average_precisions(labels.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, ranking.average_precisions(labels.astype(float)), atol=1e-6)


def test_one_class_has_no_figure():
    found = ranking_metrics(np.arange(3.0)[:, None], np.array([[0.0, 1], [0, 1], [0, 1]]))
    assert all(np.isnan(found[metric]).all() for metric in METRICS)


def test_resamples_are_seeded_draws():
    times = resamples(50, 20, seed=3)
    assert (times.sum(1) == 50).all()
    np.testing.assert_array_equal(times, resamples(50, 20, seed=3))
    assert not np.array_equal(times, resamples(50, 20, seed=4))


def interval(labels, scores, metric, times):
    """The macro mean over columns, with its interval."""
    cases = [
        ranking_metrics(s[:, None], y, times)[metric][0, 0]
        for y, s in zip(labels.T, scores.T, strict=True)
    ]
    found = np.stack(cases, 1)
    return Samples(found[0], found[1:], METRICS[metric]).mean(range(len(cases)))


@pytest.mark.parametrize(("metric", "features"), [("auroc", 1), ("ap", 1), ("ap", 8)])
def test_intervals_cover_the_expected_figure(metric, features):
    n, runs, base = 200, 60, 0.1
    rng = np.random.default_rng(1)
    times = np.concatenate([np.ones((1, n)), resamples(n, 150, seed=0)])
    labels = np.zeros((n, features))
    labels[: round(base * n)] = 1
    judged = [
        interval(labels, rng.standard_normal((n, features)) + labels, metric, times)
        for _ in range(runs)
    ]
    expected = np.mean([one.value for one in judged])
    covered = np.mean([one.low <= expected <= one.high for one in judged])
    # two standard errors of 95 % in 60 runs, and the small sample on top
    assert 0.87 < covered <= 1


def test_an_interval_stays_within_what_a_figure_can_be():
    resampled = np.array([[0.8], [0.9], [1.0], [1.0]])
    assert Samples(np.array([1.0]), resampled, (0.0, 1.0)).mean([0]).high == 1
    assert Samples(np.array([1.0]), resampled).mean([0]).high > 1


def test_resamples_without_a_figure_are_left_out():
    nan = np.nan
    samples = Samples(np.array([0.5, 0.3]), np.array([[0.4, nan], [0.6, 0.2], [nan, nan]]))
    assert samples.mean([0]).high == pytest.approx(0.595)
    macro = samples.mean([0, 1])
    assert macro.value == pytest.approx(0.4)
    assert macro.low == macro.high == pytest.approx(0.4)
    assert np.isnan(Samples(np.array([0.5]), np.array([[nan]])).mean([0]).low)


def test_rows_of_a_family():
    assert rows_of(["a", "b", "a"], None) == [0, 1, 2]
    with pytest.raises(ValueError, match=r"there are \['a', 'b'\]"):
        rows_of(["a", "b"], "c")
