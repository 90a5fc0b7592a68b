"""The command on superposition with structure: two seeds and again, an estimate, wrong options."""

import csv
import re

import pytest
from typer.testing import CliRunner

from tl_entk.commands.main import app
from tl_entk.experiments.structured_superposition import sparse_autoencoders

pytestmark = pytest.mark.plain

SMALL = ["structured-superposition", "--m", "3", "--sparsity", "0.7", "--features", "30",
         "--examples", "60", "--steps", "101"]  # fmt: skip


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(sparse_autoencoders, "_STEPS", 20)


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_two_seeds_and_again(tmp_path):
    options = [*SMALL, "--structures", "hierarchical,sums", "--seeds", 2, "--workers", 1,
               "--out", tmp_path]  # fmt: skip
    first = run(*options)
    assert first.exit_code == 0, (first.output, first.exception)
    (name,) = {p.parent.name for p in tmp_path.rglob("report.html")}
    assert re.fullmatch(r"structured-superposition-seed0-.*-hierarchical-sums-and-1-more", name)
    answer = re.search(r"^answer: (.*)", first.output, re.MULTILINE).group(1)
    assert re.match(r"the largest drop .* in \d of 4 models, and in \d before training", answer)
    folder = tmp_path / name
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "all of one importance. Seeds 0, 1; the first is drawn." in text
    for heading in ("where the spectra drop", "which methods find", "direction by direction"):
        assert heading in text
    tables = {path.stem for path in (folder / "tables").glob("*.csv")}
    assert tables == {
        "structure_drops", "structure_known_numbers", "structure_leads", "structure_kinds",
        "structure_cosines_scores", "structure_cosines_hidden", "structure_cosines_expanded",
        "structure_models",
    }  # fmt: skip
    with open(folder / "tables" / "structure_known_numbers.csv", encoding="utf-8") as file:
        numbers = {(row["structure"], row["number of"]): row["is"] for row in csv.DictReader(file)}
    assert numbers["hierarchical", "children"] == "24"
    assert numbers["sums", "wholes"] == "10"
    written = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("result*.safetensors")}
    assert len(written) == 4
    assert run(*options).exit_code == 0
    assert (folder / "report.html").read_text(encoding="utf-8") == text
    assert {p: p.stat().st_mtime_ns for p in written} == written


def test_one_seed_has_figures_without_intervals(tmp_path):
    result = run(*SMALL, "--structures", "independent", "--workers", 1, "--out", tmp_path)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "nan" not in result.output
    assert "kinds" not in {path.stem for path in tmp_path.rglob("tables/*.csv")}


def test_an_estimate_runs_nothing(tmp_path):
    result = run(*SMALL, "--structures", "sums", "--estimate", "--out", tmp_path / "runs")
    assert result.exit_code == 0, (result.output, result.exception)
    for part in ("sums: training", "kernels and comparison", "come on top"):
        assert part in result.output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        (["--structures", "fractal"], "pass independent or correlated"),
        (["--structures", "none"], "pass one or more of independent"),
        (["--features", "31", "--structures", "sums"], "multiple of 3"),
        (["--sparsity", "0.5", "--structures", "sums"], "0.667 or more"),
        (["--seeds", "0"], "1 or more"),
    ],
)
def test_wrong_options(options, fix, tmp_path):
    result = run(*SMALL, *options, "--out", tmp_path)
    assert isinstance(result.exception, ValueError)
    assert fix in str(result.exception)
    assert not list(tmp_path.iterdir())
