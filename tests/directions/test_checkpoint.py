"""Checkpoints of the solver: what they are refused for, and that nobody sees that one was used."""

import errno
import os
import sys
from contextlib import contextmanager
from functools import partial

import pytest
import torch

import tl_entk
from feature_sets.errors import UserError
from tests.directions.matrices import Matrix, check, random_kernel
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


@contextmanager
def interrupt_at(wanted):
    """Ctrl-C before a line of the solver is run, counted from 1; the count of those that were."""
    lines, before = [0], sys.gettrace()

    def trace(frame, event, _):
        if not frame.f_code.co_filename.endswith(("lanczos.py", "complement.py", "solver.py")):
            return None
        if event == "line":
            lines[0] += 1
            if lines[0] == wanted:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


# copies that a search finds; a rank that leaves room for random vectors alone; thick restarts
SPECTRA = {
    "copies": ([1.0] * 2 + [0.5] * 3 + [0.1] * 20, 4, None),
    "low rank": ([1.0, 0.5, 0.25] + [0.0] * 22, 4, None),
    "restarts": ([0.8**i for i in range(25)], 3, 8 * 2 * 25 * 8),
}


def solver_of(name):
    values, k, budget = SPECTRA[name]
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(25, 25, generator=generator, dtype=torch.float64))[0]
    matrix = (turn * torch.tensor(values, dtype=torch.float64)) @ turn.T
    return partial(leading_eigenpairs, matrix, k, tol=1e-4, basis_budget=budget)


def check_same_bits(found, whole):
    assert found.provenance == whole.provenance
    for part, tensor in whole.tensors().items():
        assert torch.equal(getattr(found, part), tensor), part


@pytest.mark.parametrize("name", SPECTRA)
def test_interrupted_anywhere_a_solve_goes_on_to_the_same_bits(name, tmp_path):
    solve = solver_of(name)
    with interrupt_at(None) as lines:
        whole = solve()
    for number in range(1, lines[0], lines[0] // 20):
        path = tmp_path / str(number)
        with pytest.raises(KeyboardInterrupt), interrupt_at(number):
            solve(resume=path)
        check_same_bits(solve(resume=path), whole)


@pytest.mark.parametrize("name", ["copies", "low rank"])
def test_interrupted_right_after_a_draw_a_solve_draws_the_same_again(name, tmp_path, monkeypatch):
    solve, draw, drawn = solver_of(name), Rows.random, []

    def interrupted(rows, width, generator, like):
        drawn.append(draw(rows, width, generator, like))
        if len(drawn) == stop:
            raise KeyboardInterrupt
        return drawn[-1]

    stop = None
    monkeypatch.setattr(Rows, "random", interrupted)
    whole, count = solve(), len(drawn)
    assert count >= 2
    for stop in range(1, count + 1):
        path = tmp_path / str(stop)
        drawn.clear()
        with pytest.raises(KeyboardInterrupt):
            solve(resume=path)
        check_same_bits(solve(resume=path), whole)


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


def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
    matrix, path = random_kernel(decay=0.95), tmp_path / "basis.safetensors"
    whole = leading_eigenpairs(Matrix(matrix), 6, tol=1e-8)
    with pytest.raises(KeyboardInterrupt):
        leading_eigenpairs(Matrix(matrix, fail_after=20), 6, tol=1e-8, resume=path)
    rest = Matrix(matrix)
    eigen = leading_eigenpairs(rest, 6, tol=1e-8, resume=path)
    assert torch.equal(eigen.eigenvalues, whole.eigenvalues)
    assert torch.equal(eigen.vectors, whole.vectors)
    # 20 products were saved, one more tells that the kernel is the same
    assert rest.products == whole.provenance["products"] - 20 + 1
    # finished: a call with more pairs goes on, one with the same does nothing more
    again = Matrix(matrix)
    leading_eigenpairs(again, 6, tol=1e-8, resume=path)
    assert again.products == 1
    check(leading_eigenpairs(Matrix(matrix), 9, tol=1e-8, resume=path), matrix, 9, 1e-8)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    matrix, path = random_kernel(), tmp_path / "basis.safetensors"
    leading_eigenpairs(Matrix(matrix), 3, resume=path)
    with pytest.raises(ValueError, match=r"seed: '0', not '1'"):
        leading_eigenpairs(Matrix(matrix), 3, resume=path, seed=1)
    with pytest.raises(ValueError, match="weights differ"):
        leading_eigenpairs(Matrix(random_kernel(seed=5)), 3, resume=path)
    other = Matrix(matrix)
    other.identity = {"component": "another"}
    with pytest.raises(ValueError, match="component: 'a matrix', not 'another'"):
        leading_eigenpairs(other, 3, resume=path)
    path.write_text("no safetensors")
    with pytest.raises(ValueError, match="is no checkpoint"):
        leading_eigenpairs(Matrix(matrix), 3, resume=path)
    tl_entk.save(tl_entk.eigendecompose(matrix, 2), path)
    with pytest.raises(ValueError, match="no checkpoint of tl_entk's solver"):
        leading_eigenpairs(Matrix(matrix), 3, resume=path)


def test_what_people_read_of_a_kernel_decides_nothing(tmp_path):
    matrix, path = random_kernel(), tmp_path / "basis.safetensors"
    leading_eigenpairs(Matrix(matrix), 3, resume=path)
    other = Matrix(matrix)
    other.provenance = {"component": "another", "precision": "half"}
    leading_eigenpairs(other, 3, resume=path)
    assert other.products == 1


def test_products_that_are_not_finite_spoil_no_checkpoint(tmp_path):
    matrix, path = random_kernel(decay=0.95), tmp_path / "basis"
    leading_eigenpairs(Matrix(matrix), 3, tol=1e-3, resume=path)
    before = path.read_bytes()

    class Broken(Matrix):
        def __matmul__(self, x):
            product = super().__matmul__(x)
            return product if self.products == 1 else product * float("nan")

    with pytest.raises(RuntimeError, match="not finite"):
        leading_eigenpairs(Broken(matrix), 20, resume=path)
    assert path.read_bytes() == before
