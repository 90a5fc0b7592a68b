"""The commands on small settings, and everything of the paper in small."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.models import HAS_HOOKED
from tl_entk.commands.main import app
from tl_entk.experiments import paper as paper_module
from tl_entk.experiments.modular_mlp.model import MLPSettings
from tl_entk.experiments.modular_transformer.task import ModularSettings
from tl_entk.experiments.superposition.model import SuperpositionSettings

CLASSES = ["bridge", *(["hooked"] if HAS_HOOKED else [])]
TOY = ["superposition", "--m", "3", "--sparsity", "0.5", "--features", "6", "--examples", "40",
       "--steps", "101", "--betas", "0,0.3"]  # fmt: skip
MLP = ["modular-mlp", "--p", "7", "--n", "16", "--epochs", "20"]
INDUCTION = ["induction-heads", "--n-heads", "2", "--d-model", "8", "--d-head", "4", "--steps",
             "130", "--checkpoints", "3", "--pairs", "8"]  # fmt: skip
# too short to grok: the report must do without an onset
NO_GROKKING = [*MLP, "--no-linearization", "--no-collapses"]


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def report_of(result):
    assert result.exit_code == 0, (result.output, result.exception)
    path = re.search(r"^report: (\S+)", result.output, re.MULTILINE).group(1)
    with open(path, encoding="utf-8") as file:
        return file.read()


@pytest.mark.plain
@pytest.mark.parametrize("command", [TOY, MLP, INDUCTION, ["modular-transformer", "--p", "5"]])
def test_an_estimate_runs_nothing(command, tmp_path):
    result = run(*command, "--estimate", "--out", tmp_path / "runs")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "all of it" in result.output
    assert "come on top" in result.output
    assert not (tmp_path / "runs").exists()


@pytest.mark.plain
@pytest.mark.parametrize(
    ("command", "images"),
    [([*TOY, "--no-linearization"], 4), (NO_GROKKING, 7), (INDUCTION, 4)],
    ids=["superposition", "mlp", "induction"],
)
def test_two_seeds_and_again(command, images, tmp_path):
    options = [*command, "--seeds", 2, "--workers", 1, "--out", tmp_path]
    first = run(*options)
    text = report_of(first)
    answer, report, look = first.output.splitlines()[-3:]
    assert answer.startswith("answer: the ")
    assert look == f"open {Path(report.removeprefix('report: ')).as_uri()} in a browser"
    assert text.count("<img") >= images
    assert not re.search(r'(src|href)="http', text)
    written = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("result*.safetensors")}
    assert len(written) == 2
    assert report_of(run(*options)) == text
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("result*.safetensors")} == written


@pytest.mark.parametrize(
    ("options", "mend"),
    [
        ([*TOY[:3], "--out"], "pass --m and --sparsity"),
        ([*TOY[:-1], "0,x", "--out"], "separated by commas"),
        ([*TOY, "--seeds", "0", "--out"], "1 or more"),
        ([*MLP, "--seeds", "0", "--out"], "1 or more"),
        ([*MLP, "--workers", "0", "--out"], "1 or more"),
        ([*INDUCTION, "--seeds", "0", "--out"], "1 or more"),
        (["modular-mlp", "--p", "113", "--out"], "--no-linearization"),
        (["paper", "--model-class", "x", "--out"], "hooked or bridge"),
    ],
)
def test_bad_options(options, mend, tmp_path):
    result = run(*options, tmp_path)
    assert isinstance(result.exception, ValueError)
    assert mend in str(result.exception)


@pytest.mark.plain  # on 4.x tests/test_cli.py has the Transformer
@pytest.mark.parametrize("model_class", CLASSES[-1:])
def test_the_paper_in_small(model_class, tmp_path, monkeypatch):
    small = {"features": 6, "examples": 40, "steps": 101}
    monkeypatch.setattr(paper_module, "SEEDS", (0, 2))
    monkeypatch.setattr(
        paper_module,
        "paper_regimes",
        lambda seed: [
            SuperpositionSettings(m=m, sparsity=S, seed=seed, **small)
            for m, S in ((2, 0.3), (2, 0.6), (4, 0.6))
        ],
    )
    monkeypatch.setattr(
        paper_module, "MLPSettings", lambda seed=0, n=32: MLPSettings(seed, p=7, n=n, epochs=40)
    )
    monkeypatch.setattr(
        paper_module,
        "ModularSettings",
        lambda seed: ModularSettings(seed=seed, p=7, d_model=32, d_mlp=32, epochs=60),
    )
    options = ["paper", "--workers", 1, "--model-class", model_class, "--out", tmp_path]
    text = report_of(run(*options))
    for heading in ("paper&#39;s figures and ours", "MLP: a narrow one", "foretell grokking"):
        assert heading in text
    assert text.count("<img") >= 25
    again = run(*options)
    assert "0 of them still to do" in again.output
    tables = {path.stem for path in (tmp_path / "paper" / "tables").iterdir()}
    assert {"paper_and_ours", "all_peak_and_onset", "tracking_cost", "mlp_linearization"} <= tables
