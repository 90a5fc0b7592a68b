"""The file of a Track: taken up again, left whole, and of one course alone."""

import json

import pytest
import torch

from tests.dynamics.trainings import FEATURES, N, Net, net_kernels, run, track_of
from tests.models import build, tokens
from tl_entk import Course, Track, Watch, kernel_blocks


def test_a_resumed_training_keeps_the_records_before_and_replaces_those_after(tmp_path):
    straight = track_of(path=tmp_path / "straight")
    run(Net(), straight, 20)
    broken, model = track_of(path=tmp_path / "broken"), Net()
    run(model, broken, 8)
    state = {n: t.clone() for n, t in model.state_dict().items()}
    run(model, broken, 14, first=8)  # recorded at step 10, but the training's own state is lost
    assert Course.load(tmp_path / "broken").steps.tolist() == [0, 5, 10]
    model.load_state_dict(state)
    again = track_of(path=tmp_path / "broken")
    assert again.course().steps.tolist() == [0, 5, 10]
    run(model, again, 20, first=8, seed=1)
    course = Course.load(tmp_path / "broken")
    assert course.steps.tolist() == straight.course().steps.tolist() == [0, 5, 10, 15]
    assert course.metrics["step"].tolist() == [0, 5, 10, 15]
    torch.testing.assert_close(course.overlaps["sum"][:2], straight.course().overlaps["sum"][:2])
    # with another seed, step 10 differs from the record that it replaces
    assert torch.equal(course.eigenvalues["total"], again.course().eigenvalues["total"])
    assert not torch.equal(course.eigenvalues["total"][2], broken.course().eigenvalues["total"][2])


def test_started_anew_every_record_is_replaced(tmp_path):
    run(Net(), track_of(path=tmp_path / "course"), 20)
    again = track_of(path=tmp_path / "course")
    again(0, Net())
    assert Course.load(tmp_path / "course").steps.tolist() == [0]


def test_a_file_that_cannot_be_written_is_refused_before_the_training(tmp_path):
    (tmp_path / "course.safetensors").mkdir()
    with pytest.raises(IsADirectoryError, match=r"course\.safetensors .*: move away"):
        track_of(path=tmp_path / "course")


def test_an_interruption_while_writing_leaves_the_file_before(tmp_path, monkeypatch):
    track = track_of(path=tmp_path / "course")
    run(Net(), track, 6)
    monkeypatch.setattr("tl_entk.tools.files.save_file", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        track(10, Net())
    assert Course.load(tmp_path / "course").steps.tolist() == [0, 5]
    assert [path.name for path in tmp_path.iterdir()] == ["course.safetensors"]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"k": 5}, "'k'"),
        ({"kernel": "first"}, "'kernels'"),
        ({"kernels_kept": ["first"]}, "'kernels'"),
        ({"provenance": {"seed": 1}}, "'given'"),
    ],
)
def test_a_file_of_another_course_is_refused(tmp_path, options, what):
    run(Net(), track_of(path=tmp_path / "course"), 2)
    with pytest.raises(ValueError, match=f"{what}.*another path"):
        track_of(path=tmp_path / "course", **options)


def test_other_features_or_tokens_are_another_course(tmp_path):
    run(Net(), track_of(path=tmp_path / "course"), 2)
    other = {"sum": Watch("total", range(1, 3), 2 * FEATURES)}
    with pytest.raises(ValueError, match="'watched'"):
        Track(net_kernels, other, at=[0], k=4, path=tmp_path / "course")

    def blocks(seed):
        return lambda model: kernel_blocks(model, tokens(N, seed), components="unembed.W_U")

    track = track_of(blocks(1), at=range(5))
    track.path = tmp_path / "blocks.safetensors"
    model = build("native:layer_norm")
    track(0, model)
    again = track_of(blocks(2), at=range(5), path=track.path)
    with pytest.raises(ValueError, match="tokens_sha256"):
        again(1, model)


def test_provenance_is_plain_json(tmp_path):
    with pytest.raises(TypeError, match="JSON"):
        track_of(provenance={"weights": torch.ones(1)})
    track = track_of(provenance={"seed": (1, 2)}, path=tmp_path / "course")
    track(0, Net())
    assert json.loads(json.dumps(track.course().provenance)) == track.course().provenance
    # a tuple comes back as a list, and is the same course still
    assert len(track_of(provenance={"seed": (1, 2)}, path=tmp_path / "course").course()) == 1
