"""Kill small runs of the commands at random moments, run them again, compare with whole ones.

``python -m tests.kill_runs --tries 10`` prints a row for each try, and how many ended with the
tables and tensors of the run that was not interrupted.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from tl_entk.tools.files import read_tensors

COMMANDS = {
    "modular-transformer": [
        "--p", "7", "--epochs", "600", "--d-mlp", "32", "--d-model", "32",
    ],
    "language": [
        "--per-tag", "8", "--length", "8", "--k", "4", "--layers", "4-5", "--tol", "0.01",
        "--per-story", "4", "--readouts", "target_logit", "--components", "W_out", "--probe",
        "ridge", "--exact", "--sampled", "40",
    ],
}  # fmt: skip
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def start(command: str, out: Path) -> subprocess.Popen[str]:
    """The command in a process of its own, which Ctrl-C reaches."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tl_entk.commands.main", command,
         *COMMANDS[command], "--out", str(out)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        # a shell's background job would leave interruptions out
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def differences(whole: Path, again: Path) -> list[str]:
    """Files of tables and tensors that are not the same; wall times do not count."""
    found = []
    for path in sorted(whole.rglob("*.csv")):
        other = again / path.relative_to(whole)
        if not other.exists() or _rows(other) != _rows(path):
            found.append(str(path.relative_to(whole)))
    for path in sorted(whole.rglob("*.safetensors")):
        other = again / path.relative_to(whole)
        if not other.exists() or not _same_tensors(path, other):
            found.append(str(path.relative_to(whole)))
    return found


def _rows(table: Path) -> list[str]:
    """Rows of a table but those of wall times."""
    rows = table.read_text(encoding="utf-8").splitlines()
    return [row for row in rows if not row.startswith("seconds: ")]


def _same_tensors(path: Path, other: Path) -> bool:
    ours, theirs = read_tensors(path).tensors, read_tensors(other).tensors
    names = {name for name in ours if not name.startswith("seconds")}
    return names == {name for name in theirs if not name.startswith("seconds")} and all(
        torch.equal(torch.nan_to_num(ours[name]), torch.nan_to_num(theirs[name])) for name in names
    )


def main() -> None:
    """Kill and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commands", nargs="*", default=list(COMMANDS))
    parser.add_argument("--tries", type=int, default=10, help="kills of each command")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        for command in options.commands:
            whole = Path(folder) / command / "whole"
            began = time.perf_counter()
            if start(command, whole).wait():
                raise SystemExit(f"{command} does not run.")
            seconds = time.perf_counter() - began
            survived = 0
            for number in range(options.tries):
                again, kind = Path(folder) / command / str(number), SIGNALS[number % 3]
                after = draw.uniform(0.1, 1) * seconds
                process = start(command, again)
                try:
                    process.wait(after)
                except subprocess.TimeoutExpired:
                    process.send_signal(kind)
                process.communicate()
                code = process.returncode
                left = len(list(again.rglob(".*.tmp")))
                rest = start(command, again)
                errors = rest.communicate()[1]
                wrong = [errors] if rest.returncode else differences(whole, again)
                swept = not list(again.rglob(".*.tmp"))
                survived += not wrong and swept
                print(
                    f"{command}: {kind.name} after {after:.1f} of {seconds:.1f} s (code {code}), "
                    f"{left} temporary left, {'swept' if swept else 'NOT SWEPT'}; "
                    f"{'the same' if not wrong else f'DIFFERENT: {wrong}'}",
                    flush=True,
                )
            print(f"{command}: {survived} of {options.tries} survived", flush=True)


if __name__ == "__main__":
    main()
