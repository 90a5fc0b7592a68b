"""Jobs side by side: done once, taken up again, and honest about failures."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from tl_entk.experiments.jobs import Job, run_jobs

pytestmark = pytest.mark.plain


def write(path, text):
    with Path(path).open("a") as file:
        file.write(text)


def fail(path, text):
    raise RuntimeError(text)


def forget(path, text):
    pass


def write_threads(path, text):
    Path(path).write_text(str(torch.get_num_threads()))


def jobs(folder, run=write, count=3):
    return [
        Job(f"job {i}", run, (str(folder / f"{i}"), "x"), folder / f"{i}") for i in range(count)
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_each_job_runs_once(workers, tmp_path):
    for _ in range(2):
        run_jobs(jobs(tmp_path), workers=workers)
    assert [(tmp_path / str(i)).read_text() for i in range(3)] == ["x"] * 3


def test_a_job_shows_its_own_progress_where_it_runs_in_this_process(tmp_path):
    shown = []

    def note(path, text, *, progress):
        shown.append(progress)
        write(path, text)

    for i, progress in enumerate([True, False]):
        path = tmp_path / str(i)
        job = Job("own bar", note, (str(path), "x"), path, shows=True)
        run_jobs([job], workers=1, progress=progress)
    assert shown == [True, False]


def test_the_longest_comes_first(tmp_path):
    order = tmp_path / "order"
    listed = [
        Job(str(weight), lambda path, text: (write(order, text), write(path, "")),
            (str(tmp_path / str(weight)), str(weight)), tmp_path / str(weight), weight)
        for weight in (1.0, 5.0, 3.0)
    ]  # fmt: skip
    run_jobs(listed, workers=1)
    assert order.read_text() == "5.03.01.0"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_is_named_and_the_rest_stays_done(workers, tmp_path):
    done = jobs(tmp_path, count=1)
    run_jobs(done, workers=1)
    with pytest.raises(RuntimeError, match="x") as caught:
        run_jobs([*done, *jobs(tmp_path / "other", fail, count=2)], workers=workers)
    assert any("in job" in note for note in caught.value.__notes__)
    assert (tmp_path / "0").read_text() == "x"


def test_a_job_must_write_its_file(tmp_path):
    with pytest.raises(RuntimeError, match="without writing"):
        run_jobs(jobs(tmp_path, forget), workers=1)
    with pytest.raises(ValueError, match="1 or more"):
        run_jobs(jobs(tmp_path), workers=0)


def test_processes_have_one_thread_each(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    run_jobs(jobs(tmp_path, write_threads), workers=2)
    assert [(tmp_path / str(i)).read_text() for i in range(3)] == ["1"] * 3


def test_an_interruption_ends_the_processes_and_says_so(tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "tl_entk.commands.main", "superposition",
               "--steps", "100000000", "--workers", "2", "--out", str(tmp_path)]  # fmt: skip
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True,
        # a shell's background job would leave interruptions out
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while len(psutil.Process(process.pid).children(recursive=True)) < 2:
        assert process.poll() is None
        time.sleep(0.2)
    # long enough for the jobs to be under way
    time.sleep(5)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on where it stopped" in errors
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
