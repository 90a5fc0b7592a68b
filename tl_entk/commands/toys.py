"""The commands ``tl-entk superposition``, ``modular-mlp`` and ``paper``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from feature_sets.errors import UserError
from tl_entk.commands.checks import check_model_class, check_writable
from tl_entk.experiments.jobs import run_jobs
from tl_entk.experiments.modular_mlp.analysis import FULL_SECOND, SUM
from tl_entk.experiments.modular_mlp.model import MLPSettings
from tl_entk.experiments.paper import run_paper
from tl_entk.experiments.records import settings_name
from tl_entk.experiments.superposition.analysis import BETAS, check_betas
from tl_entk.experiments.superposition.model import SuperpositionSettings, paper_regimes
from tl_entk.experiments.toy_jobs import (
    mlp_job,
    mlp_result,
    superposition_job,
    superposition_result,
)
from tl_entk.report.toys.dynamics import timing
from tl_entk.report.toys.modular_mlp import write_mlp
from tl_entk.report.toys.paper import write_paper
from tl_entk.report.toys.paper_table import paper_table
from tl_entk.report.toys.superposition import write_superposition

console = Console()
_MLP = MLPSettings()
_TOY = SuperpositionSettings()
_BETAS = ",".join(map(str, BETAS))

Seed = Annotated[int, typer.Option(help="First seed; it is the one drawn.")]
Seeds = Annotated[int, typer.Option(help="How many seeds, from the first on.")]
Out = Annotated[Path, typer.Option(help="Folder for results and reports.")]
Workers = Annotated[int | None, typer.Option(help="Processes side by side; default two.")]


def superposition(
    seed: Seed = 0,
    seeds: Seeds = 1,
    betas: Annotated[
        str, typer.Option(help="Importance exponents, from 0 to 1, separated by commas.")
    ] = _BETAS,
    m: Annotated[
        int | None, typer.Option(help="Width of the bottleneck, for one regime of your own.")
    ] = None,
    sparsity: Annotated[
        float | None, typer.Option(help="Probability of zero, for one regime of your own.")
    ] = None,
    features: Annotated[int, typer.Option(help="Features n.")] = _TOY.features,
    examples: Annotated[int, typer.Option(help="Samples N.")] = _TOY.examples,
    steps: Annotated[int, typer.Option(help="Steps of Adam.")] = _TOY.steps,
    linearization: Annotated[
        bool, typer.Option(help="Check the linearization too (first seed).")
    ] = True,
    workers: Workers = None,
    out: Out = Path("runs"),
) -> None:
    """Toy models of superposition: the paper's three regimes, or one of your own.

    A second call with the same settings reuses what was computed.
    """
    if (m is None) != (sparsity is None):
        raise UserError("a regime of your own has both: pass --m and --sparsity.")
    exponents = _numbers(betas)
    check_betas(exponents)
    _check_seeds(seeds)
    common = {"features": features, "examples": examples, "steps": steps}
    regimes = [
        [
            SuperpositionSettings(m=w, sparsity=S, seed=s, **common)  # type: ignore[arg-type]
            for w, S in (
                [(r.m, r.sparsity) for r in paper_regimes()] if m is None else [(m, sparsity)]
            )
        ]
        for s in range(seed, seed + seeds)
    ]
    first = regimes[0][0]
    always = ("seed",) if m is None else ("m", "sparsity", "seed")
    ending = "-regimes" if m is None else ""
    target = out / (settings_name(f"superposition{ending}", first, always) + _several(seeds))
    check_writable(target)
    jobs = [
        [superposition_job(s, exponents, out, fits=linearization and not i) for s in row]
        for i, row in enumerate(regimes)
    ]
    console.print(f"[bold]{target.name}[/bold]: training, decomposing, comparing")
    flat = [job for row in jobs for job in row]
    run_jobs(flat, workers=workers, progress=console.is_terminal)
    found = {
        row[0].seed: [superposition_result(job) for job in done]
        for row, done in zip(regimes, jobs, strict=True)
    }
    table = Table("regime", "seed", "last cliff", "first cliff", "W^T W > 0.75", box=None)
    for number, results in found.items():
        for r in results:
            last, start = r.cliff(), r.first_cliff()
            cells = [str(c.position) if c else "none" for c in (last, start)]
            table.add_row(r.name, str(number), *cells, str(r.represented))
    console.print(table)
    console.print(f"report: {write_superposition(found, target)}", soft_wrap=True)


def modular_mlp(
    seed: Seed = _MLP.seed,
    seeds: Seeds = 1,
    p: Annotated[int, typer.Option(help="Modulus.")] = _MLP.p,
    n: Annotated[int, typer.Option(help="Hidden units; 64 is the paper's narrow model.")] = _MLP.n,
    epochs: Annotated[int, typer.Option(help="Full-batch steps.")] = _MLP.epochs,
    train_fraction: Annotated[
        float, typer.Option(help="Share of the pairs to train on.")
    ] = _MLP.train_fraction,
    learning_rate: Annotated[float, typer.Option(help="AdamW.")] = _MLP.learning_rate,
    weight_decay: Annotated[float, typer.Option(help="AdamW.")] = _MLP.weight_decay,
    collapses: Annotated[
        bool, typer.Option(help="Other collapses too (first seed): classes, mean, flattened.")
    ] = True,
    linearization: Annotated[
        bool, typer.Option(help="Check the linearization too (first seed).")
    ] = True,
    workers: Workers = None,
    out: Out = Path("runs"),
) -> None:
    """Modular addition by an MLP: spectra, cliffs, rotations, dynamics.

    A second call with the same settings reuses what was computed.
    """
    _check_seeds(seeds)
    every = [
        MLPSettings(
            seed=s,
            p=p,
            n=n,
            epochs=epochs,
            train_fraction=train_fraction,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
        )
        for s in range(seed, seed + seeds)
    ]
    name = settings_name("modular-mlp", every[0], ("seed", "p", "epochs"))
    target = out / (name + _several(seeds))
    check_writable(target)
    jobs = [
        mlp_job(s, out, collapses=collapses and not i, fits=linearization and not i)
        for i, s in enumerate(every)
    ]
    console.print(f"[bold]{target.name}[/bold]: training, following, analysing")
    run_jobs(jobs, workers=workers, progress=console.is_terminal)
    found = {s.seed: mlp_result(job) for s, job in zip(every, jobs, strict=True)}
    table = Table("seed", "test accuracy", "on a+b", "on a-b", "peak", "onset", box=None)
    for number, (result, course) in found.items():
        when, second = timing(course, SUM), result.overlaps[FULL_SECOND]
        table.add_row(
            str(number),
            f"{float(course.metrics['test_accuracy'][-1]):.1%}",
            f"{second['a+b']:.2f}",
            f"{second['a-b']:.2f}",
            str(when.peak),
            str(when.onset),
        )
    console.print(table)
    console.print(f"report: {write_mlp(found, target)}", soft_wrap=True)


def paper(
    workers: Workers = None,
    model_class: Annotated[
        str | None, typer.Option(help="Of the Transformer: hooked or bridge.")
    ] = None,
    out: Out = Path("runs"),
) -> None:
    """Everything of the paper that is no language model: five seeds, one report, one table.

    An interrupted run goes on where it stopped; a finished one is only drawn again.
    """
    chosen = check_model_class(model_class)
    target = out / "paper"
    check_writable(target)
    start = time.perf_counter()
    result = run_paper(
        out,
        chosen,
        workers=workers,
        progress=console.is_terminal,
        say=lambda line: console.print(f"[bold]paper[/bold]: {line}"),
    )
    computed = time.perf_counter() - start
    with console.status("writing the report"):
        page = write_paper(result, target, computed)
    table = Table("setting", "figure", "paper's", "ours", box=None)
    for setting, figure, theirs, ours, _, _ in paper_table(result).rows:
        table.add_row(str(setting), str(figure), str(theirs), str(ours))
    console.print(table)
    console.print(f"{computed:.0f} s of computing, {time.perf_counter() - start:.0f} s in all")
    console.print(f"report: {page}", soft_wrap=True)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise UserError(f"{text!r}: pass numbers separated by commas, as 0,0.3,1.") from error


def _check_seeds(seeds: int) -> None:
    if seeds < 1:
        raise UserError(f"--seeds {seeds}: pass 1 or more.")


def _several(seeds: int) -> str:
    return "" if seeds == 1 else f"-and-{seeds - 1}-more"
