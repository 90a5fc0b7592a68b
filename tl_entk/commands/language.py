"""The ``tl-entk language`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tl_entk.alignment.model_baselines import BASELINES, PCA, RANDOM
from tl_entk.alignment.readout_sweep import COMPONENTS
from tl_entk.commands.checks import check_budget, check_device, choose_speed, start_run
from tl_entk.commands.console import console, show_report
from tl_entk.commands.options import Device, Out, with_settings
from tl_entk.experiments.language.settings import CONTROLS, PRESETS, LanguageSettings, run_name
from tl_entk.model.memory import check_memory_budget
from tl_entk.model.readouts import NAMES as READOUTS
from tl_entk.tools.timing import duration

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


@with_settings(LanguageSettings, helps=_HELPS, repeated={"labels": "--label"}, presets=PRESETS)
def language(
    settings: LanguageSettings,
    *,
    memory_budget: Annotated[float, typer.Option(help="GiB for the kernels' temporaries.")] = (
        check_memory_budget(None) / 2**30
    ),
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Say what the run will take, and compute nothing.")
    ] = False,
    out: Out = Path("runs"),
    device: Device = "cpu",
) -> None:
    """Grammar features of a language model in eNTK directions, beside PCA, probes and chance.

    A second call with the same settings reuses windows and eigendirections; an interrupted run
    goes on.
    """
    # transformers and spaCy are slow to import, and other commands need neither
    from transformers.utils.logging import disable_progress_bar

    from tl_entk.experiments.language.run import run_language
    from tl_entk.report.language.report import write_outputs

    budget = check_budget(memory_budget)
    # loading a model shows bars of its own
    disable_progress_bar()
    if estimate:
        check_device(device)
        choose_speed(device)
        _show_estimate(settings, device, budget)
        return
    target = out / run_name(settings)
    start_run(target, device=device)
    choose_speed(device)
    result = run_language(
        settings, out, device=device, memory_budget=budget, progress=console.is_terminal
    )
    with console.status("writing the report"):
        page = write_outputs(result, target)
    _show_summary(result)
    show_report(page)


def _show_estimate(settings: LanguageSettings, device: str, budget: int) -> None:
    from tl_entk.experiments.language.cost import estimate_language
    from tl_entk.language.loading import load_language_model

    model = load_language_model(settings.model, model_class=settings.model_class, device=device)
    settings.check_model(model.model)
    table = Table("part", "time", "memory", box=None)
    total = 0.0
    for cost in estimate_language(settings, model, budget):
        total += cost.seconds
        memory = f"{cost.memory_bytes / 2**30:.1f} GiB" if cost.memory_bytes else ""
        table.add_row(cost.part, duration(cost.seconds), memory)
        console.print(f"{cost.part}: {cost.note}", soft_wrap=True)
    table.add_row("all of it", duration(total), "")
    console.print(table)
    console.print(
        "About: measured on a few windows. Texts, spaCy and judging come on top; what "
        "--out has already is not computed again."
    )


def _show_summary(result: Any) -> None:
    from tl_entk.experiments.language.verdict import verdicts

    console.print(result.data.windows.report())
    console.print(
        f"labels by {result.data.pipeline}: {len(result.data.features)} kept, "
        f"{len(result.data.dropped)} dropped"
    )
    others = dict.fromkeys([PCA, result.judged.strongest_baseline])
    columns = [f"AP less {other}" for other in others]
    table = Table("best direction over layers", "AP", "AUROC", *columns, box=None)
    for name, found in result.judged.tables.items():
        ap, auroc = found.macro(), found.macro("auroc")
        differences = {other: found.difference(result.judged.tables[other]) for other in others}
        table.add_row(
            name,
            f"{ap.value:.3f} ({ap.low:.3f} to {ap.high:.3f})",
            f"{auroc.value:.3f}",
            *[
                "" if name == other else f"{less.value:+.3f} ({less.low:+.3f} to {less.high:+.3f})"
                for other, less in differences.items()
            ],
        )
    console.print(table)
    for sentence in verdicts(result):
        console.print(sentence)
    console.print(", ".join(f"{part} {value:.0f} s" for part, value in result.seconds.items()))
