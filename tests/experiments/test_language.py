import html
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import tl_entk
from feature_sets import load_pipeline
from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.alignment.model_baselines import BASELINES, PCA, PREDICTION, RANDOM
from tl_entk.alignment.readout_sweep import Candidate
from tl_entk.experiments.language.data import least_positives
from tl_entk.experiments.language.inputs import discard_stale_results, fingerprint
from tl_entk.experiments.language.judging import ALL, BY_DEFAULT, FLATTENED, judge_language
from tl_entk.experiments.language.kernels import KernelFolder, _load_candidates, _save_candidates
from tl_entk.experiments.language.run import run_language
from tl_entk.experiments.language.settings import (
    APART,
    CONTROLS,
    PRESENT_WORD,
    TEXT_SO_FAR,
    WITHIN,
    LanguageSettings,
    kernels_name,
    run_name,
    windows_name,
)
from tl_entk.experiments.language.verdict import answer, compare_with, verdicts
from tl_entk.model.sites import partition
from tl_entk.report.language.details import share_tables
from tl_entk.report.language.pages import best_pages, direction_pages
from tl_entk.report.language.report import write_outputs

SMALL = LanguageSettings(
    pipeline="embedded", per_tag=8, length=12, sampled=60, k=5, per_story=4, layers=(4, 5),
    tol=1e-2, probe="ridge", exact=True,
    readouts=("logsumexp", "target_logit"),
    components=("W_out", "whole layer", "all layers", "later layers"),
    normalizations=("cosine+centered",), labels=('content=[{"POS": {"IN": ["NOUN", "VERB"]}}]',),
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    result = run_language(SMALL, folder)
    return result, folder


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


@pytest.fixture
def nothing_computed(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("computed again")

    for name in ("kernels.top_eigendirections", "kernels.sweep_directions",
                 "kernels.baseline_scores", "kernels.all_eigendirections",
                 "data.activations_at", "data.greedy_continuation",
                 "data.context_windows", "data.sample_stories"):  # fmt: skip
        monkeypatch.setattr(f"tl_entk.experiments.language.{name}", refuse)


@pytest.mark.usefixtures("nothing_computed")
def test_a_second_run_reuses_what_is_there_and_gives_the_same(run):
    result, folder = run
    again = run_language(SMALL, folder)
    assert again.judged.tables[FLATTENED].rows == result.judged.tables[FLATTENED].rows
    assert again.judged.tables[PCA].rows == result.judged.tables[PCA].rows
    assert again.judged.sweep == result.judged.sweep


@pytest.mark.usefixtures("nothing_computed")
def test_a_second_identical_run_judges_nothing(run, monkeypatch):
    result, folder = run

    def refuse(*args, **kwargs):
        raise AssertionError("judged again")

    for name in ("best_directions", "judge_sweep", "probe_bases", "probe_validation"):
        monkeypatch.setattr(f"tl_entk.experiments.language.kept_judging.{name}", refuse)
    monkeypatch.setattr("tl_entk.experiments.language.kernels.kernel_blocks", refuse)
    again = run_language(SMALL, folder)
    assert again.directions.shares == result.directions.shares
    assert again.judged.tables == result.judged.tables
    assert again.judged.by_layer == result.judged.by_layer
    assert again.judged.probes == result.judged.probes
    assert again.judged.probes_by_layer == result.judged.probes_by_layer
    assert verdicts(again) == verdicts(result)
    for name, control in again.judged.controls.items():
        expected = result.judged.controls[name]
        assert control.tables == expected.tables
        assert control.validations == expected.validations
    with pytest.raises(AssertionError, match="judged again"):
        run_language(replace(SMALL, probe="logistic"), folder)


def kernels(folder):
    return folder / windows_name(SMALL) / kernels_name(SMALL)


@pytest.mark.usefixtures("nothing_computed")
def test_a_run_with_other_labels_and_layers_reuses_what_it_shares(run):
    result, folder = run
    other = replace(SMALL, labels=('noun=[{"POS": "NOUN"}]',), layers=(5,), readouts=("logsumexp",),
                    components=("W_out", "all layers"))  # fmt: skip
    found = run_language(other, folder)
    assert "noun" in found.data.labels.names
    assert list(found.judged.methods[PCA]) == ["5"]
    assert {c.component for c in found.directions.sweep} == {"W_out", "all layers"}
    for candidate, layers in found.directions.sweep.items():
        for layer, eigen in layers.items():
            assert torch.equal(eigen.scores, result.directions.sweep[candidate][layer].scores)


def test_layers_that_are_missing_from_the_sweep_are_computed(run, monkeypatch, tmp_path):
    _, folder = run
    shutil.copytree(folder / windows_name(SMALL), tmp_path / windows_name(SMALL))
    asked = []

    def noted(model, tokens, readouts, **options):
        asked.append((readouts, options["layers"], options["components"]))
        return tl_entk.alignment.readout_sweep.sweep_directions(model, tokens, readouts, **options)

    monkeypatch.setattr("tl_entk.experiments.language.kernels.sweep_directions", noted)
    other = replace(SMALL, readouts=("logsumexp",), components=("W_in",))
    run_language(other, tmp_path)
    assert asked == [(["logsumexp"], [4, 5], ("W_in",))]
    # what was there before is there still
    asked.clear()
    run_language(replace(SMALL, readouts=("logsumexp",)), tmp_path)
    assert asked == []


def test_an_interrupted_sweep_goes_on_with_the_readout_that_is_missing(run, monkeypatch, tmp_path):
    result, folder = run
    shutil.copytree(folder / windows_name(SMALL), tmp_path / windows_name(SMALL))
    (kernels(tmp_path) / "sweep" / "target_logit.safetensors").unlink()
    asked = []

    def noted(model, tokens, readouts, **options):
        asked.extend(readouts)
        return tl_entk.alignment.readout_sweep.sweep_directions(model, tokens, readouts, **options)

    monkeypatch.setattr("tl_entk.experiments.language.kernels.sweep_directions", noted)
    again = run_language(SMALL, tmp_path)
    assert asked == ["target_logit"]
    assert again.judged.sweep == result.judged.sweep


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
    discard_stale_results(folder, first)
    (folder / "windows.safetensors").write_text("old")
    (folder / "kernels-0").mkdir()
    discard_stale_results(folder, fingerprint(result.model, nlp, str(text)))
    assert (folder / "windows.safetensors").exists()
    text.write_text("Another story.")
    with pytest.warns(UserWarning, match="text changed"):
        discard_stale_results(folder, fingerprint(result.model, nlp, str(text)))
    assert not (folder / "windows.safetensors").exists()
    assert not (folder / "kernels-0").exists()
    parameter = next(result.model.model.parameters())
    with torch.no_grad():
        parameter[0, 0] += 1
        other = fingerprint(result.model, nlp, str(text))
        parameter[0, 0] -= 1
    with pytest.warns(UserWarning, match="weights changed"):
        discard_stale_results(folder, other)


def test_directions_of_other_windows_are_computed_anew(run, tmp_path):
    result, folder = run
    shutil.copytree(kernels(folder), tmp_path / "eigen")
    tokens = result.data.windows.tokens[:40]
    kept = KernelFolder(SMALL, result.model.model, tokens, ["5"], tmp_path / "eigen", None, False)
    assert kept.flattened("plain")["5"].scores.shape == (40, 5)


def test_the_report_has_every_part_and_no_network_address(run):
    result, folder = run
    page = write_outputs(result, folder / run_name(SMALL))
    text = page.read_text()
    for section in ("What holds", "Label by label", "Layer by layer", "Probes", "Directions"):
        assert section in text
    said = html.unescape(text)
    assert all(sentence in said for sentence in (answer(result), *verdicts(result)))
    own = re.sub(r"<script.*?</script>|<style.*?</style>", "", text, flags=re.S)
    assert "http://" not in own
    assert "https://" not in own
    # no pixel comes from elsewhere, whatever a library would load
    assert "default-src 'none'" in own
    summary = json.loads((page.parent / "results.json").read_text())
    best = summary["headline"]["best over layers"][PCA]["ap"]
    assert best["value"] == result.judged.tables[PCA].macro().value
    for kind in ("csv", "json"):
        assert (page.parent / "tables" / f"macro.{kind}").exists()
    for kind in ("svg", "png"):
        assert (page.parent / "figures" / f"features.{kind}").exists()
    vectors = json.loads((page.parent / "vectors.json").read_text())["config"]
    assert vectors["vector_names"][0] == "layer 4, direction 0"
    assert vectors["prepend_bos"] == SMALL.bos
    pages = re.findall(r'<article class="view" id="([^"]+)"', text)
    assert len(pages) == len(set(pages)) >= 10
    # every label leads to the page of its direction
    assert {address[1:] for address in best_pages(result).values()} <= set(pages)


def test_what_positions_contribute_adds_up_on_the_pages(run):
    """The tints are whole percents of the largest: their sum is the score but for the rest."""
    result, _ = run
    pages = direction_pages(result)
    eigen = result.directions.flattened["5"]
    page = next(
        page for page in pages.pages if page.id == "direction-entk-all-logits-layer-5-direction-0"
    )
    for key in ("highest", "lowest"):
        group = page.data[key]
        for row, score, parts in zip(
            *(group[name] for name in ("rows", "scores", "parts")), strict=True
        ):
            assert score == pytest.approx(float(eigen.scores[row, 0]), rel=1e-3)
            assert sum(parts) / 100 * page.data["scale"] == pytest.approx(score, abs=0.02)
    assert page.tinted
    # tokens are among those that occur, as text
    assert all(token.strip() for token in page.raised + page.lowered)


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
        ({"normalizations": ("scaled",)}, "no normalization 'scaled'"),
        ({"labels": ("x",)}, "pass NAME=COLUMN"),
        ({"labels": ("x=a", "x=b")}, "two labels are called 'x'"),
        ({"labels": ("x=[1]",)}, "no list of descriptions"),
        ({"labels": ('x=[{"NOPE": 1}]',)}, "matcher does not take the pattern"),
        ({"tol": 0.0}, "between 0 and 1"),
        ({"max_texts": 0}, "pass 1 or more"),
    ],
)
def test_settings_that_cannot_be_meant(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change).chosen_layers(6)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.2, "beats PCA"), (-0.2, -0.01, "is below PCA"), (-0.1, 0.2, "cannot be told")],
)
def test_a_verdict_needs_the_whole_interval(low, high, verdict):
    own, pca = IntervalEstimate(0.6, 0.5, 0.7), IntervalEstimate(0.5, 0.4, 0.6)
    said = compare_with("PCA", "ap", IntervalEstimate(0.05, low, high), own, pca)
    assert verdict in said


def test_support_follows_the_windows_that_there_are(run):
    result, _ = run

    def support(counts):
        tags = [tag for tag, count in counts.items() for _ in range(count)]
        return least_positives(replace_tags(result.data.windows, tags))

    assert support({"NOUN": 128, "VERB": 128, "PRON": 100}) == 30
    assert support({"NOUN": 25, "VERB": 25, "PRON": 22}) == 22
    # a tag that hardly occurs falls, and takes no others' support with it
    assert support({"NOUN": 128, "VERB": 128, "PRON": 3}) == 30


def replace_tags(windows, tags):
    """Windows of these tags; only their tags are looked at."""
    rows = [i % len(windows) for i in range(len(tags))]
    return type(windows)(
        tokens=windows.tokens[rows], words=tuple("word" for _ in rows), model_words=None,
        tags=tuple(tags), model_tags=None, stories=windows.stories, story=windows.story[rows],
        start=windows.start[rows], window_start=windows.window_start[rows],
        pieces=windows.pieces[rows],
    )  # fmt: skip


def test_verdicts_say_what_speaks_against_them(run):
    result, _ = run
    said = " ".join(verdicts(result))
    strongest = result.judged.strongest_baseline
    assert f"The strongest baseline within the train half is {strongest}" in said
    against = " and ".join(dict.fromkeys([strongest, PCA]))
    assert f"methods are set against {against} here, each at 95 %, with no correction" in said
    assert f"64 windows come from {len(result.data.windows.stories)} texts" in said
    assert "their kernels compare predictions" in said
    assert "Not converged" not in said
    flattened = {
        layer: replace(eigen, converged=torch.zeros_like(eigen.converged))
        for layer, eigen in result.directions.flattened.items()
    }
    other = replace(result, directions=replace(result.directions, flattened=flattened))
    assert "Not converged: 5 directions of eNTK, all logits, layer 4" in " ".join(verdicts(other))


def test_sweep_directions_come_back_under_their_candidates(tmp_path):
    """Names of any kind: they are not taken apart at a separator."""
    eigen = tl_entk.eigendecompose(torch.eye(4), 2)
    found = {
        Candidate("a; b", "whole / layer", "plain"): {"4": eigen, "all": eigen},
        Candidate("a", "b", '"cosine"'): {"4": eigen},
    }
    path = tmp_path / "sweep.safetensors"
    _save_candidates(found, path)
    kept = _load_candidates(path)
    assert {one: list(layers) for one, layers in kept.items()} == {
        one: list(layers) for one, layers in found.items()
    }
