"""The notebooks of demos/: committed with outputs of a whole run, and they run at small size."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.snippets import ROOT

pytestmark = pytest.mark.plain

NOTEBOOKS = sorted((ROOT / "demos").glob("*.ipynb"))
# nothing of TransformerLens in them
PLAIN = ("06_training_dynamics", "07_your_own_module")
LARGEST = 300_000
# what the packages that we stand on say to the standard error
HOSTS = re.compile(r"Loading weights:|HookedTransformer is deprecated|TqdmWarning: IProgress")
# the line of code that a warning ends with
QUOTED = re.compile(r"^  (model = HookedTransformer\(|from \.autonotebook import)")
ABSOLUTE = re.compile(r"(?<![\w.:/<])(?:/(?:home|root|tmp|work|usr|opt|mnt|Users)/|[A-Z]:\\\\)")

CASES = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.plain] * (path.stem in PLAIN))
    for path in NOTEBOOKS
]


def outputs_of(notebook) -> list:
    return [
        output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    ]


def unexpected_lines(errors: str) -> list[str]:
    """Lines of the standard error that no package below us is known to write."""
    lines = [line for line in re.split(r"[\r\n]", errors) if line.strip()]
    return [line for line in lines if not HOSTS.search(line) and not QUOTED.match(line)]


@pytest.mark.parametrize("path", CASES)
def test_a_notebook_runs_without_warnings(path: Path, tmp_path, monkeypatch):
    monkeypatch.setenv("TL_ENTK_SMALL", "1")
    # tests run side by side: more threads than cores are many times slower
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    notebook = nbformat.read(path, as_version=4)
    folder = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=folder).execute()
    errors = "".join(
        output.text
        for output in outputs_of(notebook)
        if output.output_type == "stream" and output.name == "stderr"
    )
    assert unexpected_lines(errors) == []


def test_a_warning_of_ours_is_not_passed_over():
    said = "cell.py:1: UserWarning: tl_entk says so\n  model = train()\nLoading weights: 100%"
    assert unexpected_lines(said) == said.splitlines()[:2]


@pytest.mark.parametrize("path", CASES)
def test_a_notebook_is_committed_as_a_whole_run_left_it(path: Path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = outputs_of(notebook)
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    assert not ABSOLUTE.findall(json.dumps(notebook, ensure_ascii=False))
    assert path.stat().st_size < LARGEST


@pytest.mark.parametrize("path", CASES)
def test_a_notebook_says_what_one_learns_and_what_to_try(path: Path):
    cells = nbformat.read(path, as_version=4).cells
    assert cells[0].source.startswith("# ")
    assert "**What you learn**" in cells[0].source
    assert "**How long it takes**" in cells[0].source
    assert "## What to try next" in cells[-1].source
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert "TODO" not in prose
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", prose):
        assert (path.parent / target).is_file(), target
