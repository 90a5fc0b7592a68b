"""Runs whose disk is full, or which are killed, when they write: they end well afterwards."""

import errno
import os
import resource

import pytest
import torch

from tests.test_damaged_files import same
from tl_entk.experiments import ModularSettings
from tl_entk.experiments.modular_transformer import training
from tl_entk.experiments.modular_transformer.analysis import run_modular_transformer
from tl_entk.report.page import write_report
from tl_entk.tools import files
from tl_entk.tools.files import read_kept, read_tensors, write_json, write_kept, write_tensors

SETTINGS = ModularSettings(p=5, epochs=30, d_mlp=16, d_model=16)


class Kill(BaseException):
    """A process that ends here and now: nothing of ours may catch it."""


def found_by(result):
    """What a run has found, without the time that it took."""
    course = result.course
    return [
        result.trained.curve, dict(result.blocks), result.eigen, result.overlaps, result.shares,
        course.steps, course.eigenvalues, course.overlaps, course.metrics, result.purities,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What an uninterrupted run finds, and how many files it writes."""
    replace, count = os.replace, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "RESUME_EVERY", 8)
        patch.setattr(files.os, "replace", lambda *paths: count.append(paths) or replace(*paths))
        result = run_modular_transformer(SETTINGS, tmp_path_factory.mktemp("whole"))
    return found_by(result), len(count)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(("fault", "first"), [("disk", 0), ("before", 1), ("after", 2)])
def test_a_run_ends_well_after_a_fault_at_any_write(fault, first, whole, tmp_path, monkeypatch):
    original, writes = whole
    monkeypatch.setattr(training, "RESUME_EVERY", 8)
    replace = os.replace
    assert writes > 8
    # every kind of file with one of the faults: all with all take minutes
    for place in range(first, writes, 3):
        left = [place]

        def fail(source, target, left=left):
            left[0] -= 1
            if left[0] == -1 and fault != "after":
                raise OSError(errno.ENOSPC, "No space left on device") if fault == "disk" else Kill
            replace(source, target)
            if left[0] == -1:
                raise Kill

        folder = tmp_path / str(place)
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "replace", fail)
            wanted = OSError if fault == "disk" else Kill
            with pytest.raises(wanted) as raised:
                run_modular_transformer(SETTINGS, folder)
        if fault == "disk":
            message = str(raised.value)
            assert message.startswith(f"cannot write {folder}")
            assert message.endswith("(No space left on device): free some room, and call the same "
                                    "again.")  # fmt: skip
            assert ".tmp" not in message
        assert same(found_by(run_modular_transformer(SETTINGS, folder)), original), place
        assert not list(folder.rglob(".*"))


@pytest.fixture
def small_files():
    """No file of this process may be larger than 20 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.plain
@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize(
    ("write", "read"),
    [
        (lambda path, n: write_tensors(path, {"a": torch.ones(n)}, kind="x"), read_tensors),
        (lambda path, n: write_kept(path, {"a": [1.5] * n}), read_kept),
    ],
)
def test_a_file_that_finds_no_room_leaves_the_one_before(write, read, tmp_path):
    path = tmp_path / "x"
    write(path, 10)
    before = read(path)
    with pytest.raises(OSError, match=rf"cannot write {path} \(File too large\): free some room"):
        write(path, 20_000)
    assert same(read(path), before)
    assert [found.name for found in tmp_path.iterdir()] == ["x"]


@pytest.mark.plain
@pytest.mark.parametrize(
    ("number", "text", "fix"),
    [
        (errno.EACCES, "Permission denied", "make the folder writable, or write to another"),
        (errno.EROFS, "Read-only file system", "make the folder writable, or write to another"),
        (errno.EDQUOT, "Disk quota exceeded", "free some room"),
        (errno.EIO, "Input/output error", "see that it can be written to"),
    ],
)
def test_what_the_system_refuses_is_said_of_the_file_itself(
    number, text, fix, tmp_path, monkeypatch
):
    def refuse(*_args, **_options):
        raise OSError(number, text, str(tmp_path / ".x.abc.tmp"))

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(OSError, match=rf"cannot write {tmp_path / 'x'} \({text}\): {fix}") as found:
        write_json(tmp_path / "x", {})
    assert found.value.errno == number
    assert type(found.value) is type(OSError(number, text))


@pytest.mark.plain
def test_what_is_in_the_way_is_named_and_a_report_is_written_once_it_is_gone(tmp_path):
    def write():
        return write_report(tmp_path, "A title", "Lead.", [], [], summary={"one": 1})

    (tmp_path / "report.html").mkdir()
    way = rf"cannot write {tmp_path / 'report.html'} \(Is a directory\): move away what is in"
    with pytest.raises(IsADirectoryError, match=way):
        write()
    (tmp_path / "report.html").rmdir()
    (tmp_path / "part").write_text("a file")
    with pytest.raises(OSError, match=r"part/x\.json \(.*: move away what is in its place"):
        write_json(tmp_path / "part" / "x.json", {})
    assert write() == tmp_path / "report.html"
    assert {path.name for path in tmp_path.iterdir()} == {"part", "report.html", "results.json"}
