"""Reports on runs that show little: one record, no rise, no onset, no cliff, no second loss."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tl_entk.dynamics.course import Course
from tl_entk.experiments.modular_mlp.analysis import SUM, run_modular_mlp
from tl_entk.experiments.modular_mlp.model import MLPSettings
from tl_entk.experiments.modular_transformer.analysis import run_modular_transformer
from tl_entk.experiments.modular_transformer.task import ModularSettings
from tl_entk.experiments.superposition import analysis as superposition
from tl_entk.experiments.superposition.model import SuperpositionSettings
from tl_entk.report.parts import Picture
from tl_entk.report.toys import dynamics
from tl_entk.report.toys.charts import spectrum_panels
from tl_entk.report.toys.modular_mlp import write_mlp
from tl_entk.report.toys.modular_transformer import write_outputs
from tl_entk.report.toys.paper import summarize_timings
from tl_entk.report.toys.paper_table import mlp_rows
from tl_entk.report.toys.superposition import write_superposition

TINY = {"p": 5, "d_model": 8, "n_heads": 2, "d_mlp": 8}


def course_of(overlap, accuracy=None):
    """A course with a record every ten steps."""
    values = torch.tensor(overlap, dtype=torch.float64)
    right = values if accuracy is None else torch.tensor(accuracy, dtype=torch.float64)
    seconds = {part: torch.ones_like(values) for part in ("total", "kernels", "eigen", "metrics")}
    metrics = {f"{part}_accuracy": right for part in ("train", "test")}
    steps = 10 * torch.arange(len(values))
    return Course(steps, {"total": values[:, None]}, {"sum": values}, {"sum": 1}, metrics, seconds)


SHORT = {"one record": [0.5], "two records": [0.1, 0.9]}
NO_RISE = {"falling": [0.9, 0.5, 0.3, 0.1], "flat": [0.5, 0.5, 0.5, 0.5]}


@pytest.mark.plain
@pytest.mark.parametrize("name", [*SHORT, *NO_RISE])
def test_a_course_that_shows_little_is_reported(name):
    course = course_of({**SHORT, **NO_RISE}[name])
    found = dynamics.timing(course, "sum")
    assert found.onset is None
    assert found.midpoint is None
    assert not found.relation
    if name == "two records":
        assert found.peak == 0
    else:
        assert found.peak is None
        assert found.plateau is None
    (row,) = dynamics.timing_rows({0: course}, "sum", "x")
    assert row[-1] == "no grokking"
    assert dynamics.timing_table("x", [row]).rows[0][5] == "none"
    assert dynamics.course_picture("x", "", course, "sum").png()
    assert not dynamics.timing_pictures({"x": {0: found}})
    assert dynamics.cost_table({"x": (course, 1.0)}).rows
    assert "1 did not grok" in summarize_timings({"x": {0: found}})


@pytest.mark.plain
def test_grokking_without_a_rise_of_the_overlap():
    course = course_of([0.9, 0.5, 0.3, 0.1, 0.1], [0.0, 0.0, 0.5, 1.0, 1.0])
    found = dynamics.timing(course, "sum")
    assert found.onset == 20
    assert found.peak is None
    assert dynamics.timing_rows({0: course}, "sum", "x")[0][-1] == "no rise of the overlap"
    assert "1 without a rise" in summarize_timings({"x": {0: found}})
    assert not dynamics.timing_pictures({"x": {0: found}})


@pytest.mark.plain
def test_accuracies_that_were_not_recorded():
    course = course_of([0.0, 0.5, 0.7, 0.8], [0.0, float("nan"), float("nan"), 1.0])
    assert dynamics.timing(course, "sum").onset is None


@pytest.mark.plain
def test_a_course_that_groks_is_as_before():
    course = course_of([0.0, 0.1, 0.6, 0.9, 1.0], [0.0, 0.0, 0.5, 1.0, 1.0])
    found = dynamics.timing(course, "sum")
    assert (found.peak, found.onset, found.relation) == (20, 20, "matches")
    assert found.plateau == (20, 20)
    assert found.spacing == 10


@pytest.mark.parametrize("epochs", [1, 10, 25])
def test_a_short_training_of_the_transformer_is_reported(epochs, tmp_path):
    result = run_modular_transformer(ModularSettings(**TINY, epochs=epochs), tmp_path)
    text = write_outputs(result, tmp_path / "report").read_text(encoding="utf-8")
    assert "no grokking" in text


def test_a_transformer_of_one_unit_is_reported(tmp_path):
    settings = ModularSettings(p=5, d_model=1, n_heads=1, d_mlp=1, epochs=1, learning_rate=0.0)
    result = run_modular_transformer(settings, tmp_path)
    assert write_outputs(result, tmp_path / "report").exists()


@pytest.mark.plain
def test_an_mlp_whose_overlap_falls_and_one_without_cliffs(tmp_path):
    settings = MLPSettings(p=5, n=8, epochs=10, train_fraction=0.1)
    result, course = run_modular_mlp(settings, tmp_path, fits=False)
    falls = replace(course, overlaps={name: -torch.arange(3.0) for name in course.overlaps})
    assert dynamics.timing(falls, SUM).peak is None
    # kernels of zeros have no cliffs
    zeros = {name: torch.zeros_like(values) for name, values in result.eigenvalues.items()}
    flat = replace(result, eigenvalues=zeros, start=zeros)
    assert not flat.cliffs("total")
    for shown in (result, flat):
        page = write_mlp({0: (shown, falls)}, tmp_path / "report")
        assert "none" in page.read_text(encoding="utf-8")
        assert all(len(row) == 4 for row in mlp_rows(shown, falls))


@pytest.mark.plain
def test_an_mlp_of_one_unit(tmp_path):
    settings = MLPSettings(p=5, n=1, epochs=10)
    assert run_modular_mlp(settings, tmp_path, fits=False)[0].eigenvalues["flattened"].numel()


@pytest.mark.plain
@pytest.mark.parametrize(("features", "steps"), [(6, 1), (20, 2)])
def test_a_toy_model_of_one_step_or_many_features(features, steps, tmp_path, monkeypatch):
    monkeypatch.setattr(superposition, "MODES", 12)
    settings = SuperpositionSettings(3, 0.5, features=features, examples=40, steps=steps)
    result = superposition.run_superposition(settings, (0.0,), fits=False)
    assert len(result.eigenvalues["0"]) > features
    assert write_superposition({0: [result]}, tmp_path).exists()


@pytest.mark.plain
def test_spectra_of_nothing_are_drawn():
    zeros = np.zeros(4)
    # a scale that does not suit the data shows when the figure is drawn
    panels = spectrum_panels({"zero": {"zero": zeros}}, {}, "nothing")
    assert Picture("x", "", panels).png()
