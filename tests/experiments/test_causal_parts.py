"""Parts of the causal checks, each against a plain twin."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import tl_entk
from tests.models import build, tokens
from tl_entk.alignment.ranking import Ranking
from tl_entk.experiments.language.causal.directions import (
    MEANS,
    PROBE,
    choose,
    label_directions,
    principal_directions,
)
from tl_entk.experiments.language.causal.odds import OddsMeter, label_log_odds
from tl_entk.experiments.language.causal.protocol import (
    DIVERGENCE,
    NEAR,
    measure_step,
    specificity,
    take_step,
)
from tl_entk.experiments.language.causal.result import KERNEL, Causal, CausalDirection
from tl_entk.experiments.language.causal.rivals import draw_like, label_gradient
from tl_entk.experiments.language.causal.steps import step_activations, step_weights
from tl_entk.experiments.language.causal.summary import (
    by_score,
    method_rows,
    raises_high_scores,
    removal_rows,
    statements,
)
from tl_entk.model.adapters import adapt_transformer

HOOK, WEIGHT = "blocks.0.hook_resid_post", "blocks.0.mlp.W_out"
WINDOWS = tokens(6)
BY_LABEL = {"even": (0, 2, 4), "first": (0, 1), "last": (5, 6)}


@pytest.fixture(scope="module")
def model():
    return build("native:layer_norm")


@pytest.fixture(scope="module")
def meter(model):
    return OddsMeter.of(model, WINDOWS, torch.arange(6), list(BY_LABEL), BY_LABEL)


def test_log_odds_loss_and_divergence_are_those_of_the_probabilities(model, meter):
    before = model(WINDOWS)[:, -1].softmax(1)
    same = meter.measure()
    assert float(same.divergence.abs().max()) < 1e-6
    for column, chosen in enumerate(BY_LABEL.values()):
        p = before[:, list(chosen)].sum(1)
        assert torch.allclose(same.log_odds[:, column].double(), (p / (1 - p)).log(), atol=1e-5)
    nll = -before[torch.arange(6), torch.arange(6)].log()
    assert torch.allclose(same.loss.double(), nll, atol=1e-5)
    direction = draw_like({WEIGHT: model.W_out[0].detach()}, 0)
    with tl_entk.nudge(model, direction, 3.0):
        now, found = model(WINDOWS)[:, -1].softmax(1), meter.measure()
    divergence = (before * (before / now).log()).sum(1)
    assert torch.allclose(found.divergence.double(), divergence, atol=1e-5)


def test_sums_of_rare_tokens_keep_their_digits():
    logits = torch.tensor([[0.0, -30.0, -40.0]])
    members = torch.tensor([[1.0], [0.0], [0.0]])
    found = label_log_odds(logits.log_softmax(1), members)
    assert abs(float(found) - 30.0) < 1e-3


def test_steps_of_activations_are_at_the_last_position_alone(model):
    batch, unit = tokens(4), torch.eye(12)[3]
    activations = tl_entk.activations_at(model, batch, HOOK)
    step = step_activations(model, HOOK, 5 * unit, activations)
    _, before = model.run_with_cache(batch)
    with step.apply(2.0):
        _, after = model.run_with_cache(batch)
    change = (after[HOOK] - before[HOOK]).float()
    assert torch.allclose(change[:, -1], 2.0 * unit.expand(4, -1), atol=1e-5)
    assert not bool(change[:, :-1].any())
    with step.remove():
        _, without = model.run_with_cache(batch)
    assert torch.allclose(without[HOOK][:, -1, 3], activations[:, 3].mean(), atol=1e-5)
    kept = [i for i in range(12) if i != 3]
    assert torch.allclose(without[HOOK][:, -1, kept], before[HOOK][:, -1, kept])


@pytest.mark.parametrize("label", range(3))
def test_steps_reach_the_divergence_and_raise_the_label(model, meter, label):
    other = OddsMeter.of(model, tokens(5, seed=4), torch.arange(5), list(BY_LABEL), BY_LABEL)
    direction = draw_like({WEIGHT: model.W_out[0].detach()}, 1)
    activations = tl_entk.activations_at(model, WINDOWS, HOOK)
    for step in (
        step_weights(model, direction, float(model.W_out[0].detach().norm())),
        step_activations(model, HOOK, torch.eye(12)[2], activations),
    ):
        found = take_step(step, meter, other, label)
        assert abs(float(found.odds.divergence.mean()) / DIVERGENCE - 1) <= NEAR
        after = measure_step(step, found.size, other)
        assert torch.equal(after.log_odds, found.odds.log_odds)
        raised, lowered = (
            measure_step(step, size, meter).log_odds[:, label].mean()
            for size in (found.size, -found.size)
        )
        assert raised > lowered


def test_specificity_is_the_label_over_the_others():
    changes = torch.tensor([[[3.0, 1.0, -1.0], [5.0, 1.0, 1.0]]])
    assert specificity(changes, 0).tolist() == [4.0]
    assert specificity(changes, 1).tolist()[0] == pytest.approx(1 / (36 / 4) ** 0.5)


def test_the_gradient_of_a_label_is_autograds(model, meter):
    found = label_gradient(model, WINDOWS, [WEIGHT], meter.members.double(), 1)
    log_p = model(WINDOWS)[:, -1].log_softmax(1)
    p = log_p.exp()[:, [0, 1]].sum(1)
    parameter = adapt_transformer(model).by_name[WEIGHT].parameter
    (expected,) = torch.autograd.grad((p / (1 - p)).log().mean(), parameter)
    assert torch.allclose(found[WEIGHT], expected.T, atol=1e-8)


def test_rivals_are_found_where_they_are():
    rng = np.random.default_rng(0)
    label = (np.arange(60) % 3 == 0).astype(float)
    x = torch.from_numpy(rng.normal(size=(60, 5)))
    x[:, 1:3] += 4 * torch.from_numpy(label)[:, None]
    x[:, 4] *= 30
    axes, scores = principal_directions(x, 3, standardized=False)
    assert torch.allclose((x - x.mean(0)) @ axes, scores)
    assert int(axes[:, 0].abs().argmax()) == 4
    standardized, scaled = principal_directions(x, 3, standardized=True)
    column = choose(scaled, label)
    assert set((standardized[:, column.column] / x.std(0)).abs().topk(2).indices.tolist()) == {1, 2}
    found = label_directions(x, label)
    for name in (PROBE, MEANS):
        one = found[name] * (x.std(0) if name == PROBE else 1 / x.std(0))
        assert set(one.topk(2).indices.tolist()) == {1, 2}
    table = torch.stack([-x[:, 2], x[:, 0]], 1)
    chosen = choose(table, label)
    best = Ranking(-table[:, 0].numpy()).average_precisions(label[:, None])
    assert (chosen.column, chosen.sign) == (0, -1)
    assert chosen.train_ap == pytest.approx(float(best.max()))


def made_up(label, own, other, kernel="eNTK"):
    """Steps whose own label moves by ``own`` and the others by ``other``."""
    changes = torch.full((1, 8, 3), other)
    changes[..., BY_INDEX[label]] = own
    worse = changes.clone()
    worse[..., BY_INDEX[label]] = 0.0
    line, ones = torch.tensor([0.1, 1.0]), torch.arange(1.0, 9.0)
    measured = torch.stack([0.1 * ones, 2 * ones])
    return CausalDirection(
        kernel, label, list(BY_LABEL), "0", "0", 1, 0.9, [WEIGHT], 1.0, line, ones, measured, ones,
        measured, torch.linspace(-1, 1, 8), (torch.arange(8) > 3).double(), {KERNEL: [1.0]},
        {KERNEL: changes, "PCA": worse},
        {KERNEL: torch.full((1, 8), 0.05), "PCA": torch.full((1, 8), 0.03)},
        {KERNEL: -torch.ones(1, 8)}, {KERNEL: torch.arange(8.0)[None]},
    )  # fmt: skip


BY_INDEX = {name: i for i, name in enumerate(BY_LABEL)}


def test_summaries_are_means_over_labels_with_intervals():
    directions = [made_up("even", 2.0, 1.0), made_up("first", 4.0, 1.0), made_up("last", 3.0, 1.0)]
    rows = {row.method: row for row in method_rows(directions)}
    assert rows[KERNEL].specificity.value == pytest.approx(3.0)
    assert rows["PCA"].specificity.value == 0.0
    assert rows["PCA"].less.value == pytest.approx(3.0)
    assert rows["PCA"].less.low < 2.0 < 4.0 < rows["PCA"].less.high
    assert rows["PCA"].divergence == pytest.approx(0.03)
    assert (rows[KERNEL].off, rows["PCA"].off) == (0, 3)
    (alone,) = (row for row in method_rows(directions[:1]) if row.method == KERNEL)
    assert (alone.specificity.low, alone.specificity.high) == pytest.approx((2.0, 2.0))
    removed = removal_rows(directions)[KERNEL]
    assert removed["loss, windows with the label"].value == pytest.approx(5.5)
    assert removed["loss, other windows"].value == pytest.approx(1.5)
    assert removed["log-odds, windows with the label"].value == -1.0
    less = [
        replace(one, removed_odds={KERNEL: -i * torch.ones(1, 8)})
        for i, one in enumerate(directions)
    ]
    of_three = removal_rows(less)[KERNEL]["log-odds, windows with the label"]
    # Student's t of two degrees of freedom
    assert of_three.high == pytest.approx(-1 + 4.3027 / 3**0.5, abs=1e-3)
    groups = by_score(directions[0])
    assert list(groups) == ["high score", "no score", "low score"]
    assert all(found.value == 2.0 for found in groups.values())
    scores = directions[0].scores
    falling = replace(directions[0], sizes={KERNEL: [-1.0]})
    assert (raises_high_scores(directions[0]), raises_high_scores(falling)) == (True, False)
    changes = {KERNEL: scores[None, :, None].expand(1, 8, 3)}
    groups = by_score(replace(directions[0], changes=changes))
    found = [round(groups[name].value, 3) for name in ("high score", "no score", "low score")]
    assert found == [0.857, 0.0, -0.857]
    (said,) = statements(Causal(directions, {}, {}))
    assert said.endswith("beside PCA at the same layer.")
    (other,) = statements(Causal([replace(one, layer="all") for one in directions], {}, {}))
    assert other.endswith("beside PCA at layer 0, which is best for PCA.")
    for text in ("over 3 labels", "correlation 1.0000", "(error up to 10 %) up to 0.1", "+3.00 ("):
        assert text in said


def test_intervals_over_few_labels_hold_the_mean_of_all_in_95_of_100():
    """Eight labels whose specificity is drawn: plain percentiles hold it in fewer than 90."""
    rng = np.random.default_rng(0)
    held, of = 0, 400
    for seed in range(of):
        drawn = [made_up("even", own, 1.0) for own in rng.normal(0.5, 1.0, 8)]
        (row,) = (r for r in method_rows(drawn, seed, 200) if r.method == KERNEL)
        held += row.specificity.low <= 0.5 <= row.specificity.high
    assert 0.92 < held / of < 0.98


def test_figures_are_of_the_windows_as_they_are_and_intervals_of_their_resamples():
    generator = torch.Generator().manual_seed(0)
    changes = torch.randn(2, 8, 3, generator=generator) + 0.5
    twice = {KERNEL: torch.full((2, 8), 0.05)}
    one = replace(
        made_up("even", 1.0, 1.0), changes={KERNEL: changes}, divergences=twice,
        removed_odds=twice, removed_loss=twice,
    )  # fmt: skip
    (row,) = method_rows([one], seed=3, n_bootstrap=50)
    expected = specificity(changes, 0).mean()
    assert row.specificity.value == pytest.approx(float(expected), abs=1e-6)
    windows = np.random.default_rng(3).integers(8, size=(50, 8))
    drawn = [float(specificity(changes[:, chosen], 0).mean()) for chosen in windows]
    spread = np.percentile(drawn, (2.5, 97.5)) - np.mean(drawn)
    found = np.array([row.specificity.low, row.specificity.high])
    assert found == pytest.approx(float(expected) + spread, abs=1e-6)
