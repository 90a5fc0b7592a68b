"""The command line as a user calls it, in a process of its own."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tl_entk
from tests.models import HAS_HOOKED
from tests.report.pages import without_libraries

CLASSES = ["bridge", *(["hooked"] if HAS_HOOKED else [])]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tl_entk.commands.main", *map(str, arguments)],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, "COLUMNS": "200", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.parametrize("model_class", CLASSES)
def test_modular_transformer_end_to_end(model_class, tmp_path):
    small = ["modular-transformer", "--p", 7, "--epochs", 30, "--d-mlp", 32, "--d-model", 32,
             "--model-class", model_class, "--out", tmp_path]  # fmt: skip
    first = run(*small)
    assert first.returncode == 0, first.stderr
    assert "trained in" in first.stdout
    home = next(p for p in tmp_path.iterdir() if p.name.startswith("modular-transformer-"))
    results = json.loads((home / "results.json").read_text())
    assert results["settings"]["p"] == 7
    assert not results["headline"]["model_reused"]
    again = run(*small)
    assert again.returncode == 0, again.stderr
    assert "reused" in again.stdout
    repeated = json.loads((home / "results.json").read_text())
    assert repeated["weight_spectrum"] == results["weight_spectrum"]
    check_outputs(home)


def test_an_interruption_says_so_and_is_no_success(tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "tl_entk.commands.main", "modular-transformer",
               "--epochs", "100000", "--out", tmp_path]  # fmt: skip
    process = subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, text=True,
        # a shell's background job would leave interruptions out
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while not list(tmp_path.rglob("epoch_00025.safetensors")):
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on where it stopped" in errors


def check_outputs(home: Path):
    page = (home / "report.html").read_text()
    # self-contained: no address is fetched, every picture is inlined
    page = without_libraries(page)
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert not re.search(r"https?://(?!vega\.github\.io/schema/|www\.w3\.org/)", page)
    figures = sorted(p.stem for p in (home / "figures").glob("*.png"))
    assert len(figures) == page.count("data:image/svg+xml;base64,") >= 15
    with (home / "tables" / "shares.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"embed.W_E", "blocks.0.attn.W_Q[0]"} <= {row["component"] for row in rows}
    whole = [row for row in rows if "[" not in row["component"]]
    assert sum(float(row["a+b"]) for row in whole) == pytest.approx(1)
    blocks = tl_entk.load(home / "blocks.safetensors")
    assert blocks.total().shape == (49, 49)
    assert tl_entk.load(home / "eigen" / "total.safetensors").converged.all()
    assert len(tl_entk.load(home / "features.safetensors")) > 0
    assert not list(home.rglob("*.pkl")) + list(home.rglob("*.pt"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--p", "2"], "odd number"),
        (["--model-class", "other"], "hooked or bridge"),
        (["--device", "cuda"], "Pass --device cpu"),
        (["--device", "nonsense"], "Pass --device cpu"),
        (["--out", "/proc/nowhere"], "pass another --out"),
        (["--sed", "3"], "No such option"),
    ],
)
def test_user_errors_are_one_line(arguments, message):
    result = run("modular-transformer", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_an_output_path_that_is_a_file(tmp_path):
    (tmp_path / "taken").write_text("")
    result = run("modular-transformer", "--out", tmp_path / "taken")
    assert result.returncode == 2
    assert "pass another --out" in result.stderr


def test_help_names_the_command():
    assert "modular-transformer" in run("--help").stdout
