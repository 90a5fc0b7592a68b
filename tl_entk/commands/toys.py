"""The commands ``tl-entk superposition`` and ``tl-entk modular-mlp``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from feature_sets.errors import UserError
from tl_entk.commands.checks import check_seeds, start_run
from tl_entk.commands.console import console, show_report
from tl_entk.commands.options import (
    FIRST_SEED,
    Out,
    Seeds,
    Workers,
    parse_numbers,
    with_settings,
)
from tl_entk.dynamics.course import Course
from tl_entk.experiments.jobs import run_jobs
from tl_entk.experiments.modular_mlp.analysis import FULL_SECOND, SUM, MLPResult
from tl_entk.experiments.modular_mlp.model import MLPSettings
from tl_entk.experiments.records import settings_name
from tl_entk.experiments.superposition.analysis import BETAS, SuperpositionResult, check_betas
from tl_entk.experiments.superposition.model import SuperpositionSettings, paper_regimes
from tl_entk.experiments.toy_jobs import (
    mlp_job,
    mlp_result,
    superposition_job,
    superposition_result,
)
from tl_entk.report.toys.dynamics import timing
from tl_entk.report.toys.modular_mlp import write_mlp
from tl_entk.report.toys.superposition import write_superposition
from tl_entk.report.toys.wording import NONE, format_cliff

Linearization = Annotated[bool, typer.Option(help="Check the linearization too (first seed).")]


@with_settings(
    SuperpositionSettings,
    leave_out=("m", "sparsity", "decay", "learning_rate"),
    helps={"seed": FIRST_SEED},
)
def superposition(
    settings: SuperpositionSettings,
    *,
    seeds: Seeds = 1,
    betas: Annotated[
        str, typer.Option(help="Importance exponents, from 0 to 1, separated by commas.")
    ] = ",".join(map(str, BETAS)),
    m: Annotated[
        int | None, typer.Option(help="Width of the bottleneck, for one regime of your own.")
    ] = None,
    sparsity: Annotated[
        float | None, typer.Option(help="Probability of zero, for one regime of your own.")
    ] = None,
    linearization: Linearization = True,
    workers: Workers = None,
    out: Out = Path("runs"),
) -> None:
    """Toy models of superposition: the paper's three regimes, or one of your own.

    A second call with the same settings reuses what was computed.
    """
    regimes = _regimes(settings, m, sparsity)
    exponents = parse_numbers(betas)
    check_betas(exponents)
    check_seeds(seeds)
    kind, always = (
        ("superposition-regimes", ("seed",))
        if len(regimes) > 1
        else ("superposition", ("m", "sparsity", "seed"))
    )
    target = out / (settings_name(kind, regimes[0], always) + _more_seeds(seeds))
    jobs = {
        seed: [
            superposition_job(
                replace(regime, seed=seed),
                exponents,
                out,
                fits=linearization and seed == settings.seed,
            )
            for regime in regimes
        ]
        for seed in range(settings.seed, settings.seed + seeds)
    }
    start_run(target, "training, decomposing, comparing")
    every = [job for row in jobs.values() for job in row]
    run_jobs(every, workers=workers, progress=console.is_terminal)
    found = {seed: [superposition_result(job) for job in row] for seed, row in jobs.items()}
    _show_cliffs(found)
    show_report(write_superposition(found, target))


def _regimes(
    settings: SuperpositionSettings, m: int | None, sparsity: float | None
) -> list[SuperpositionSettings]:
    """The one regime asked for, or the paper's three.

    Raises:
        UserError: if half of a regime is given.
    """
    if (m is None) != (sparsity is None):
        raise UserError("a regime of your own has both: pass --m and --sparsity.")
    if m is not None and sparsity is not None:
        return [replace(settings, m=m, sparsity=sparsity)]
    return [replace(settings, m=r.m, sparsity=r.sparsity) for r in paper_regimes()]


def _show_cliffs(found: dict[int, list[SuperpositionResult]]) -> None:
    table = Table("regime", "seed", "last cliff", "first cliff", "W^T W > 0.75", box=None)
    for seed, results in found.items():
        for result in results:
            cliffs = (result.cliff(), result.first_cliff())
            places = map(format_cliff, cliffs)
            table.add_row(result.name, str(seed), *places, str(result.represented))
    console.print(table)


@with_settings(MLPSettings, helps={"seed": FIRST_SEED})
def modular_mlp(
    settings: MLPSettings,
    *,
    seeds: Seeds = 1,
    collapses: Annotated[
        bool, typer.Option(help="Other collapses too (first seed): classes, mean, flattened.")
    ] = True,
    linearization: Linearization = True,
    workers: Workers = None,
    out: Out = Path("runs"),
) -> None:
    """Modular addition by an MLP: spectra, cliffs, rotations, dynamics.

    A second call with the same settings reuses what was computed.
    """
    check_seeds(seeds)
    name = settings_name("modular-mlp", settings, ("seed", "p", "epochs"))
    target = out / (name + _more_seeds(seeds))
    jobs = {
        seed: mlp_job(
            replace(settings, seed=seed),
            out,
            collapses=collapses and seed == settings.seed,
            fits=linearization and seed == settings.seed,
        )
        for seed in range(settings.seed, settings.seed + seeds)
    }
    start_run(target, "training, following, analysing")
    run_jobs(list(jobs.values()), workers=workers, progress=console.is_terminal)
    found = {seed: mlp_result(job) for seed, job in jobs.items()}
    _show_rotations(found)
    show_report(write_mlp(found, target))


def _show_rotations(found: dict[int, tuple[MLPResult, Course]]) -> None:
    table = Table("seed", "test accuracy", "on a+b", "on a-b", "peak", "onset", box=None)
    for seed, (result, course) in found.items():
        when, second = timing(course, SUM), result.overlaps[FULL_SECOND]
        table.add_row(
            str(seed),
            f"{float(course.metrics['test_accuracy'][-1]):.1%}",
            f"{second['a+b']:.2f}",
            f"{second['a-b']:.2f}",
            NONE if when.peak is None else str(when.peak),
            NONE if when.onset is None else str(when.onset),
        )
    console.print(table)


def _more_seeds(seeds: int) -> str:
    """What a folder's name says of several seeds."""
    return "" if seeds == 1 else f"-and-{seeds - 1}-more"
