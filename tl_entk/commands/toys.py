"""The commands ``tl-entk superposition`` and ``tl-entk modular-mlp``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from feature_sets.errors import UserError
from tl_entk.commands.call import Call
from tl_entk.commands.checks import check_seeds, check_workers, run_folder
from tl_entk.commands.console import show_costs, show_end, shows_progress, working
from tl_entk.commands.options import (
    FIRST_SEED,
    Estimate,
    Out,
    Seeds,
    Workers,
    as_command,
    parse_numbers,
)
from tl_entk.experiments.modular_mlp.settings import MLPSettings
from tl_entk.experiments.settings import settings_name
from tl_entk.experiments.superposition.settings import (
    BETAS,
    SuperpositionSettings,
    check_betas,
    paper_regimes,
)

Linearization = Annotated[bool, typer.Option(help="Check the linearization too (first seed).")]


@as_command(
    SuperpositionSettings,
    leave_out=("m", "sparsity", "decay", "learning_rate"),
    helps={"seed": FIRST_SEED},
)
def superposition(
    call: Call[SuperpositionSettings],
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
    estimate: Estimate = False,
    out: Out = Path("runs"),
) -> None:
    """Toy models of superposition: the paper's three regimes, or one of your own.

    A second call with the same settings reuses what was computed.
    """
    settings = call.settings
    regimes = _regimes(settings, m, sparsity)
    exponents = parse_numbers(betas)
    check_betas(exponents)
    check_seeds(seeds)
    check_workers(workers)
    if estimate:
        from tl_entk.experiments.toy_cost import NOT_MEASURED, estimate_superposition

        show_costs(estimate_superposition(regimes, exponents), NOT_MEASURED, times=seeds)
        return
    kind, always = (
        ("superposition-regimes", ("seed",))
        if len(regimes) > 1
        else ("superposition", ("m", "sparsity", "seed"))
    )
    target = out / (settings_name(kind, regimes[0], always) + more_seeds(seeds))
    with run_folder(target, call, "training, decomposing, comparing"):
        from tl_entk.commands.summaries import show_superposition
        from tl_entk.experiments.jobs import run_jobs
        from tl_entk.experiments.toy_jobs import superposition_job, superposition_result
        from tl_entk.report.toys.answers import answer_superposition
        from tl_entk.report.toys.superposition import write_superposition

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
        every = [job for row in jobs.values() for job in row]
        run_jobs(every, workers=workers, progress=shows_progress())
        found = {seed: [superposition_result(job) for job in row] for seed, row in jobs.items()}
        with working("writing report.html"):
            page = write_superposition(found, target)
    show_superposition(found)
    show_end(answer_superposition(found), page)


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


@as_command(MLPSettings, helps={"seed": FIRST_SEED})
def modular_mlp(
    call: Call[MLPSettings],
    *,
    seeds: Seeds = 1,
    collapses: Annotated[
        bool, typer.Option(help="Other collapses too (first seed): classes, mean, flattened.")
    ] = True,
    linearization: Linearization = True,
    workers: Workers = None,
    estimate: Estimate = False,
    out: Out = Path("runs"),
) -> None:
    """Modular addition by an MLP: spectra, cliffs, rotations, dynamics.

    A second call with the same settings reuses what was computed.
    """
    settings = call.settings
    check_seeds(seeds)
    check_workers(workers)
    if estimate:
        from tl_entk.experiments.toy_cost import NOT_MEASURED, estimate_mlp

        show_costs(estimate_mlp(settings), NOT_MEASURED, times=seeds)
        return
    name = settings_name("modular-mlp", settings, ("seed", "p", "epochs"))
    target = out / (name + more_seeds(seeds))
    with run_folder(target, call, "training, following, analyzing"):
        from tl_entk.commands.summaries import show_mlp
        from tl_entk.experiments.jobs import run_jobs
        from tl_entk.experiments.toy_jobs import mlp_job, mlp_result
        from tl_entk.report.toys.answers import answer_mlp
        from tl_entk.report.toys.modular_mlp import write_mlp

        jobs = {
            seed: mlp_job(
                replace(settings, seed=seed),
                out,
                collapses=collapses and seed == settings.seed,
                fits=linearization and seed == settings.seed,
            )
            for seed in range(settings.seed, settings.seed + seeds)
        }
        run_jobs(list(jobs.values()), workers=workers, progress=shows_progress())
        found = {seed: mlp_result(job) for seed, job in jobs.items()}
        with working("writing report.html"):
            page = write_mlp(found, target)
    show_mlp(found)
    show_end(answer_mlp(found), page)


def more_seeds(seeds: int) -> str:
    """What a folder's name says of several seeds."""
    return "" if seeds == 1 else f"-and-{seeds - 1}-more"
