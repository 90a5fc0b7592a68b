"""What the command line answers at once: nothing heavy is imported for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tl_entk

pytestmark = pytest.mark.plain

ROOT = Path(tl_entk.__file__).parent.parent
HEAVY = ("torch", "sklearn", "transformer_lens", "transformers", "spacy", "scipy", "matplotlib")
LOOK = f"""
import sys
from tl_entk.commands.main import main
sys.argv = ["tl-entk", *sys.argv[1:]]
try:
    main()
finally:
    print(*(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)
"""


def look(*arguments):
    """A call in a process of its own: exit code, output, heavy packages that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *arguments],
        capture_output=True, text=True,
        env={**os.environ, "COLUMNS": "120", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr, done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "shown"),
    [
        (["--help"], 0, "Exit codes: 0 done, 2 something you can fix"),
        (["--version"], 0, f"tl_entk {tl_entk.__version__}"),
        (["langage"], 2, "No such command 'langage'"),
        (["language", "--help"], 0, "--layers 0,3-5 --k 10"),
        (["language", "--layer", "3"], 2, "No such option: --layer"),
        (["language", "--per-tag", "4"], 2, "pass 8 or more"),
        (["language", "--probe", "svm"], 2, "pass logistic or ridge"),
        (["modular-transformer", "--p", "4"], 2, "odd number"),
        (["modular-mlp", "--workers", "0"], 2, "pass 1 or more"),
        (["board-game", "--size", "5"], 2, "even number"),
        (["superposition", "--m", "3"], 2, "pass --m and --sparsity"),
        (["paper", "--model-class", "x"], 2, "hooked or bridge"),
        (["replay", "nowhere"], 2, "no config.json in nowhere"),
    ],
)
def test_help_and_what_is_wrong_come_at_once(arguments, code, shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, text, heavy = look(*arguments)
    assert (found, heavy) == (code, "")
    assert shown in text
    assert "Traceback" not in text
    assert not list(tmp_path.iterdir())


def test_public_names_are_there_when_asked_for():
    listed = [name for name in dir(tl_entk) if not name.startswith("__")]
    assert listed == sorted(tl_entk.__all__)
    for name in tl_entk.__all__:
        assert getattr(tl_entk, name).__name__.rpartition(".")[2] == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tl_entk.nothing
