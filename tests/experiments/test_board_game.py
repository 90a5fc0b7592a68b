"""The board game: training that goes on, legality, and judging on directions that are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from tl_entk.alignment.activations import activations_at
from tl_entk.alignment.names import EXPECTED, FINAL_HIDDEN, PCA
from tl_entk.alignment.splitting import halves
from tl_entk.experiments.board_game import directions, judging, probing, training
from tl_entk.experiments.board_game.analysis import correlations
from tl_entk.experiments.board_game.directions import find_directions
from tl_entk.experiments.board_game.features import board_features
from tl_entk.experiments.board_game.games import draw_windows
from tl_entk.experiments.board_game.judging import (
    judge_dealt_anew,
    judge_methods,
    judge_within_prediction,
    validate,
)
from tl_entk.experiments.board_game.legality import (
    FREQUENCY,
    LINEAR,
    judge_legality,
    plain_predictors,
)
from tl_entk.experiments.board_game.model import build_model
from tl_entk.experiments.board_game.probing import best_layer
from tl_entk.experiments.board_game.settings import (
    AUROC,
    DEFAULT_KERNEL,
    DISCS,
    EMPTY,
    FAMILIES,
    FLIPPED,
    METRICS,
    MINE,
    BoardGameSettings,
)
from tl_entk.experiments.board_game.training import judge_model, train_player, training_loss
from tl_entk.experiments.seeds import mean_over_seeds

SMALL = BoardGameSettings(
    size=4, moves=6, windows=200, k=4, n_layers=1, d_model=8, n_heads=2, d_mlp=8, rounds=3, games=64
)
FIGURE = METRICS.index(AUROC)


@pytest.fixture(scope="module")
def games():
    return draw_windows(SMALL)


@pytest.fixture(scope="module")
def features(games):
    return board_features(games)


def weights_of(player):
    return [value.clone() for value in player.model.parameters()]


def test_a_training_is_seeded_learns_and_goes_on(games, tmp_path, monkeypatch):
    whole = train_player(SMALL, tmp_path / "whole", games)
    assert whole.loss[-1] < whole.loss[0]
    assert whole.legality[-1] == judge_model(whole.model, games)

    save = training._Run.save

    def stop_after_two(run):
        save(run)
        if len(run.player.loss) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training._Run, "save", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            train_player(SMALL, tmp_path / "parts", games)
    again = train_player(SMALL, tmp_path / "parts", games)
    assert again.loss == whole.loss
    assert again.legality == whole.legality
    assert all(map(torch.equal, weights_of(again), weights_of(whole)))
    # a finished one is taken up
    with monkeypatch.context() as patch:
        patch.setattr(training._Run, "play_round", lambda run: pytest.fail("trained again"))
        assert train_player(SMALL, tmp_path / "parts", games).loss == whole.loss
    other = build_model(replace(SMALL, seed=1))
    assert not torch.equal(next(other.parameters()), next(build_model(SMALL).parameters()))


def test_a_diverging_training_and_a_damaged_file_are_refused(games, tmp_path):
    with pytest.raises(ValueError, match="pass less"):
        train_player(replace(SMALL, learning_rate=1e30), tmp_path / "far", games)
    path = tmp_path / training.STATE
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="delete it"):
        train_player(SMALL, tmp_path, games)


@pytest.mark.plain
def test_the_loss_is_the_expected_one_of_the_next_move(games):
    logits = torch.randn(*games.legal.shape, generator=torch.Generator().manual_seed(0))
    total = 0.0
    for game in range(len(games.moves)):
        for time in range(SMALL.moves):
            squares = games.legal[game, time].nonzero()[:, 0]
            total -= float(logits[game, time].log_softmax(-1)[squares].mean())
    loss = training_loss(logits, games)
    assert float(loss) == pytest.approx(total / games.moves.numel(), rel=1e-5)


@pytest.mark.plain
def test_a_perfect_player_is_legal_and_plain_ones_are_not(games):
    legal = games.legal[:, -1]
    assert judge_legality(legal.double(), legal) == (0.0, 1.0)
    assert judge_legality((~legal).double(), legal) == (1.0, 0.0)
    found = plain_predictors(SMALL, games)
    assert 0.01 < found[LINEAR].illegal < found[FREQUENCY].illegal
    assert found[LINEAR].mass > found[FREQUENCY].mass


@pytest.mark.plain
def test_directions_that_are_the_board_are_found_and_others_are_not(games, features):
    truth = torch.from_numpy(features.features.values)
    noise = torch.randn(len(truth), 20, generator=torch.Generator().manual_seed(0))
    methods = {"truth": {"all": truth}, "noise": {"0": noise[:, :10], "1": noise[:, 10:]}}
    figures = judge_methods(methods, features, 0)
    judged = figures["truth"].isfinite()
    assert judged.sum() == 2 * len(features.places)
    assert (figures["truth"][judged] == 1).all()
    assert abs(figures["noise"][FIGURE].nanmean() - 0.5) < 0.05
    values = validate(methods, features, 0)
    assert values["truth"] == 1 > values["noise"]
    dealt = judge_dealt_anew(methods, features, 0)
    assert abs(dealt["truth"][FIGURE].nanmean() - 0.5) < 0.05


@pytest.mark.plain
def test_what_is_chosen_by_sees_nothing_of_the_test_half(games, features, monkeypatch):
    noise = torch.randn(len(games.moves), 20, generator=torch.Generator().manual_seed(0))
    train, test = halves(features.features, seed=0)
    values = features.features.values.copy()
    values[test] = values[test[::-1]]
    other = replace(features, features=replace(features.features, values=values))
    methods = {"noise": {"all": noise}}
    assert validate(methods, other, 0) == validate(methods, features, 0)
    assert not torch.equal(
        *(judge_methods(methods, one, 0)["noise"].nan_to_num() for one in (other, features))
    )
    seen = []

    def look(states, inside, seed):
        seen.append((states, inside, seed))
        return float(len(seen))

    monkeypatch.setattr(probing, "probe_validation", look)
    settings = replace(SMALL, n_layers=2)
    model = build_model(settings)
    assert best_layer(model, games, features, settings) == 1
    for layer, (states, inside, seed) in enumerate(seen):
        every = activations_at(model, games.moves, f"blocks.{layer}.hook_resid_post")
        torch.testing.assert_close(states, every[train])
        assert np.array_equal(inside.values, features.features.values[train])
        assert seed == SMALL.seed


def test_what_is_one_for_all_layers_has_as_many_directions_as_they_have(games, monkeypatch):
    settings = replace(SMALL, n_layers=2, k=3)
    monkeypatch.setattr(directions, "READOUTS", ("logsumexp",))
    monkeypatch.setattr(directions, "COMPONENTS", ("later layers",))
    names = (PCA, EXPECTED, FINAL_HIDDEN)
    monkeypatch.setattr(directions, "BASELINES", names)
    found = find_directions(build_model(settings), games, settings)
    for name, layers in (found.kernels | found.baselines).items():
        widths = {layer: scores.shape[1] for layer, scores in layers.items()}
        if name in (DEFAULT_KERNEL, DISCS):
            assert widths == {"all": 3 if name == DEFAULT_KERNEL else 2 * 16}, name
        elif "all" in widths:
            assert widths == {"all": 6}, name
        else:
            assert widths == {"0": 3, "1": 3}, name


@pytest.mark.plain
def test_who_placed_a_disc_tells_an_empty_square_not_a_flipped_disc(games, features):
    figures = judge_methods({"discs": {"all": games.players()}}, features, 0)["discs"]
    means = dict(zip(FAMILIES, figures[FIGURE].nanmean(-1).tolist(), strict=True))
    assert means[EMPTY] > means[MINE] > 0.75
    assert means[FLIPPED] < means[MINE] - 0.1


@pytest.mark.plain
def test_within_a_prediction_what_only_tells_it_is_nothing(games, features, monkeypatch):
    groups, judge = [], judging.best_directions

    def look(*args, **options):
        groups.append(options["groups"])
        return judge(*args, **options)

    monkeypatch.setattr(judging, "best_directions", look)
    truth = torch.from_numpy(features.features.values)
    predicted = torch.arange(len(truth)) % 10
    codes = torch.nn.functional.one_hot(predicted).double()
    methods = {"truth": {"all": truth}, "prediction": {"all": codes}}
    figures = judge_within_prediction(methods, features, predicted, 0)
    assert figures["truth"][FIGURE].nanmean() > 0.95
    told = figures["prediction"][FIGURE]
    assert (told[told.isfinite()] == 0.5).all()
    # windows of one move are in one half
    assert all(np.array_equal(found, predicted) for found in groups)
    # every window alone with its prediction: nothing varies
    assert judge_within_prediction(methods, features, torch.arange(len(truth)), 0) == {}


@pytest.mark.plain
def test_correlations_are_those_of_numpy():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(30, n, generator=generator, dtype=torch.float64) for n in (2, 3))
    b[:, 2] = 1
    found = correlations(a, b)
    expected = np.corrcoef(a.T.numpy(), b[:, :2].T.numpy())[:2, 2:]
    assert np.allclose(found[:, :2], expected)
    assert not found[:, 2].any()


@pytest.mark.plain
def test_intervals_over_seeds():
    values = [0.5, 0.55, 0.7, 0.4, 0.62]
    found = mean_over_seeds([*values, float("nan")])
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(values), low, high))
    assert mean_over_seeds([0.5]).value == 0.5
    assert np.isnan([mean_over_seeds([0.5]).low, mean_over_seeds([]).value]).all()
