"""The README's snippets run as they stand, on either class."""

import re
import runpy
from pathlib import Path

import pytest
import torch

import tl_entk
from tests.models import HAS_HOOKED

ROOT = Path(__file__).parent.parent
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
HOOKED, BRIDGE, FIVE_LINES, FEATURES, OPERATOR, TOGETHER, LANGUAGE, OWN, DYNAMICS = SNIPPETS


@pytest.mark.parametrize("start", [*([HOOKED] if HAS_HOOKED else []), BRIDGE])
def test_snippets(start, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict = {}
    for snippet in (start, FIVE_LINES, FEATURES, OPERATOR, TOGETHER):
        exec(compile(snippet, "README.md", "exec"), names)
    assert (tmp_path / "blocks.safetensors").exists()
    assert sum(names["shares"][n] for n in names["blocks"].partition()) == pytest.approx(1)
    shown = capsys.readouterr().out
    assert "blocks.0.head[3]" in shown
    assert "all activations" in shown
    assert "products of" in shown
    assert bool(names["top"].converged.all())


def test_language_snippet(capsys):
    names: dict = {"tl_entk": tl_entk}
    exec(compile(LANGUAGE, "README.md", "exec"), names)
    *shown, difference = capsys.readouterr().out.splitlines()
    assert difference.startswith("IntervalEstimate(value=")
    assert [line.split()[0] for line in shown] == list(names["labels"].features.family("tag").names)


def test_own_module_and_dynamics_snippets(capsys):
    torch.manual_seed(0)
    names: dict = {}
    for snippet in (OWN, DYNAMICS):
        exec(compile(snippet, "README.md", "exec"), names)
    assert list(names["trace"]) == ["W", "W@encode", "W@decode"]
    assert "loss ratio" in capsys.readouterr().out


def test_it_is_five_lines():
    lines = [line for line in FIVE_LINES.splitlines() if line and not line.startswith("import")]
    assert len(lines) == 5


def test_public_names_are_documented():
    for name in tl_entk.__all__:
        assert getattr(tl_entk, name).__doc__, name


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
