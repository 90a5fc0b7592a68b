"""The command ``tl-entk induction-heads``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tl_entk.commands.call import Call
from tl_entk.commands.checks import check_seeds, check_workers
from tl_entk.commands.console import show_costs
from tl_entk.commands.options import FIRST_SEED, Estimate, Out, Seeds, Workers, as_command
from tl_entk.commands.seeds import name_seeds, run_seeds
from tl_entk.experiments.induction.settings import InductionSettings
from tl_entk.experiments.settings import settings_name


@as_command(
    InductionSettings,
    leave_out=("shortest", "longest", "weight_decay"),
    helps={"seed": FIRST_SEED},
)
def induction_heads(
    call: Call[InductionSettings],
    *,
    seeds: Seeds = 1,
    workers: Workers = None,
    estimate: Estimate = False,
    out: Out = Path("runs"),
) -> None:
    """Induction heads: which heads of a small Transformer a repeated token is attributed to.

    A second call with the same settings reuses what was computed; an interrupted training goes on.
    """
    settings = call.settings
    check_seeds(seeds)
    check_workers(workers)
    if estimate:
        from tl_entk.experiments.toy_cost import estimate_induction

        remark = (
            "one seed after the other, though several are run side by side; known scores and the "
            "page come on top"
        )
        show_costs(estimate_induction(settings), remark, times=seeds)
        return
    name = settings_name("induction-heads", settings, ("seed", "steps"))
    target = out / (name + name_seeds(seeds))
    from tl_entk.commands.summaries import show_induction
    from tl_entk.experiments.toy_jobs import induction_job, induction_result
    from tl_entk.report.toys.answers import answer_induction
    from tl_entk.report.toys.induction import write_induction

    run_seeds(
        call,
        target,
        seeds,
        "training, scoring heads, attributing",
        jobs=lambda seed: [induction_job(replace(settings, seed=seed), out)],
        gather=induction_result,
        write=write_induction,
        show=show_induction,
        answer=answer_induction,
        workers=workers,
    )
