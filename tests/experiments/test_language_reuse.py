"""What a language run finds in its folder is taken up, if it is of the same run."""

import shutil
from dataclasses import replace

import pytest
import torch

import tl_entk
from feature_sets import load_pipeline
from tests.experiments.small_language import SMALL, kernels
from tl_entk.alignment.model_baselines import PCA
from tl_entk.alignment.readout_sweep import Candidate
from tl_entk.experiments.language.inputs import discard_stale_results, fingerprint
from tl_entk.experiments.language.judging import FLATTENED
from tl_entk.experiments.language.kernels import KernelFolder, _load_candidates, _save_candidates
from tl_entk.experiments.language.run import run_language
from tl_entk.experiments.language.settings import (
    windows_name,
)
from tl_entk.experiments.language.verdict import verdicts

pytestmark = pytest.mark.plain


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
