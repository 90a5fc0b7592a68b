"""The Transformer's checkpoints, followed afterwards."""

import torch

import tl_entk
from feature_sets import fourier
from tl_entk.experiments.modular_transformer.course import SUM, follow_checkpoints
from tl_entk.experiments.modular_transformer.linear_fits import transformer_fits
from tl_entk.experiments.modular_transformer.model import weights_of
from tl_entk.experiments.modular_transformer.task import ModularSettings
from tl_entk.experiments.modular_transformer.training import train

SMALL = ModularSettings(p=7, d_model=16, n_heads=2, d_mlp=16, epochs=60)


def test_the_course_is_that_of_the_checkpoints(tmp_path, monkeypatch):
    trained = train(SMALL, "bridge", tmp_path)
    before = weights_of(trained.model)
    course = follow_checkpoints(SMALL, trained, [1, 3], tmp_path / "course.safetensors")
    assert course.steps.tolist() == [0, 25, 50, 60]
    assert all(torch.equal(weights_of(trained.model)[n], w) for n, w in before.items())
    data, curve = trained.data, trained.curve
    kernel = tl_entk.kernel_blocks(trained.model, data.tokens, components="unembed.W_U").total()
    eigen = tl_entk.eigendecompose(kernel, 5)
    sums = fourier(data.a.numpy(), data.b.numpy(), 7, [1, 3], ["a+b"])
    expected = tl_entk.subspace_overlap(eigen.vectors, sums).overlap
    assert abs(float(course.overlaps[SUM][-1]) - expected) < 1e-4
    assert float(course.metrics["test_accuracy"][-1]) == curve.test_accuracy[-1]
    # the same again is read, other frequencies are computed anew
    again = follow_checkpoints(SMALL, trained, [1, 3], tmp_path / "course.safetensors")
    assert torch.equal(again.overlaps[SUM], course.overlaps[SUM])
    other = follow_checkpoints(SMALL, trained, [2], tmp_path / "course.safetensors")
    assert other.max_overlap[SUM] == 2


def test_fits_before_and_after(tmp_path):
    trained = train(SMALL, "bridge", tmp_path)
    before = weights_of(trained.model)
    rows = transformer_fits(SMALL, trained)
    assert all(torch.equal(weights_of(trained.model)[n], w) for n, w in before.items())
    assert len({row["model"] for row in rows}) >= 2
    assert {row["part"] for row in rows} == {"train", "test"}
    assert all(row["accuracy_gap"] is not None for row in rows)
