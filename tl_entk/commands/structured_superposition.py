"""The command ``tl-entk structured-superposition``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, cast

import typer

from feature_sets.errors import UserError
from feature_sets.structures import STRUCTURES, Structure
from tl_entk.commands.call import Call
from tl_entk.commands.checks import check_choice, check_seeds, check_workers
from tl_entk.commands.console import show_costs
from tl_entk.commands.options import (
    FIRST_SEED,
    Estimate,
    Out,
    Seeds,
    Workers,
    as_command,
    parse_names,
)
from tl_entk.commands.seeds import name_seeds, run_seeds
from tl_entk.experiments.settings import settings_name
from tl_entk.experiments.structured_superposition.settings import StructureSettings

_NOT_MEASURED = (
    "one model after the other, though several are run side by side; imports and the page come on "
    "top"
)


@as_command(
    StructureSettings,
    leave_out=("structure", "decay", "learning_rate"),
    helps={"seed": FIRST_SEED},
)
def structured_superposition(
    call: Call[StructureSettings],
    *,
    seeds: Seeds = 1,
    structures: Annotated[
        str, typer.Option(help="How the features hang together, separated by commas.")
    ] = ",".join(STRUCTURES),
    workers: Workers = None,
    estimate: Estimate = False,
    out: Out = Path("runs"),
) -> None:
    """Superposition with structure: pairs, hierarchies, wholes; beside PCA, ICA and an SAE.

    Where the spectrum drops beside the numbers of parents, children and all features, and how well
    each method's directions line up with the true features. A second call with the same settings
    reuses what was computed.
    """
    regimes = _regimes(call.settings, structures)
    check_seeds(seeds)
    check_workers(workers)
    if estimate:
        from tl_entk.experiments.toy_cost import estimate_structures

        show_costs(estimate_structures(regimes), _NOT_MEASURED, times=seeds)
        return
    from tl_entk.commands.summaries import show_structures
    from tl_entk.experiments.toy_jobs import structure_job, structure_result
    from tl_entk.report.toys.answers import answer_structures
    from tl_entk.report.toys.structured_superposition import write_structures

    run_seeds(
        call,
        out / _name(regimes, seeds),
        seeds,
        "training, decomposing, comparing",
        jobs=lambda seed: [structure_job(replace(regime, seed=seed), out) for regime in regimes],
        gather=lambda *jobs: [structure_result(job) for job in jobs],
        write=write_structures,
        show=show_structures,
        answer=answer_structures,
        workers=workers,
    )


def _regimes(settings: StructureSettings, structures: str) -> list[StructureSettings]:
    """The settings of every structure asked for.

    Raises:
        UserError: for an unknown structure, or none.
    """
    names = dict.fromkeys(parse_names(structures))
    if not names:
        raise UserError(
            f"--structures {structures!r}: pass one or more of {', '.join(STRUCTURES)}."
        )
    chosen = [check_choice("--structures", name, STRUCTURES) for name in names]
    return [replace(settings, structure=cast(Structure, name)) for name in chosen]


def _name(regimes: Sequence[StructureSettings], seeds: int) -> str:
    """The run's folder; without names of structures for all of them."""
    names = [regime.structure for regime in regimes]
    own = "" if names == list(STRUCTURES) else f"-{'-'.join(names)}"
    shared = replace(regimes[0], structure="independent")
    return settings_name("structured-superposition", shared, ("seed",)) + own + name_seeds(seeds)
