import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import tl_entk
from feature_sets import fourier
from tests.models import tokens
from tl_entk.tools.files import write_tensors
from tl_entk.tools.whole_files import write_atomically


def test_blocks_come_back_whole_and_in_order(model, tmp_path):
    blocks = tl_entk.kernel_blocks(model, tokens(), components=lambda n: True)
    path = tl_entk.save(blocks, tmp_path / "blocks.0.of.a.model")
    assert path.name == "blocks.0.of.a.model.safetensors"
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    loaded = tl_entk.load(path)
    assert list(loaded) == list(blocks)
    assert loaded.provenance == blocks.provenance
    assert all(torch.equal(loaded[n], blocks[n]) for n in blocks)
    assert torch.equal(loaded.total(), blocks.total())


def test_a_result_is_loaded_by_the_path_it_was_saved_by(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = tl_entk.KernelBlocks({"W": torch.eye(2)}, {"seed": 0})
    for name in ("blocks", "blocks.of.a.model", "in a folder/blocks", "blocks.safetensors"):
        tl_entk.save(blocks, name)
        assert tl_entk.load(name).provenance == {"seed": 0}


def test_eigendirections_come_back(tmp_path):
    eigen = tl_entk.eigendecompose(torch.diag(torch.arange(5.0)), 3)
    loaded = tl_entk.load(tl_entk.save(eigen, tmp_path / "eigen"))
    for name, tensor in eigen.tensors().items():
        assert torch.equal(getattr(loaded, name), tensor), name


def test_directions_by_name_come_back(tmp_path):
    matrix = torch.diag(torch.arange(5.0))
    both = {
        "layer 3": tl_entk.eigendecompose(matrix, 3, provenance={"layer": 3}),
        "layer 3/cosine": tl_entk.eigendecompose(2 * matrix, 2),
    }
    loaded = tl_entk.load(tl_entk.save(both, tmp_path / "both"))
    assert list(loaded) == list(both)
    assert loaded["layer 3"].provenance == {"layer": 3}
    for name, eigen in both.items():
        for part, tensor in eigen.tensors().items():
            assert torch.equal(getattr(loaded[name], part), tensor), (name, part)


@pytest.mark.parametrize("several", [False, True])
def test_the_space_of_directions_comes_back(several, tmp_path):
    dense = tl_entk.eigendecompose(torch.diag(torch.arange(5.0)), 3)
    assert dense.space == "examples"
    vectors = dense.vectors[:, None].expand(-1, 2, -1)
    wide = replace(dense, vectors=vectors, space="final_hidden")
    assert wide.take([1]).space == "final_hidden"
    for eigen in (dense, wide):
        path = tl_entk.save({"a": eigen} if several else eigen, tmp_path / "eigen")
        loaded = tl_entk.load(path)
        assert (loaded["a"] if several else loaded).space == eigen.space


def test_features_come_back(tmp_path):
    import numpy as np

    features = fourier(*np.divmod(np.arange(25), 5), 5)
    loaded = tl_entk.load(tl_entk.save(features, tmp_path / "features"))
    assert (loaded.names, loaded.families, loaded.groups) == (
        features.names, features.families, features.groups,
    )  # fmt: skip
    np.testing.assert_array_equal(loaded.values, features.values)


def test_a_course_comes_back_from_save_and_from_a_track(tmp_path):
    watch = tl_entk.Watch("total", [0, 1], torch.eye(5)[:, :2])
    track = tl_entk.Track(
        lambda scale: {"total": scale * torch.diag(torch.arange(5.0))},
        {"sum": watch},
        at=[0, 3],
        k=2,
        path=tmp_path / "tracked",
    )
    for step in (0, 3):
        track(step, step + 1, {"a/b": 0.5})
    course = track.course()
    saved = tl_entk.save(course, tmp_path / "saved.of.a.model")
    assert saved.name == "saved.of.a.model.safetensors"
    moved = saved.rename(tmp_path / "moved.bin")
    for path in (moved, tmp_path / "tracked.safetensors"):
        loaded = tl_entk.load(path)
        assert isinstance(loaded, tl_entk.Course)
        assert loaded.steps.tolist() == [0, 3]
        assert loaded.metrics["a/b"].tolist() == [0.5, 0.5]
        assert torch.equal(loaded.eigenvalues["total"], course.eigenvalues["total"])
        assert torch.equal(loaded.overlaps["sum"], course.overlaps["sum"])
        assert (loaded.max_overlap, loaded.provenance) == ({"sum": 2}, course.provenance)


def test_no_pickle_is_written(model, tmp_path):
    path = tl_entk.save(tl_entk.kernel_blocks(model, tokens()), tmp_path / "blocks")
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(path.read_bytes())


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.ones(2)}, kind="ours")
    before = path.read_bytes()

    def fails(temporary):
        temporary.write_text("half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_atomically(path, fails)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.usefixtures("untyped")
def test_refusals(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tl_entk.save returned"):
        tl_entk.load(tmp_path / "nothing.safetensors")
    with pytest.raises(TypeError, match=r"KernelBlocks.*a Course"):
        tl_entk.save({"a": 1}, tmp_path / "x")
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no tl_entk header"):
        tl_entk.load(tmp_path / "other.safetensors")
