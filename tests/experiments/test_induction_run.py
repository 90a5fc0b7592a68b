"""Induction heads: a training that goes on, a run from start to end, and what is said of seeds."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch

from tests.experiments.small_induction import SMALL
from tl_entk.experiments.induction import training
from tl_entk.experiments.induction.analysis import InductionResult, run_induction
from tl_entk.experiments.induction.comparison import (
    LAYER,
    correlations_over_seeds,
    half_way,
    leading,
    rank_correlation,
    rises,
)
from tl_entk.experiments.induction.data import draw_sequences
from tl_entk.experiments.induction.model import AttentionOnly
from tl_entk.experiments.induction.settings import InductionSettings
from tl_entk.experiments.induction.training import kept_steps, train_attention_only
from tl_entk.experiments.records import recall, store
from tl_entk.experiments.seeds import mean_over_seeds
from tl_entk.tools.files import read_tensors

pytestmark = pytest.mark.plain


def weights_at(path):
    return read_tensors(path).tensors


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return run_induction(SMALL, tmp_path_factory.mktemp("run"))


def test_an_interrupted_training_goes_on_with_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "RESUME_EVERY", 2)
    straight = train_attention_only(SMALL, tmp_path / "straight")
    step, taken = training._Run.step, []

    def stop(run):
        if len(taken) == 5:
            raise KeyboardInterrupt
        taken.append(1)
        step(run)

    monkeypatch.setattr(training._Run, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        train_attention_only(SMALL, tmp_path / "twice")
    taken.clear()
    again = train_attention_only(SMALL, tmp_path / "twice")
    assert len(taken) == 2  # steps 5 and 6: the state of step 4 was there
    assert again.curve == straight.curve
    assert list(again.checkpoints) == kept_steps(SMALL) == [0, 2, 4, 6]
    for step_, path in straight.checkpoints.items():
        for name, weight in weights_at(path).items():
            assert torch.equal(weights_at(again.checkpoints[step_])[name], weight), (step_, name)
    # a finished one is reused
    taken[:] = [1] * 5
    assert train_attention_only(SMALL, tmp_path / "twice").curve == straight.curve


def test_training_learns(tmp_path):
    settings = replace(SMALL, steps=90, batch_size=32, learning_rate=1e-2)
    curve = train_attention_only(settings, tmp_path).curve
    assert curve.repeated[-1] < 0.9 * curve.repeated[0]
    assert curve.step == [0, 30, 60, 90]


def test_a_training_that_diverges_names_what_to_change(tmp_path):
    with pytest.raises(ValueError, match=r"learning_rate = .*: pass less"):
        train_attention_only(replace(SMALL, learning_rate=1e30), tmp_path)


def test_a_run_is_stored_and_recalled(result, tmp_path):
    store(result, tmp_path / "result")
    again = recall(InductionResult, tmp_path / "result")
    assert again.settings == SMALL.as_dict()
    assert again.losses == result.losses
    for kind in ("known", "attributions", "course"):
        found = getattr(again, kind)
        assert list(found) == list(getattr(result, kind))
        assert all(torch.equal(found[name], getattr(result, kind)[name]) for name in found)


def test_the_course_ends_with_the_trained_model(result):
    assert result.steps == kept_steps(SMALL)
    for name, values in result.course.items():
        final = {
            "share": result.attributions["share, target_logit"],
            "trace share": result.attributions["trace"],
        } | result.known
        assert values.shape == (4, 2, 2)
        torch.testing.assert_close(values[-1], final[name].double())
    assert not torch.equal(result.course["share"][0], result.course["share"][-1])


def test_correlations_are_means_over_seeds(result):
    mirrored = {name: -values for name, values in result.known.items()}
    both = {0: result, 1: replace(result, known=mirrored)}
    found = correlations_over_seeds(both)
    assert list(found) == [*result.attributions, LAYER, *result.known]
    # what one seed says for a score, the other says against it
    for name in result.attributions:
        assert found[name]["copying"].value == pytest.approx(0)
    # of two values far apart Student's interval would be wider than there is room for
    apart = [found[name]["copying"] for name in result.attributions]
    assert all(-1 <= one.low <= one.high <= 1 for one in apart)
    assert any((one.low, one.high) == (-1, 1) for one in apart)
    # both scores turned round are correlated as before
    expected = rank_correlation(result.known["copying"], result.known["ablation"])
    assert found["copying"]["ablation"].value == pytest.approx(expected)
    assert "copying" not in found["copying"]


def test_a_score_that_only_tells_layers_apart_is_ranked_by_the_layer_as_far_as_can_be(result):
    known = result.known | {"prefix matching": torch.tensor([[0.1, 0.2], [0.8, 0.9]])}
    found = correlations_over_seeds({0: replace(result, known=known)})
    # tied within a layer
    expected = scipy.stats.spearmanr([0, 0, 1, 1], [1, 2, 3, 4]).statistic
    assert found[LAYER]["prefix matching"].value == pytest.approx(expected)


def test_losses_are_of_tokens_that_stood_before_and_of_the_others(tmp_path):
    trained = train_attention_only(SMALL, tmp_path)
    model = AttentionOnly(weights_at(trained.checkpoints[SMALL.steps]))
    generator = torch.Generator().manual_seed(2**62 + SMALL.seed)
    tokens = draw_sequences(SMALL, 256, generator).tokens
    logits = model.logits(tokens[:, :-1]).detach().log_softmax(-1)
    losses = {True: [], False: []}
    for row, found in zip(tokens.tolist(), logits, strict=True):
        for i, token in enumerate(row[:-1]):
            losses[token in row[:i]].append(-float(found[i, row[i + 1]]))
    assert trained.curve.repeated[-1] == pytest.approx(np.mean(losses[True]), rel=1e-5)
    assert trained.curve.new[-1] == pytest.approx(np.mean(losses[False]), rel=1e-5)


def test_a_mean_over_seeds_has_student_s_interval():
    values = [0.1, 0.5, 0.3, 0.9, 0.4]
    found = mean_over_seeds(values)
    expected = scipy.stats.t.interval(0.95, 4, np.mean(values), scipy.stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert np.isnan(mean_over_seeds([0.5]).low)


def test_rank_correlations():
    scores = torch.tensor([[0.1, 0.4], [0.2, 0.3]])
    assert rank_correlation(scores, scores.exp()) == pytest.approx(1)
    assert rank_correlation(scores, -scores) == pytest.approx(-1)
    assert rank_correlation(scores, torch.ones(2, 2)) == 0


def test_the_leading_head_and_its_share(result):
    known = {"prefix matching": torch.tensor([[0.1, 0.2], [0.9, 0.3]])}
    share = torch.tensor([[0.1, 0.5], [0.3, 0.1]]).expand(4, 2, 2)
    course = {"share": share, "trace share": share / 2}
    found = leading(replace(result, known=known, course=course), "prefix matching")
    assert str(found.head) == "1.0"
    assert found[1:] == pytest.approx((0.9, 0.3, 2, 0.15))


def test_series_are_of_the_heads_that_lead_at_the_end(result):
    known = result.known | {
        "prefix matching": torch.tensor([[0.0, 0.0], [0.0, 1.0]]),
        "previous token": torch.tensor([[0.0, 1.0], [0.0, 0.0]]),
    }
    found = rises(replace(result, known=known))
    assert torch.equal(found["share, induction head"], result.course["share"][:, 1, 1])
    assert torch.equal(found["share, previous-token head"], result.course["share"][:, 0, 1])
    assert found["loss"].tolist() == result.losses["repeated"]


def test_half_of_the_way():
    steps = list(range(0, 60, 10))
    rising = torch.tensor([0.0, 0.1, 0.4, 0.7, 0.9, 1.0])
    assert half_way(steps, rising) == 30
    assert half_way(steps, 5 - 3 * rising) == 30
    # a spike on the way is no rise
    assert half_way(steps, torch.tensor([0.0, 0.9, 0.1, 0.2, 1.0, 1.0])) == 40
    assert half_way(steps, torch.ones(6)) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_heads": 0}, "positive"),
        ({"seed": -1}, "from 0 on"),
        ({"checkpoints": 2}, "count from 3"),
        ({"steps": 50}, "50 or fewer"),
        ({"shortest": 12}, "two of the shortest"),
        ({"longest": 33}, "a vocabulary of 33 and a length of 34"),
        ({"length": 20}, "a length of 25"),
        ({"learning_rate": -1.0}, "finite number"),
    ],
)
def test_settings_out_of_range(changes, message):
    with pytest.raises(ValueError, match=message):
        InductionSettings(**changes)
