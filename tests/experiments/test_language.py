"""The language experiment: every method on the same windows, chosen within the train half."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import tl_entk
from tests.experiments.small_language import SMALL
from tl_entk.alignment.model_baselines import BASELINES, PCA, PREDICTION, RANDOM
from tl_entk.alignment.readout_sweep import Candidate
from tl_entk.experiments.language.judging import ALL, BY_DEFAULT, FLATTENED, judge_language
from tl_entk.experiments.language.run import run_language
from tl_entk.experiments.language.settings import (
    APART,
    CONTROLS,
    PRESENT_WORD,
    TEXT_SO_FAR,
    WITHIN,
)
from tl_entk.model.sites import partition
from tl_entk.report.language.details import share_tables
from tl_entk.report.language.report import write_outputs


def test_methods_have_the_same_budget_and_windows_are_balanced(run):
    result, _ = run
    assert {FLATTENED, BY_DEFAULT, *BASELINES} < set(result.judged.methods)
    for name, layers in result.judged.methods.items():
        together = name == BY_DEFAULT or name in PREDICTION
        together |= name.split(", ")[2:3] in (["all layers"], ["later layers"])
        expected = {"all"} if together else {"4", "5"}
        assert set(layers) == expected, name
        # what the prediction alone tells is given as many directions as both layers have
        k = 10 if name in PREDICTION else 5
        assert all(scores.shape == (64, k) for scores in layers.values())
        if not name.startswith("eNTK") and name != RANDOM:
            assert result.judged.tables[name].k == 10
            assert {table.k for table in result.judged.by_layer[name].values()} == {5}
    tags = list(result.data.windows.tags)
    assert {tag: tags.count(tag) for tag in set(tags)} == dict.fromkeys(set(tags), 8)
    assert result.data.windows.model_tags == result.data.windows.tags
    assert all(eigen.converged.all() for eigen in result.directions.flattened.values())


def test_directions_are_those_of_the_public_calls(run):
    result, _ = run
    tokens, model = result.data.windows.tokens, result.model.model
    blocks = tl_entk.kernel_blocks(model, tokens, "target_logit", "blocks.5.*")
    centered = tl_entk.center(tl_entk.cosine_normalize(blocks.total().double()))
    (candidate,) = [
        c for c in result.directions.sweep if str(c) == "target_logit, whole layer, cosine+centered"
    ]
    found = result.directions.sweep[candidate]["5"]
    expected = tl_entk.eigendecompose(centered, 5)
    np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, rtol=1e-5)
    overlap = tl_entk.subspace_overlap(found.vectors, expected.vectors)
    assert overlap.overlap > 5 - 1e-4
    pca = tl_entk.pca_scores(tl_entk.activations_at(model, tokens, "blocks.4.hook_resid_post"), 5)
    torch.testing.assert_close(result.judged.methods[PCA]["4"], pca)


def test_everything_is_chosen_within_the_train_half(run, monkeypatch):
    """Labels of the test half changed: the ranking, layers, directions and signs stay."""
    result, _ = run
    features, n = result.data.features, len(result.data.windows)
    train, test = tl_entk.alignment.splitting.halves(features)
    labels = result.data.labels
    values = labels.values.copy()
    values[test] = values[np.random.default_rng(0).permutation(test)]
    changed = replace(labels, values=values)
    kept = changed.take([labels.names.index(name) for name in features.names])
    assert not np.array_equal(kept.values[:, :8], features.values[:, :8])
    # tags elsewhere would be split otherwise: the split of all windows is held fixed
    plain = tl_entk.alignment.splitting._draw_split
    monkeypatch.setattr(
        "tl_entk.alignment.splitting._draw_split",
        lambda found, *rest: (train, test) if len(found.values) == n else plain(found, *rest),
    )
    context = result.data.context
    others = context.values.copy()
    others[test] = others[np.random.default_rng(1).permutation(test)]
    data = replace(
        result.data, features=kept, labels=changed, context=replace(context, values=others)
    )
    judged = judge_language(SMALL, result.data, result.directions)
    assert judged.tables[PCA].rows == result.judged.tables[PCA].rows
    again = judge_language(SMALL, data, result.directions)
    assert again.sweep == judged.sweep
    assert again.winner == judged.winner
    assert again.validations == judged.validations
    assert again.best_layer == judged.best_layer
    assert again.probe_layer == judged.probe_layer
    for name, table in judged.tables.items():
        chosen = [(row.column, row.sign, row.train_ap) for row in table.rows]
        assert [(row.column, row.sign, row.train_ap) for row in again.tables[name].rows] == chosen
    assert again.tables[PCA].macro() != judged.tables[PCA].macro()
    # the other control has a split of its own
    for control in (APART, PRESENT_WORD, TEXT_SO_FAR):
        assert_same_choices(again.controls[control], judged.controls[control])


def assert_same_choices(found, expected):
    assert found.validations == expected.validations
    assert (found.winner, found.strongest_baseline) == (
        expected.winner,
        expected.strongest_baseline,
    )
    for name, table in expected.tables.items():
        chosen = [(row.column, row.sign, row.train_ap) for row in table.rows]
        assert [(row.column, row.sign, row.train_ap) for row in found.tables[name].rows] == chosen
    assert found.tables[PCA].macro() != expected.tables[PCA].macro()


def test_controls_judge_every_method_on_labels_of_their_own(run):
    result, _ = run
    judged = result.judged
    assert set(judged.controls) == set(CONTROLS)
    for name, control in judged.controls.items():
        assert set(control.tables) == set(judged.methods), name
        assert control.winner in judged.candidates
        assert control.strongest_baseline in set(judged.baselines) - {RANDOM}
    assert set(judged.controls[APART].labels) <= set(result.data.features.names)
    assert all(name.startswith("present ") for name in judged.controls[PRESENT_WORD].labels)
    assert not {*judged.controls[TEXT_SO_FAR].labels} & {*result.data.labels.names}
    # nothing but the predicted token is in these: nothing is left within one
    within = judged.controls[WITHIN].tables["predicted unembedding"]
    for row in within.rows:
        assert row.ap.value == pytest.approx(row.positives / within.n_test)


def test_without_controls_none_is_judged(run):
    result, folder = run
    plain = run_language(replace(SMALL, controls=(), shares=False), folder)
    assert plain.judged.controls == {}
    assert plain.data.context is None
    assert plain.directions.shares == {}
    assert plain.judged.tables[PCA].rows == result.judged.tables[PCA].rows
    page = write_outputs(plain, folder / "plain").read_text(encoding="utf-8")
    assert "<h2" in page
    assert "Under the control" not in page
    assert "Where a feature lives" not in page


def test_all_logits_are_compressed_unless_the_exact_kernel_is_asked_for(run, monkeypatch):
    result, folder = run
    lean = replace(
        SMALL, exact=False, outputs=8, readouts=(), normalizations=(), controls=(), shares=False
    )
    found = run_language(lean, folder)
    names = {layer: f"blocks.{layer}.mlp.W_out" for layer in ("4", "5")}
    model, tokens = found.model.model, found.data.windows.tokens
    expected = tl_entk.all_eigendirections(model, tokens, names, SMALL.k, outputs=8)
    for layer, eigen in found.directions.flattened.items():
        torch.testing.assert_close(eigen.scores, expected[layer].scores)
        # near the whole kernel's, and never above it
        exact = tl_entk.top_eigendirections(model, tokens, names[layer], SMALL.k, tol=1e-4)
        whole = exact.eigenvalues
        assert bool((eigen.eigenvalues <= whole * (1 + 1e-4)).all())
        assert bool((eigen.eigenvalues >= 0.5 * whole).all())
    page = write_outputs(found, folder / "compressed").read_text(encoding="utf-8")
    assert "compressed to 8 directions of the logits" in page
    assert "Not converged" not in page
    assert "compressed to" not in write_outputs(result, folder / "exact").read_text("utf-8")

    def refuse(*args, **kwargs):
        raise AssertionError("computed again")

    monkeypatch.setattr("tl_entk.experiments.language.kernels.all_eigendirections", refuse)
    run_language(lean, folder)


def test_the_kernel_of_all_logits_can_be_left_out(run, monkeypatch):
    result, folder = run

    def refuse(*args, **kwargs):
        raise AssertionError("the dearest kernel is made")

    for name in ("top_eigendirections", "all_eigendirections"):
        monkeypatch.setattr(f"tl_entk.experiments.language.kernels.{name}", refuse)
    lean = replace(SMALL, all_logits=False, normalizations=(), controls=(), shares=False)
    lean = replace(lean, layers=(5,), k=4)  # no kernels of so many directions are there
    scalar = run_language(lean, folder)
    assert FLATTENED not in scalar.judged.methods
    assert scalar.directions.flattened == {}
    assert scalar.judged.shown_kernels[0] == BY_DEFAULT
    for candidate, layers in scalar.directions.sweep.items():
        for layer, eigen in layers.items():
            scores = result.directions.sweep[candidate][layer].scores[:, :4]
            torch.testing.assert_close(eigen.scores.abs(), scores.abs(), rtol=1e-4, atol=1e-4)
    page = write_outputs(scalar, folder / "scalar").read_text(encoding="utf-8")
    assert "Spectra" not in page
    assert FLATTENED not in page
    with pytest.raises(ValueError, match="no kernel is asked for"):
        replace(lean, readouts=())
    with pytest.raises(ValueError, match="normalizations are of the kernel of all logits"):
        replace(SMALL, all_logits=False)


def test_the_default_kernel_is_that_of_the_public_call(run):
    result, _ = run
    eigen = tl_entk.default_directions(result.model.model, result.data.windows.tokens, SMALL.k)
    (layer,) = result.judged.methods[BY_DEFAULT].items()
    assert layer[0] == "all"
    torch.testing.assert_close(layer[1], eigen.scores.cpu().double())


def test_own_baselines_are_judged_beside_the_others(run):
    result, folder = run
    own = {"last token": lambda model, tokens: tokens[:, -3:].double()}
    found = run_language(replace(SMALL, baselines=()), folder, own_baselines=own).judged
    assert found.baselines == [PCA, RANDOM, "last token"]
    assert found.methods["last token"]["all"].shape == (64, 3)
    assert found.tables[PCA].rows == result.judged.tables[PCA].rows
    assert found.strongest_baseline in (PCA, "last token")


def test_shares_add_up_to_one(run):
    result, _ = run
    for shares in result.directions.shares.values():
        assert sum(shares[name] for name in partition(shares)) == pytest.approx(1, abs=1e-6)
    for kind in share_tables(result):
        if kind.name == "shares_weight":
            columns = np.array([row[1:] for row in kind.rows])
            np.testing.assert_allclose(columns.sum(0), 1, atol=1e-6)


def test_the_normalized_kernel_of_all_logits_is_in_the_sweep(run):
    result, _ = run
    candidate = Candidate("all logits", "W_out", "cosine+centered")
    plain = result.directions.flattened["5"]
    other = result.directions.sweep[candidate]["5"]
    assert other.vectors.shape == plain.vectors.shape
    assert other.provenance["normalization"] == "cosine+centered"
    # the best way of every readout is judged, chosen within the train half
    assert {"all logits", *SMALL.readouts} == {c.readout for c in result.judged.candidates.values()}
    # share of a direction's norm that is the same for all of the 64 windows
    alike = [8 * float(found.vectors[:, :, 0].mean(0).norm()) for found in (plain, other)]
    assert alike[0] > 0.3 > 0.01 > alike[1]


def test_probes_have_a_layer_each_and_numbers_are_judged_by_r2(run):
    result, _ = run
    judged = result.judged
    assert set(judged.probe_layer) == set(judged.probes.bases) >= {PCA, RANDOM, ALL, FLATTENED}
    assert list(judged.probes_by_layer) == ["4", "5"]
    metrics = {row.group: row.metric for row in judged.probes.rows}
    assert metrics["words to the sentence's end"] == "r2"
    assert set(metrics) == {*result.data.features.names, *result.data.numbers}
    binary = [row for row in judged.probes.rows if row.metric == "ap"]
    macro = judged.probes.macro(ALL, "ap").value
    assert macro == pytest.approx(np.mean([row.scores[ALL].value for row in binary]))
