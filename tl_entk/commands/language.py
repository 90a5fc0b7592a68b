"""The ``tl-entk language`` command."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tl_entk.alignment.names import BASELINES, COMPONENTS, PCA, RANDOM
from tl_entk.commands.call import Call
from tl_entk.commands.checks import check_budget, check_device, choose_speed, run_folder
from tl_entk.commands.console import console, show_costs, show_end, shows_progress
from tl_entk.commands.options import Device, Estimate, Out, as_command
from tl_entk.commands.processes import run_in_processes, started_by_torchrun
from tl_entk.experiments.language.settings import CONTROLS, PRESETS, LanguageSettings, run_name
from tl_entk.model.readout_names import NAMES as READOUTS

if TYPE_CHECKING:
    from tl_entk.language.loading import LanguageModel

# lists and rules are written otherwise here than in Python
_HELPS = {
    "layers": "all, or numbers: 0,3,5 or 2-4.",
    "readouts": f"Readouts of the sweep, among {', '.join(READOUTS)}; or none.",
    "components": f"Components of the sweep, among {', '.join(COMPONENTS)}.",
    "baselines": f"Baselines beside {PCA} and {RANDOM}, among {', '.join(BASELINES)}; or none.",
    "controls": f"Controls, among {'; '.join(CONTROLS)}; or none.",
    "normalizations": "Of the kernel of all logits, beside the plain one: centered, cosine, "
    "cosine+centered, or none.",
    "labels": "Your own label, NAME=RULE: a column of the data set, or a spaCy matcher pattern "
    'as JSON, adjective=[{"POS": "ADJ"}]. May be given several times.',
}


@as_command(LanguageSettings, helps=_HELPS, repeated={"labels": "--label"}, presets=PRESETS)
def language(
    call: Call[LanguageSettings],
    *,
    memory_budget: Annotated[
        float | None,
        typer.Option(help="GiB for temporaries; 4, or 40 % of a GPU's, if not given."),
    ] = None,
    estimate: Estimate = False,
    out: Out = Path("runs"),
    device: Device = "cpu",
) -> None:
    """Grammar features of a language model in eNTK directions, beside PCA, probes and chance.

    A second call with the same settings reuses all that was computed, judging too; an interrupted
    run goes on.
    """
    settings, budget = call.settings, check_budget(memory_budget)
    if estimate:
        check_device(device)
        choose_speed(device)
        _estimate(settings, device, budget)
        return
    run = partial(_run, call, out, device, budget)
    if started_by_torchrun():
        run_in_processes(run, lambda: _load(settings, device).model, device)
    else:
        run()


def _load(settings: LanguageSettings, device: str) -> LanguageModel:
    from tl_entk.language.loading import load_language_model

    _disable_bars()
    return load_language_model(settings.model, model_class=settings.model_class, device=device)


def _run(call: Call[LanguageSettings], out: Path, device: str, budget: int | None) -> None:
    settings = call.settings
    target = out / run_name(settings)
    with run_folder(target, call, device=device):
        from tl_entk.commands.summaries import show_language
        from tl_entk.experiments.language.run import run_language
        from tl_entk.experiments.language.verdict import answer
        from tl_entk.report.language.report import write_outputs

        _disable_bars()
        choose_speed(device)
        result = run_language(
            settings, out, device=device, memory_budget=budget, progress=shows_progress()
        )
        console.print("writing report.html")
        page = write_outputs(result, target, memory_budget=budget, progress=shows_progress())
    show_language(result)
    show_end(answer(result), page)


def _disable_bars() -> None:
    """Loading a model shows bars of its own."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def _estimate(settings: LanguageSettings, device: str, budget: int | None) -> None:
    from tl_entk.experiments.language.checks import check_model
    from tl_entk.experiments.language.cost import estimate_language

    model = _load(settings, device)
    check_model(settings, model.model)
    show_costs(
        estimate_language(settings, model, budget),
        "measured on a few windows. Texts, spaCy and judging come on top; what --out has "
        "already is not computed again",
    )
