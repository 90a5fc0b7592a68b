"""Checkpoints of the solver: what they are refused for, and that nobody sees that one was used."""

import errno
import os

import pytest
import torch

from feature_sets.errors import UserError
from tl_entk.directions.checkpoint import load_state, save_state
from tl_entk.directions.lanczos import LanczosState, first_state, step
from tl_entk.directions.rows import Rows
from tl_entk.directions.solver import leading_eigenpairs

pytestmark = pytest.mark.plain
CPU = torch.device("cpu")


class Stopped:
    """A kernel in float32 whose products end at a number of them, as a killed run's do."""

    def __init__(self, after=None):
        generator = torch.Generator().manual_seed(0)
        factor = torch.randn(400, 60, generator=generator) * torch.logspace(0, -1, 60)
        self.matrix, self.left = factor @ factor.T, after
        self.shape, self.dtype = self.matrix.shape, torch.float32

    def __matmul__(self, x):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left = None if self.left is None else self.left - 1
        return self.matrix @ x


@pytest.mark.parametrize(
    ("after", "block_size"), [(0, 1), (1, 1), (6, 1), (12, 1), (18, 1), (0, 4), (2, 4)]
)
def test_a_solve_that_was_stopped_ends_bit_for_bit_where_it_would_have(after, block_size, tmp_path):
    options = {"block_size": block_size, "resume": tmp_path / "basis"}
    whole = leading_eigenpairs(Stopped(), 5, block_size=block_size)
    assert whole.provenance["products"] > after * block_size
    with pytest.raises(KeyboardInterrupt):
        leading_eigenpairs(Stopped(after), 5, **options)
    resumed = leading_eigenpairs(Stopped(), 5, **options)
    assert resumed.provenance["products"] == whole.provenance["products"]
    for name, tensor in whole.tensors().items():
        assert torch.equal(getattr(resumed, name), tensor), name


def cannot_be_written(folder, monkeypatch):
    """Paths for checkpoints, and what is said of each."""
    yield "", UserError, "path '' names no file"
    yield "a\0b", UserError, "names no file"
    yield 3, UserError, "path is a int"
    yield folder, IsADirectoryError, f"cannot write {folder} .*: move away what is in its place"
    (folder / "file").write_text("in the way")
    yield folder / "file" / "basis", OSError, "file/basis .*: move away what is in its place"
    yield folder / ("a" * 300), OSError, "pass a shorter name"

    def refuse(*_args, **_options):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    yield folder / "basis", PermissionError, f"cannot write {folder / 'basis'} .*: make the folder"


@pytest.mark.usefixtures("untyped")
def test_where_no_checkpoint_can_be_written_nothing_is_multiplied(tmp_path, monkeypatch):
    for path, kind, message in cannot_be_written(tmp_path, monkeypatch):
        with pytest.raises(kind, match=message):
            leading_eigenpairs(Stopped(0), 5, resume=path)


def test_a_folder_for_the_checkpoint_is_made(tmp_path):
    path = tmp_path / "one" / "two" / "basis"
    leading_eigenpairs(Stopped(), 5, resume=path)
    assert [found.name for found in path.parent.iterdir()] == ["basis"]


def state():
    made = first_state(Rows(9), 2, seed=0, dtype=torch.float64, device=CPU)
    step(made, lambda x: 2 * x)
    return made


@pytest.mark.parametrize(
    "change",
    [
        {"basis": torch.eye(9)[:, :2]},
        {"basis": torch.ones(9)},
        {"basis": torch.full((9, 4), torch.nan)},
        {"projected": torch.eye(3)},
        {"projected": torch.eye(2, dtype=torch.int64)},
        {"coupling": torch.ones(2, 3)},
        {"products": -1},
        {"basis": torch.eye(8)[:, :4]},
    ],
)
@pytest.mark.usefixtures("untyped")
def test_parts_that_do_not_belong_together_are_refused(change, tmp_path):
    kernel = {"rows": "9"}
    save_state(tmp_path / "x", state(), kernel)
    assert load_state(tmp_path / "x", kernel, Rows(9), CPU).products == 2
    save_state(tmp_path / "x", LanczosState(**{**vars(state()), **change}), kernel)
    with pytest.raises(UserError, match="checkpoint of tl_entk's solver"):
        load_state(tmp_path / "x", kernel, Rows(9), CPU)
