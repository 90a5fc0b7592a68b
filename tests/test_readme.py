"""The README: short, its snippets run as they stand, its links and the demos work."""

import re
import runpy
from pathlib import Path

import pytest

from tests.snippets import README, read_snippets

ROOT = Path(__file__).parent.parent


def test_it_is_five_lines():
    _, five = (snippet.source.splitlines() for snippet in read_snippets(README))
    assert len(five) == 5


def test_it_is_short():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 950


def test_nothing_is_left_to_fill_in():
    assert "@@" not in (ROOT / "README.md").read_text()


def test_linked_files_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / target).exists(), target


DEMOS = {
    "modular_addition.py": (["7", "20"], "key frequencies"),
    "grammar.py": (["12"], "target logit: macro AP"),
    "dynamics.py": (["7", "40"], "onset of grokking"),
}


@pytest.mark.parametrize("name", DEMOS)
def test_demos_run(name, monkeypatch, capsys):
    arguments, expected = DEMOS[name]
    monkeypatch.setattr("sys.argv", [name, *arguments])
    runpy.run_path(str(ROOT / "demos" / name), run_name="__main__")
    assert expected in capsys.readouterr().out


def test_every_demo_is_run():
    # gemma.py fetches weights: tests/language/test_fetch_gemma.py
    assert {path.name for path in (ROOT / "demos").glob("*.py")} == {*DEMOS, "gemma.py"}
