"""The commands ``tl-entk superposition`` and ``modular-mlp``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_sets.errors import UserError
from tl_entk.commands.call import Call
from tl_entk.commands.checks import check_seeds, check_workers
from tl_entk.commands.console import show_costs
from tl_entk.commands.options import (
    FIRST_SEED,
    Estimate,
    Out,
    Seeds,
    Workers,
    as_command,
    parse_numbers,
)
from tl_entk.commands.seeds import name_seeds, run_seeds
from tl_entk.experiments.modular_mlp.settings import MLPSettings
from tl_entk.experiments.settings import settings_name
from tl_entk.experiments.superposition.settings import (
    BETAS,
    SuperpositionSettings,
    check_betas,
    paper_regimes,
)

if TYPE_CHECKING:
    from tl_entk.experiments.jobs import Job

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
    target = out / (settings_name(kind, regimes[0], always) + name_seeds(seeds))
    from tl_entk.commands.summaries import show_superposition
    from tl_entk.experiments.toy_jobs import superposition_job, superposition_result
    from tl_entk.report.toys.answers import answer_superposition
    from tl_entk.report.toys.superposition import write_superposition

    def jobs(seed: int) -> list[Job]:
        fits = linearization and seed == settings.seed
        return [
            superposition_job(replace(regime, seed=seed), exponents, out, fits=fits)
            for regime in regimes
        ]

    run_seeds(
        call,
        target,
        seeds,
        "training, decomposing, comparing",
        jobs=jobs,
        gather=lambda *jobs: [superposition_result(job) for job in jobs],
        write=write_superposition,
        show=show_superposition,
        answer=answer_superposition,
        workers=workers,
    )


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
    target = out / (name + name_seeds(seeds))
    from tl_entk.commands.summaries import show_mlp
    from tl_entk.experiments.toy_jobs import mlp_job, mlp_result
    from tl_entk.report.toys.answers import answer_mlp
    from tl_entk.report.toys.modular_mlp import write_mlp

    def jobs(seed: int) -> list[Job]:
        first = seed == settings.seed
        one = replace(settings, seed=seed)
        return [mlp_job(one, out, collapses=collapses and first, fits=linearization and first)]

    run_seeds(
        call,
        target,
        seeds,
        "training, following, analyzing",
        jobs=jobs,
        gather=mlp_result,
        write=write_mlp,
        show=show_mlp,
        answer=answer_mlp,
        workers=workers,
    )
