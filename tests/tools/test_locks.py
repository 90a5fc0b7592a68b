"""Folders that one run has for itself, and temporary files that killed processes leave."""

import subprocess
import sys
import tempfile
from threading import Thread

import pytest

from feature_sets.errors import UserError
from tl_entk.tools.files import read_kept, write_kept
from tl_entk.tools.locks import LOCK, lock_folder
from tl_entk.tools.whole_files import write_atomically

pytestmark = pytest.mark.plain

# each says when it is where it waits
HOLDS = """
from pathlib import Path
from tl_entk.tools.locks import lock_folder
with lock_folder(Path({folder!r})):
    print("there", flush=True)
    input()
"""
WRITES = """
from pathlib import Path
from tl_entk.tools.locks import temporary_beside
with temporary_beside(Path({folder!r}) / "x.json") as folder:
    (folder / ".tmpabc").write_text("half")
    print("there", flush=True)
    input()
"""


def start(code, folder):
    process = subprocess.Popen(
        [sys.executable, "-c", code.format(folder=str(folder))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "there\n"
    return process


def end(process):
    process.kill()
    process.communicate(timeout=30)


def test_a_folder_is_of_one_run_at_a_time_and_free_after_a_kill(tmp_path):
    folder = tmp_path / "run"
    other = start(HOLDS, folder)
    try:
        with pytest.raises(UserError, match=rf"another run is writing to {folder}: wait"):
            lock_folder(folder).__enter__()
    finally:
        end(other)
    assert [path.name for path in folder.iterdir()] == [LOCK]
    with lock_folder(folder):
        pass
    with lock_folder(folder), pytest.raises(UserError, match="another run"):
        lock_folder(folder).__enter__()


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path):
    living = start(WRITES, tmp_path)
    try:
        killed = start(WRITES, tmp_path)
        end(killed)
        both = set(tmp_path.iterdir())
        assert len(both) == 2
        write_kept(tmp_path / "y.json", {})  # of another name: swept when x is written again
        assert both < set(tmp_path.iterdir())
        with lock_folder(tmp_path):
            pass
        (left,) = {path for path in tmp_path.iterdir() if path.is_dir()}
        assert (left / ".tmpabc").read_text() == "half"
    finally:
        end(living)
    write_kept(tmp_path / "x.json", {"a": 2})
    assert read_kept(tmp_path / "x.json") == {"a": 2}
    assert {path.name for path in tmp_path.iterdir()} == {"x.json", "y.json", LOCK}


def test_what_a_living_process_has_not_locked_yet_is_not_swept(tmp_path, monkeypatch):
    """Another one writes the same file between the making of a temporary folder and its lock."""
    path, make, others = tmp_path / "x.json", tempfile.mkdtemp, []

    def made(*args, **options):
        name = make(*args, **options)
        if not others:
            others.append(Thread(target=write_kept, args=(path, {"a": 1})))
            others[0].start()
            others[0].join(0.2)
        return name

    monkeypatch.setattr(tempfile, "mkdtemp", made)
    write_kept(path, {"a": 1})
    others[0].join(30)
    assert read_kept(path) == {"a": 1}
    assert [found.name for found in tmp_path.iterdir()] == ["x.json"]


def test_names_with_signs_of_patterns_sweep_their_own(tmp_path):
    (tmp_path / ".a1.zzz.tmp").mkdir()
    (tmp_path / ".a[1].zzz.tmp").mkdir()
    write_atomically(tmp_path / "a[1]", lambda path: path.write_text("x"))
    assert {path.name for path in tmp_path.iterdir()} == {".a1.zzz.tmp", "a[1]"}
