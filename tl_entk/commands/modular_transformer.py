"""The ``tl-entk modular-transformer`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tl_entk.commands.call import Call
from tl_entk.commands.checks import check_device, check_model_class, choose_speed, run_folder
from tl_entk.commands.console import show_costs, show_end, shows_progress, working
from tl_entk.commands.options import Device, Estimate, ModelClassName, as_command
from tl_entk.experiments.modular_transformer.settings import ModularSettings, run_name


@as_command(ModularSettings)
def modular_transformer(
    call: Call[ModularSettings],
    *,
    out: Annotated[Path, typer.Option(help="Folder for models and reports.")] = Path("runs"),
    device: Device = "cpu",
    model_class: ModelClassName = None,
    estimate: Estimate = False,
) -> None:
    """Train the 1-layer modular-addition Transformer, find its features, write a report.

    A second call with the same settings reuses the trained model; an interrupted training goes on.
    """
    chosen = check_model_class(model_class)
    if estimate:
        check_device(device)
        from tl_entk.experiments.toy_cost import NOT_MEASURED, estimate_transformer

        choose_speed(device)
        show_costs(estimate_transformer(call.settings, chosen, device), NOT_MEASURED)
        return
    target = out / f"modular-transformer-{run_name(call.settings, chosen)}"
    doing = "training (or reusing) the model, then analyzing it"
    with run_folder(target, call, doing, device):
        from tl_entk.commands.summaries import show_transformer
        from tl_entk.experiments.modular_transformer.analysis import run_modular_transformer
        from tl_entk.report.toys.answers import answer_transformer
        from tl_entk.report.toys.modular_transformer import write_outputs

        choose_speed(device)
        result = run_modular_transformer(
            call.settings, out, model_class=chosen, device=device, progress=shows_progress()
        )
        with working("writing report.html"):
            page = write_outputs(result, target)
    show_transformer(result)
    show_end(answer_transformer(result), page)
