"""Superposition with structure: cosines by hand, methods on known answers, small runs."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA, FastICA

from tl_entk.experiments.records import recall, store
from tl_entk.experiments.structured_superposition import methods, sparse_autoencoders
from tl_entk.experiments.structured_superposition.analysis import (
    OUTPUTS as OUTPUT_SPECTRUM,
)
from tl_entk.experiments.structured_superposition.analysis import (
    TRAINED,
    UNTRAINED,
    StructureResult,
    read_states,
    run_structure,
)
from tl_entk.experiments.structured_superposition.cosines import (
    States,
    align,
    best_cosines,
    matched_cosines,
)
from tl_entk.experiments.structured_superposition.methods import (
    BASELINES,
    ENTK,
    HIDDEN_ICA,
    HIDDEN_PCA,
    METHODS,
    OUTPUTS,
    SAE,
    SAE_BOUND,
    compare_methods,
)
from tl_entk.experiments.structured_superposition.model import seeded_structured_model
from tl_entk.experiments.structured_superposition.over_seeds import (
    count_largest_drops,
    find_lead,
    known_numbers,
    mean_cosine,
)
from tl_entk.experiments.structured_superposition.settings import StructureSettings
from tl_entk.experiments.structured_superposition.sparse_autoencoders import (
    PENALTIES,
    choose_penalty,
    train_autoencoders,
)
from tl_entk.experiments.superposition.model import fit_toy_model, untrained_toy_model
from tl_entk.linearization.build_jacobian import jacobian

pytestmark = pytest.mark.plain

SMALL = {"m": 3, "features": 10, "examples": 60, "steps": 101, "sparsity": 0.7}


@pytest.fixture
def _quick(monkeypatch):
    monkeypatch.setattr(sparse_autoencoders, "_STEPS", 30)


@pytest.fixture(scope="module")
def result():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_autoencoders, "_STEPS", 30)
        return run_structure(StructureSettings(**SMALL, structure="hierarchical"))


def states_of(seed=0, **sizes):
    settings = StructureSettings(**{**SMALL, **sizes}, seed=seed)
    model, x = seeded_structured_model(settings)
    return read_states(fit_toy_model(settings, model, x).model, x)


def centered_cosine(a, b):
    a, b = a - a.mean(), b - b.mean()
    return abs(float(a @ b / a.norm() / b.norm()))


def test_every_ground_by_hand():
    states, k = states_of(), 4
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(60, k, generator=generator, dtype=torch.float64) + 1
    patterns = torch.randn(60, 10, k, generator=generator, dtype=torch.float64)
    by_pattern, by_scores = align(states, scores, patterns=patterns), align(states, scores)
    for j, i in itertools.product(range(k), range(10)):
        s, x = scores[:, j], states.x[:, i]
        assert float(by_scores.scores[j, i]) == pytest.approx(centered_cosine(s, x))
        vector = states.hidden.T @ (s - s.mean())
        column = states.weight[:, i]
        expected = abs(float(vector @ column / vector.norm() / column.norm()))
        assert float(by_scores.hidden[j, i]) == pytest.approx(expected)
        feature = torch.zeros(60, 10, dtype=torch.float64)
        feature[:, i] = x / x.norm()
        loading = states.outputs.T @ (s - s.mean())
        for found, pattern in (
            (by_scores, torch.outer(s, loading)),
            (by_pattern, patterns[:, :, j]),
        ):
            expected = abs(float((pattern * feature).sum() / pattern.norm()))
            assert float(found.expanded[j, i]) == pytest.approx(expected)


def test_directions_that_tell_nothing_apart_are_left_out():
    states = states_of()
    scores = torch.cat([states.x[:, :2], torch.ones(60, 1).double()], 1)
    assert align(states, scores, hidden=torch.eye(3).double()).hidden.shape == (2, 10)


def test_best_and_matched_are_those_of_every_assignment():
    cosines = torch.rand(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    most = max(
        sum(float(cosines[row, i]) for i, row in enumerate(rows))
        for rows in itertools.permutations(range(4))
    )
    assert float(matched_cosines(cosines).sum()) == pytest.approx(most)
    assert torch.equal(best_cosines(cosines), cosines.max(0).values)
    # fewer directions than features: what is left without one counts 0
    assert int((matched_cosines(cosines[:3]) == 0).sum()) == 1


@pytest.mark.usefixtures("_quick")
def test_components_are_scikit_learn_s():
    """Scores and hidden vectors: PCA's own axes, ICA's own mixing matrix."""
    generator = torch.Generator().manual_seed(0)
    # independent, unlike examples of norm 1: ICA has one answer
    x = (
        torch.rand(2000, 3, generator=generator) * (torch.rand(2000, 3, generator=generator) < 0.2)
    ).double()
    W = torch.randn(3, 3, generator=torch.Generator().manual_seed(1)).double()
    states = States(x, W, x @ W.T, x)
    found = compare_methods(states, random_patterns(states), seed=0).alignments
    h = states.hidden.numpy()
    pca = PCA(3).fit(h)
    ica = FastICA(3, whiten="unit-variance", random_state=1, max_iter=5000, tol=1e-10).fit(h)
    for name, scores, vectors, tolerance in (
        (HIDDEN_PCA, pca.transform(h), pca.components_.T, 1e-8),
        (HIDDEN_ICA, ica.transform(h), ica.mixing_, 2e-2),
    ):
        unit, columns = (a / np.linalg.norm(a, axis=0) for a in (vectors, W.numpy()))
        for ours, theirs in (
            (found[name].scores.numpy(), np.abs(np.corrcoef(scores.T, x.numpy().T)[:3, 3:])),
            (found[name].hidden.numpy(), np.abs(unit.T @ columns)),
        ):
            # components come in any order: every one of ours is one of theirs
            apart = np.abs(ours[:, None] - theirs).max(2)
            assert sorted(apart.argmin(1)) == [0, 1, 2]
            assert apart.min(1).max() < tolerance
    # with their mean, as the expanded features have theirs
    axes = torch.from_numpy(pca.components_.T)
    expected = align(states, states.hidden @ axes).expanded
    torch.testing.assert_close(found[HIDDEN_PCA].expanded, expected)


def random_patterns(states):
    generator = torch.Generator().manual_seed(0)
    shape = (*states.x.shape, states.x.shape[1])
    flat = torch.randn(shape, generator=generator, dtype=torch.float64).flatten(0, 1)
    return torch.linalg.qr(flat)[0].reshape(shape)


@pytest.mark.usefixtures("_quick")
def test_a_model_that_holds_every_feature_by_itself_is_read_by_its_outputs():
    x = states_of(m=10).x
    exact = States(x, torch.eye(10).double(), x, x)
    # the expanded features themselves in place of eigenvectors
    found = compare_methods(exact, torch.diag_embed(x / x.norm(dim=0)), seed=0).alignments
    for name in (ENTK, OUTPUTS):
        assert float(matched_cosines(found[name].scores).min()) == pytest.approx(1)
        assert float(matched_cosines(found[name].expanded).min()) == pytest.approx(1)


@pytest.mark.usefixtures("_quick")
def test_an_autoencoder_of_a_stack_is_the_one_trained_alone():
    h = states_of().hidden
    stack = train_autoencoders(h, 5, (0.05, 0.2), seed=3)
    alone = train_autoencoders(h, 5, (0.2,), seed=3)
    assert torch.allclose(stack.decoder[1], alone.decoder[0], atol=1e-5)
    assert torch.allclose(stack.latents(h)[1], alone.latents(h)[0], atol=1e-5)
    assert torch.allclose(stack.decoder.norm(dim=2), torch.ones(2, 5).double())
    # by hand
    E, e, D, c = (part[0] for part in (alone.encoder, alone.bias, alone.decoder, alone.center))
    z = ((h / alone.scale - c) @ E + e).clamp_min(0)
    rest = h - (z @ D + c) * alone.scale
    expected = 1 - rest.square().sum() / (h - h.mean(0)).square().sum()
    assert float(alone.explained(h)) == pytest.approx(float(expected))


@pytest.mark.usefixtures("_quick")
def test_the_autoencoder_taken_is_the_chosen_one_and_what_is_said_of_it(monkeypatch):
    asked = []
    monkeypatch.setattr(methods, "choose_penalty", lambda *of: asked.append(of) or 3)
    states = states_of()
    found = compare_methods(states, random_patterns(states), seed=2)
    assert asked == [(states.hidden, 10, 2)]
    alone = train_autoencoders(states.hidden, 10, (PENALTIES[3],), 2)
    latents = alone.latents(states.hidden)[0]
    expected = align(states, latents, hidden=alone.decoder[0].T)
    torch.testing.assert_close(found.alignments[SAE].hidden, expected.hidden, atol=1e-4, rtol=0)
    codes, said = latents.numpy(), found.autoencoder
    assert said["penalty"] == PENALTIES[3]
    assert said["active"] == pytest.approx(np.mean([np.count_nonzero(row) for row in codes]))
    assert said["dead"] == sum(not column.any() for column in codes.T)
    assert said["explained"] == pytest.approx(float(alone.explained(states.hidden)), abs=1e-4)


def test_the_rate_of_training_falls_to_nothing(monkeypatch):
    h, rates = states_of().hidden, []

    class Adam(torch.optim.Adam):
        def step(self, *args):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*args)

    monkeypatch.setattr(torch.optim, "Adam", Adam)
    monkeypatch.setattr(sparse_autoencoders, "_STEPS", 10)
    train_autoencoders(h, 5, (0.1,), seed=0)
    expected = torch.linspace(0.03, 0.003, 10)
    torch.testing.assert_close(torch.tensor(rates), expected)


def test_autoencoders_find_sparse_directions_that_do_not_overlap():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(300, 4, generator=generator) * (torch.rand(300, 4, generator=generator) < 0.2)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=generator))[0]
    trained = train_autoencoders((x @ turn).double(), 4, (0.05,), seed=0)
    assert float(matched_cosines((trained.decoder[0] @ turn.double().T).abs()).min()) > 0.9


def test_the_penalty_is_the_largest_that_explains_enough(monkeypatch):
    kept = {}

    class Fixed:
        def __init__(self, explained):
            self.values = explained

        def explained(self, h):
            kept["judged"] = len(h)
            return torch.tensor(self.values)

    def pretend(values):
        monkeypatch.setattr(
            sparse_autoencoders,
            "train_autoencoders",
            lambda h, *_: kept.update(n=len(h)) or Fixed(values),
        )

    h = torch.rand(61, 3).double()
    pretend([0.99, 0.97, 0.9, 0.82, 0.7, 0.85])
    assert choose_penalty(h, 5, 0) == 5
    assert kept == {"n": 30, "judged": 31}
    pretend([0.3, 0.5, 0.4, 0.2, 0.1, 0.0])
    assert choose_penalty(h, 5, 0) == 1


def test_the_spectra_are_those_of_explicit_jacobians(result):
    settings = result.parsed
    start, x = seeded_structured_model(settings)
    trained = fit_toy_model(settings, untrained_copy(settings, x), x).model
    for name, model in ((UNTRAINED, start), (TRAINED, trained)):
        K = jacobian(model.double(), x.double()).dense()
        expected = torch.linalg.svdvals(K).square()
        found = result.eigenvalues[name]
        assert torch.allclose(found, expected[: len(found)], atol=1e-8 * float(expected[0]))
    outputs = trained(x.double()).detach()
    expected = torch.linalg.eigvalsh(outputs.T @ outputs).flip(0)
    assert torch.allclose(result.eigenvalues[OUTPUT_SPECTRUM], expected, atol=1e-10)


def untrained_copy(settings, x):
    model, again = seeded_structured_model(settings)
    assert torch.equal(x, again)
    return model


def test_a_result_is_stored_and_recalled(result, tmp_path):
    store(result, tmp_path / "result")
    again = recall(StructureResult, tmp_path / "result")
    assert again.parsed == result.parsed
    assert list(again.scores) == list(METHODS)
    assert torch.equal(again.hidden[SAE], result.hidden[SAE])
    assert again.converged == result.converged
    assert again.autoencoder == result.autoencoder
    assert set(again.seconds) == {"training", "kernels", "comparison"}


def test_numbers_that_a_cliff_could_count(result):
    def numbers(structure, features):
        settings = StructureSettings(**{**SMALL, "features": features}, structure=structure)
        diagonal = torch.ones(features)
        made = replace(result, settings=settings.as_dict(), diagonal=diagonal, scores={}, hidden={},
                       expanded={})  # fmt: skip
        return made.known_numbers

    assert numbers("independent", 10) == {"width m": 3, "features": 10, "represented": 10}
    assert numbers("anticorrelated", 10)["pairs"] == 5
    assert numbers("conjunctions", 9).items() >= {("parts", 6), ("wholes", 3)}
    half = replace(result, diagonal=torch.tensor([0.7, 0.8] * 5))
    assert half.known_numbers["represented"] == 5


def test_figures_of_a_result(result):
    assert result.known_numbers["parents"] == 2
    assert result.known_numbers["children"] == 8
    assert result.known_numbers["features"] == 10
    # as many directions as features, though the spectrum is read further
    assert len(result.scores[ENTK]) == 10 < len(result.eigenvalues[TRAINED])
    assert all(len(found) <= 10 for found in result.scores.values())
    best = result.scores[ENTK].amax(0)
    parents = [0, 5]
    assert result.mean_cosine(ENTK, "scores") == pytest.approx(float(best.mean()))
    found = result.mean_cosine(ENTK, "scores", kind="parent")
    assert found == pytest.approx(float(best[parents].mean()))
    assert result.mean_cosine(ENTK, "scores", matched=True) <= float(best.mean()) + 1e-12
    bound, taken = (result.mean_cosine(name, "scores") for name in (SAE_BOUND, SAE))
    assert bound >= taken


def test_seeds_together(result):
    values = torch.tensor([9.0, 8, 7, 6, 5, 4, 3, 2.5, 2.25, 2.125, 0.5, 0.25, 0.2, 0.19, 0.18])
    drop = replace(result, eigenvalues={TRAINED: values.double()})
    late = replace(result, eigenvalues={TRAINED: torch.cat([values[:9], values[10:]]).double()})
    assert count_largest_drops({0: [drop], 1: [late]}, TRAINED) == 1
    found = {one.name: one for one in known_numbers([drop, late], TRAINED)}
    # the drop after 10 is the largest, then the second one (of 2, after 11 there and 10 here)
    assert found["features"].place.value == 1.5
    assert (found["features"].least, found["features"].most) == (10, 10)
    assert found["features"].ratio.value == pytest.approx((2.125 / 0.5 + 0.5 / 0.25) / 2)
    better = replace(result, scores={n: s * (n == SAE) for n, s in result.scores.items()})
    lead = find_lead([better, better], ENTK, "scores")
    assert lead.other == SAE
    assert lead.difference.value == pytest.approx(-mean_cosine([better], SAE, "scores").value)
    assert set(BASELINES) < set(METHODS)


def test_training_starts_from_the_seed():
    settings = StructureSettings(**SMALL)
    first, x = seeded_structured_model(settings)
    again, same = seeded_structured_model(settings)
    assert torch.equal(first.W, again.W)
    assert torch.equal(x, same)
    other = untrained_toy_model(settings, torch.Generator().manual_seed(9))
    assert not torch.equal(first.W, other.W)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: StructureSettings(structure="hierarchical", features=61), "multiple of 5"),
        (lambda: StructureSettings(structure="sums", sparsity=0.5), "0.667 or more"),
        (lambda: StructureSettings(m=1), "count from 2"),
    ],
)
def test_bad_settings(call, message):
    with pytest.raises(ValueError, match=message):
        call()
