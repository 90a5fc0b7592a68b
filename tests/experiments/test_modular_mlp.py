"""The modular-addition MLP: closed forms, the paper's figures, rotations, the course."""

import copy
import re

import pytest
import torch

import tl_entk
from tests.report.pages import without_libraries
from tl_entk.experiments.clock import Clock
from tl_entk.experiments.modular_mlp.analysis import (
    FULL,
    FULL_FIRST,
    FULL_SECOND,
    LAYER_1,
    LAYER_1_FIRST,
    SUM,
    MLPResult,
    analyze,
    follow_cliffs,
    kept_epochs,
    run_modular_mlp,
    torus_features,
)
from tl_entk.experiments.modular_mlp.model import MLPSettings, seeded_mlp, train_mlp
from tl_entk.experiments.records import recall, store
from tl_entk.experiments.rotations import DIFFERENCE, NESTED, mark_residues, measure_purities
from tl_entk.report.toys.modular_mlp import write_mlp

pytestmark = pytest.mark.plain

SMALL = MLPSettings(p=7, n=32, epochs=60)


def closed_forms(model, x):
    """(layer 1, layer 2) kernels (N, N, C, C), with the scalings of input and output."""
    n, width = model.W1.weight.shape
    W2 = model.W2.weight
    scaled = x / width**0.5
    hidden = scaled @ model.W1.weight.T
    pairs = torch.einsum("ik,jk,nk,mk->nmij", W2, W2, hidden, hidden)
    first = 4 * pairs * (scaled @ scaled.T)[:, :, None, None] / n**2
    squares = hidden.square() @ hidden.square().T / n**2
    return first, squares[:, :, None, None] * torch.eye(len(W2), dtype=x.dtype)


def test_kernels_equal_the_closed_forms():
    model, data = seeded_mlp(MLPSettings(p=5, n=9))
    model, x = model.double(), data.x.double()
    with torch.no_grad():
        forms = dict(zip((LAYER_1, "W2.weight"), closed_forms(model, x), strict=True))
    for name, K in forms.items():
        trace = tl_entk.kernel_blocks(model, x, "class_trace")[name]
        one = tl_entk.kernel_blocks(model, x, ("class", 2))[name]
        mean = tl_entk.kernel_blocks(model, x, "mean_logit")[name]
        flat = tl_entk.kernel_blocks(model, x, "logits")[name]
        scale = 1e-10 * K.abs().max()
        assert (trace - K.diagonal(dim1=2, dim2=3).mean(-1)).abs().max() < scale
        assert (one - K[:, :, 2, 2]).abs().max() < scale
        assert (mean - K.mean((2, 3))).abs().max() < scale
        assert (flat - K.permute(0, 2, 1, 3).reshape(flat.shape)).abs().max() < scale


@pytest.fixture(scope="module")
def trained():
    """Seed 0 at the paper's settings: the models kept, the data, the analysis."""
    settings = MLPSettings()
    models = {}

    def keep(epoch, model, metrics):
        if epoch in (0, settings.epochs):
            models[epoch] = copy.deepcopy(model).eval()

    _, data = train_mlp(settings, callback=keep)
    features = torus_features(data, settings.p)
    return analyze(settings, models, data, features, collapses=False, clock=Clock())


def rows_of(result, cliff, rotation):
    return next(r for r in result.purities if (r["cliff"], r["rotation"]) == (cliff, rotation))


def test_overlaps_of_the_paper(trained):
    second, first = trained.overlaps[FULL_SECOND], trained.overlaps[FULL_FIRST]
    assert second["a+b"] >= 26.0
    assert second["a-b"] >= 24.5
    assert min(first["a"], first["b"]) >= 27.3


def test_cliffs_of_the_paper(trained):
    for start in (True, False):
        largest = trained.cliffs(LAYER_1, start=start)[0]
        assert largest.position == 57
        assert largest.ratio > 5
    assert {1, 57, 113} == {cliff.position for cliff in trained.cliffs(FULL)}
    # the second cliff is not there before training
    assert 113 not in {c.position for c in trained.cliffs(FULL, start=True) if c.ratio > 1.1}


def test_rotations_of_the_paper(trained):
    assert rows_of(trained, LAYER_1_FIRST, NESTED)["least"] >= 0.99
    assert rows_of(trained, LAYER_1_FIRST, DIFFERENCE)["least"] >= 0.99
    # the paper's own rotation: 38 with this seed's stream (45 in a rewrite with its own); the
    # difference of the Laplacians does better
    assert rows_of(trained, FULL_FIRST, NESTED)["pure"] >= 35
    assert rows_of(trained, FULL_FIRST, DIFFERENCE)["pure"] >= 45
    assert rows_of(trained, FULL_SECOND, NESTED)["mean"] >= 0.8
    assert rows_of(trained, FULL_SECOND, DIFFERENCE)["mean"] >= 0.85


def test_a_small_run_is_stored_recalled_and_shown(tmp_path):
    result, course = run_modular_mlp(SMALL, tmp_path)
    store(result, tmp_path / "result")
    again = recall(MLPResult, tmp_path / "result")
    assert again.epochs == kept_epochs(SMALL) == [0, 60]
    assert again.purities == result.purities
    assert again.seconds["tracking"] > 0
    assert {"class 0", "class mean", "flattened"} < set(again.eigenvalues)
    assert {row["model"] for row in again.fits} == {"before training", "trained"}
    assert course.steps.tolist() == list(range(0, 61, 5))
    kept = tl_entk.load(tmp_path / "course.safetensors")
    assert torch.equal(kept.overlaps[SUM], course.overlaps[SUM])
    page = write_mlp({0: (again, kept)}, tmp_path / "report")
    text = page.read_text()
    assert text.count("<img") >= 9
    shown = without_libraries(text)
    assert not re.search(r"https?://(?!vega\.github\.io/schema/|www\.w3\.org/)", shown)
    assert len(list((page.parent / "tables").iterdir())) >= 6


def test_the_last_record_is_of_the_trained_model(tmp_path):
    _, course = run_modular_mlp(SMALL, tmp_path, collapses=False, fits=False)
    model, data = train_mlp(SMALL)
    total = tl_entk.kernel_blocks(model, data.x, "class_trace").total()
    expected = tl_entk.eigendecompose(total, 10).eigenvalues
    assert torch.allclose(course.eigenvalues[FULL][-1, :10], expected, rtol=1e-4)


def test_tracking_does_not_change_the_training(tmp_path):
    plain, data = train_mlp(SMALL)
    track = follow_cliffs(
        SMALL, data, torus_features(data, SMALL.p), tmp_path / "course.safetensors"
    )
    tracked, _ = train_mlp(SMALL, callback=track)
    assert len(track.course().steps) == 13
    for one, other in zip(plain.parameters(), tracked.parameters(), strict=True):
        assert torch.equal(one, other)


def test_purity_rows_know_waves_families_and_residues():
    _, data = seeded_mlp(MLPSettings(p=5, n=4))
    features = torus_features(data, 5)
    indicators = mark_residues(data.a, data.b, 5, ["a", "b", "a+b", "a-b"])
    wave = torch.from_numpy(features.family("a+b").values[:, :2])
    wave = wave / wave.norm(dim=0)
    residue = indicators[:, 11:12] - 0.2
    rows = measure_purities(
        {"wave": wave, "residue": residue / residue.norm()}, features, indicators, cliff="c"
    )
    assert [round(r["mean"], 6) for r in rows] == [1.0, 0.5]
    assert [round(r["mean_family"], 6) for r in rows] == [1.0, 1.0]
    assert rows[0]["mean_residue"] < 0.9 < rows[1]["mean_residue"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p": 4}, "odd number"),
        ({"n": 0}, "from 1"),
        ({"train_fraction": 0.0}, "empty"),
        ({"train_fraction": 0.9999}, "empty"),
        ({"epochs": 5}, "from 10"),
        ({"seed": -1}, "seed from 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        MLPSettings(**settings)
