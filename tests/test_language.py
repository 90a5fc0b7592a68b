import html
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import tl_entk
from feature_sets import load_pipeline
from tl_entk.adapters.loading import load_language_model
from tl_entk.direction_tokens import logit_directions, score_covariances
from tl_entk.experiments.language import run_language
from tl_entk.experiments.language_inputs import claim, fingerprint
from tl_entk.experiments.language_judging import ALL, FLATTENED, PCA, RANDOM, judge_language
from tl_entk.experiments.language_kernels import _Work
from tl_entk.experiments.language_settings import LanguageSettings, run_name
from tl_entk.experiments.language_verdict import _said, verdicts
from tl_entk.judgement import Judgement
from tl_entk.readout_sweep import Candidate
from tl_entk.report.language import write_outputs
from tl_entk.report.language_details import share_tables
from tl_entk.sites import partition

SMALL = LanguageSettings(
    per_tag=8, length=12, sampled=60, k=5, per_story=4, layers=(4, 5), tol=1e-2, probe="ridge",
    readouts=("logsumexp", "target_logit"), components=("W_out", "whole layer", "all layers"),
    normalisations=("cosine, centred",), labels=('content=[{"POS": {"IN": ["NOUN", "VERB"]}}]',),
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    result = run_language(SMALL, folder)
    return result, folder


def test_methods_have_the_same_budget_and_windows_are_balanced(run):
    result, _ = run
    assert {FLATTENED, PCA, RANDOM} < set(result.judged.methods)
    for name, layers in result.judged.methods.items():
        expected = {"all"} if name.split(", ")[2:3] == ["all layers"] else {"4", "5"}
        assert set(layers) == expected, name
        assert all(scores.shape == (64, 5) for scores in layers.values())
    tags = list(result.data.windows.tags)
    assert {tag: tags.count(tag) for tag in set(tags)} == dict.fromkeys(set(tags), 8)
    assert result.data.windows.model_tags == result.data.windows.tags
    assert all(eigen.converged.all() for eigen in result.directions.flattened.values())


def test_directions_are_those_of_the_public_calls(run):
    result, _ = run
    tokens, model = result.data.windows.tokens, result.model.model
    blocks = tl_entk.kernel_blocks(model, tokens, "target_logit", "blocks.5.*")
    centred = tl_entk.center(tl_entk.cosine_normalize(blocks.total().double()))
    (candidate,) = [
        c for c in result.directions.sweep if str(c) == "target_logit, whole layer, cosine, centred"
    ]
    found = result.directions.sweep[candidate]["5"]
    expected = tl_entk.eigendecompose(centred, 5)
    np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, rtol=1e-5)
    overlap = tl_entk.subspace_overlap(found.vectors, expected.vectors)
    assert overlap.overlap > 5 - 1e-4
    pca = tl_entk.pca_scores(tl_entk.activations_at(model, tokens, "blocks.4.hook_resid_post"), 5)
    torch.testing.assert_close(result.judged.methods[PCA]["4"], pca)


def test_everything_is_chosen_within_the_train_half(run):
    """Labels of the test half changed: the ranking, layers, directions and signs stay."""
    result, _ = run
    features = result.data.features
    train, test = tl_entk.splitting.halves(features)
    # the tags, by which the split is stratified, stay; all else is shuffled in the test half
    others = [i for i, family in enumerate(features.families) if family != "tag"]
    values = features.values.copy()
    values[np.ix_(test, others)] = values[np.random.default_rng(0).permutation(test)][:, others]
    changed = replace(features, values=values)
    np.testing.assert_array_equal(tl_entk.splitting.halves(changed)[0], train)
    assert not np.array_equal(values, features.values)
    data = replace(result.data, features=changed)
    again = judge_language(SMALL, data, result.directions)
    judged = result.judged
    assert again.sweep == judged.sweep
    assert again.winner == judged.winner
    assert again.validations == judged.validations
    assert again.best_layer == judged.best_layer
    assert again.probe_layer == judged.probe_layer
    for name, table in judged.tables.items():
        chosen = [(row.column, row.sign, row.train_ap) for row in table.rows]
        assert [(row.column, row.sign, row.train_ap) for row in again.tables[name].rows] == chosen
    assert again.tables[PCA].macro() != judged.tables[PCA].macro()


def test_shares_add_up_to_one(run):
    result, _ = run
    for shares in result.directions.shares.values():
        assert sum(shares[name] for name in partition(shares)) == pytest.approx(1, abs=1e-6)
    for kind in share_tables(result):
        if kind.name == "shares_weight":
            columns = np.array([row[1:] for row in kind.rows])
            np.testing.assert_allclose(columns.sum(0), 1, atol=1e-6)


def test_a_second_run_reuses_what_is_there_and_gives_the_same(run, monkeypatch):
    result, folder = run

    def refuse(*args, **kwargs):
        raise AssertionError("computed again")

    monkeypatch.setattr("tl_entk.experiments.language_kernels.top_eigendirections", refuse)
    monkeypatch.setattr("tl_entk.experiments.language_kernels.sweep_directions", refuse)
    monkeypatch.setattr("tl_entk.experiments.language_data.context_windows", refuse)
    monkeypatch.setattr("tl_entk.experiments.language_data.sample_stories", refuse)
    again = run_language(SMALL, folder)
    assert again.judged.tables[FLATTENED].rows == result.judged.tables[FLATTENED].rows
    assert again.judged.tables[PCA].rows == result.judged.tables[PCA].rows
    assert again.judged.sweep == result.judged.sweep


def test_an_interrupted_sweep_goes_on_with_the_readout_that_is_missing(run, monkeypatch, tmp_path):
    result, folder = run
    home = tmp_path / run_name(SMALL)
    shutil.copytree(folder / run_name(SMALL), home)
    (home / "sweep" / "target_logit.safetensors").unlink()
    asked = []

    def noted(model, tokens, readouts, **options):
        asked.extend(readouts)
        return tl_entk.readout_sweep.sweep_directions(model, tokens, readouts, **options)

    monkeypatch.setattr("tl_entk.experiments.language_kernels.sweep_directions", noted)
    again = run_language(SMALL, tmp_path)
    assert asked == ["target_logit"]
    assert again.judged.sweep == result.judged.sweep


def test_the_normalised_kernel_of_all_logits_is_in_the_sweep(run):
    result, _ = run
    candidate = Candidate("all logits", "W_out", "cosine, centred")
    plain = result.directions.flattened["5"]
    other = result.directions.sweep[candidate]["5"]
    assert other.vectors.shape == plain.vectors.shape
    assert other.provenance["normalisation"] == "cosine, centred"
    assert "eNTK, all logits, W_out, cosine, centred" in result.judged.methods
    # share of a direction's norm that is the same for all of the 64 windows
    alike = [8 * float(found.vectors[:, :, 0].mean(0).norm()) for found in (plain, other)]
    assert alike[0] > 0.3 > 0.01 > alike[1]


def test_probes_have_a_layer_each_and_numbers_are_judged_by_r2(run):
    result, _ = run
    judged = result.judged
    assert set(judged.probe_layer) == set(judged.probes.bases) >= {PCA, RANDOM, ALL, FLATTENED}
    assert list(judged.probes_by_layer) == ["4", "5"]
    metrics = {row.group: row.metric for row in judged.probes.rows}
    assert metrics["words to the sentence's end"] == "R2"
    assert set(metrics) == {*result.data.features.names, *result.data.numbers}
    binary = [row for row in judged.probes.rows if row.metric == "AP"]
    macro = judged.probes.macro_judgement(ALL, None, "ap").value
    assert macro == pytest.approx(np.mean([row.scores[ALL].value for row in binary]))


def test_a_label_of_ones_own_is_in_the_settings_and_in_the_results(run):
    result, folder = run
    assert "content" in result.data.labels.names
    write_outputs(result, folder / run_name(SMALL))
    results = json.loads((folder / run_name(SMALL) / "results.json").read_text())
    assert results["own labels"] == ["content"]
    assert results["settings"]["labels"] == list(SMALL.labels)
    assert results["versions"]["spacy"]


def test_other_weights_texts_or_windows_are_not_taken_for_the_old_ones(run, tmp_path):
    result, _ = run
    folder = tmp_path / "home"
    text = tmp_path / "text.txt"
    text.write_text("A story.")
    nlp = load_pipeline("embedded")
    first = fingerprint(result.model, nlp, str(text))
    claim(folder, first)
    (folder / "windows.safetensors").write_text("old")
    (folder / "eigen").mkdir()
    claim(folder, fingerprint(result.model, nlp, str(text)))
    assert (folder / "windows.safetensors").exists()
    text.write_text("Another story.")
    with pytest.warns(UserWarning, match="text changed"):
        claim(folder, fingerprint(result.model, nlp, str(text)))
    assert not (folder / "windows.safetensors").exists()
    assert not (folder / "eigen").exists()
    parameter = next(result.model.model.parameters())
    with torch.no_grad():
        parameter[0, 0] += 1
        other = fingerprint(result.model, nlp, str(text))
        parameter[0, 0] -= 1
    with pytest.warns(UserWarning, match="weights changed"):
        claim(folder, other)


def test_directions_of_other_windows_are_computed_anew(run, tmp_path):
    result, folder = run
    shutil.copytree(folder / run_name(SMALL) / "eigen", tmp_path / "eigen")
    tokens = result.data.windows.tokens[:40]
    work = _Work(SMALL, result.model.model, tokens, ["5"], tmp_path, None, False)
    assert work.flattened("plain")["5"].scores.shape == (40, 5)


def test_the_report_has_every_part_and_no_network_address(run):
    result, folder = run
    page = write_outputs(result, folder / run_name(SMALL))
    text = page.read_text()
    for section in ("What holds", "Feature by feature", "Layer by layer", "Probes", "Directions"):
        assert section in text
    assert all(sentence in html.unescape(text) for sentence in verdicts(result))
    assert "http://" not in text
    assert "https://" not in text
    summary = json.loads((page.parent / "results.json").read_text())
    best = summary["headline"]["best over layers"][PCA]["ap"]
    assert best["value"] == result.judged.tables[PCA].macro().value
    assert (page.parent / "tables" / "macro.csv").exists()
    assert text.count('class="card"') >= 10


def test_logit_directions_are_the_derivative_of_the_logits_along_the_eigenvector(run):
    """K v = J J^T v: moving the weight by J^T v moves every window's logits along its rows."""
    result, _ = run
    model = result.model.model
    eigen = result.directions.flattened["5"]
    found = logit_directions(model, eigen)
    # the last layer's W_out moves the final residual only: a step along the top direction's
    # weight gradient changes the logits of the highest-scoring window along the token direction
    op = tl_entk.kernel_operator(model, result.data.windows.tokens, "blocks.5.mlp.W_out")
    vector = eigen.vectors[:, :, 0]
    moved = (op @ vector.reshape(-1).to(op.dtype)).reshape(vector.shape).double()
    white = tl_entk.whitening.whitening(tl_entk.adapters.adapt(model).unembedding.double())
    W_U = tl_entk.adapters.adapt(model).unembedding.double()
    logits = moved @ (white.inverse @ white.root).T @ W_U
    row = int(eigen.scores[:, 0].abs().argmax())
    cosine = torch.cosine_similarity(
        logits[row] * torch.sign(eigen.scores[row, 0]), found[:, 0], dim=0
    )
    assert cosine > 0.9 * float(eigen.rank1_share[0]) ** 0.5


def test_score_covariances_are_those_of_the_logits(run):
    result, _ = run
    model, tokens = result.model.model, result.data.windows.tokens
    scores = result.judged.methods[PCA]["5"]
    with torch.no_grad():
        logits = model(tokens)[:, -1].double()
    expected = logits.T @ (scores - scores.mean(0))
    expected = expected / expected.norm(dim=0)
    found = score_covariances(model, tokens, scores, batch_size=7)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_token_directions_of_a_dense_kernel_are_refused(run):
    result, _ = run
    eigen = result.directions.sweep[Candidate("logsumexp", "W_out", "plain")]["5"]
    with pytest.raises(ValueError, match="none per logit"):
        logit_directions(result.model.model, eigen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"per_tag": 4}, "halved twice"),
        ({"k": 0}, "count from 1"),
        ({"seed": -1}, "from 0 on"),
        ({"model": "gpt2"}, "pass --dataset"),
        ({"layers": "some"}, "pass 'all' or numbers"),
        ({"layers": (7,)}, "layers 0 to 5"),
        ({"layers": ()}, "no layer"),
        ({"components": ()}, "no component is asked for"),
        ({"normalisations": ("scaled",)}, "no normalisation 'scaled'"),
        ({"labels": ("x",)}, "pass NAME=COLUMN"),
        ({"tol": 0.0}, "between 0 and 1"),
        ({"max_texts": 0}, "pass 1 or more"),
    ],
)
def test_settings_that_cannot_be_meant(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change).chosen_layers(6)


def test_runs_with_other_settings_have_other_folders():
    names = {
        run_name(replace(SMALL, **change))
        for change in (
            {}, {"k": 6}, {"tol": 1e-3}, {"readouts": ()}, {"model_class": "bridge"}, {"labels": ()}
        )
    }  # fmt: skip
    assert len(names) == 6


def test_the_bridge_gives_the_same_directions(run):
    result, _ = run
    bridge = load_language_model("stories", "bridge").model
    tokens = result.data.windows.tokens
    found = tl_entk.top_eigendirections(bridge, tokens, "blocks.5.mlp.W_out", k=5, tol=1e-3)
    expected = result.directions.flattened["5"].eigenvalues
    torch.testing.assert_close(found.eigenvalues, expected, rtol=2e-2, atol=0.0)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.2, "beats PCA"), (-0.2, -0.01, "is below PCA"), (-0.1, 0.2, "cannot be told")],
)
def test_a_verdict_needs_the_whole_interval(low, high, verdict):
    own, pca = Judgement(0.6, 0.5, 0.7), Judgement(0.5, 0.4, 0.6)
    assert verdict in _said("ap", Judgement(0.05, low, high), own, pca)
