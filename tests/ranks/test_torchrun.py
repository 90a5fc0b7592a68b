"""The command as torchrun starts it: the results of one process, and a process that dies."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import tl_entk

pytestmark = pytest.mark.plain

COMMAND = ["language", "--per-tag", "8", "--length", "8", "--k", "4", "--layers", "4-5",
           "--tol", "1e-6", "--per-story", "4", "--readouts", "target_logit", "--sampled", "40",
           "--components", "W_out", "--probe", "ridge"]  # fmt: skip
MODULE = ["-W", "ignore", "-m", "tl_entk.commands.main"]


def environment(**others: str) -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **others}


def directions(out: Path) -> dict[str, tl_entk.EigenDirections]:
    """File name to the eigendirections in it."""
    files = [path for path in out.rglob("layer_*.safetensors") if "basis" not in path.name]
    found = {path.name: tl_entk.load(path) for path in files if "norms" not in path.name}
    assert len(found) >= 2
    return found


def check_same(found: Path, expected: Path) -> None:
    """The same eigendirections, and a report of them."""
    ours, theirs = directions(found), directions(expected)
    assert ours.keys() == theirs.keys()
    for name, eigen in theirs.items():
        torch.testing.assert_close(ours[name].eigenvalues, eigen.eigenvalues, rtol=1e-5, atol=0)
        scores, expected_scores = ours[name].scores.abs(), eigen.scores.abs()
        torch.testing.assert_close(scores, expected_scores, rtol=0, atol=1e-3)
        assert bool(ours[name].converged.all())
    assert list(found.glob("language-*/report.html"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    subprocess.run([sys.executable, *MODULE, *COMMAND, "--exact", "--out", out],
                   check=True, env=environment(), capture_output=True)  # fmt: skip
    return out


def test_torchrun_gives_what_one_process_does(alone, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m",
         "tl_entk.commands.main", *COMMAND, "--exact", "--out", tmp_path],
        env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report: ") == 1
    check_same(tmp_path, alone)


def test_a_process_that_dies_ends_the_run_and_another_number_goes_on(alone, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = [
        subprocess.Popen(
            [sys.executable, *MODULE, *COMMAND, "--exact", "--out", tmp_path],
            env=environment(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank),
                            MASTER_ADDR="127.0.0.1", MASTER_PORT=port),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    # in the middle of the kernels: the first layer's directions are there
    while not list(tmp_path.rglob("layer_*.safetensors")) and processes[0].poll() is None:
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGKILL)
    errors = processes[0].communicate(timeout=120)[1]
    processes[1].communicate()
    assert processes[0].returncode == 2, errors
    assert "another process of this run has ended or does not answer" in errors
    assert "Traceback" not in errors
    again = subprocess.run([sys.executable, *MODULE, *COMMAND, "--exact", "--out", tmp_path],
                           env=environment(), capture_output=True, text=True)  # fmt: skip
    assert again.returncode == 0, again.stderr
    check_same(tmp_path, alone)


def test_commands_that_are_not_split_say_so(tmp_path):
    done = subprocess.run(
        [sys.executable, *MODULE, "modular-mlp", "--out", tmp_path],
        env=environment(RANK="0", WORLD_SIZE="2"), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "tl-entk modular-mlp runs in one process: leave torchrun out" in done.stderr
