"""The ``tl-entk modular-transformer`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tl_entk.commands.checks import check_model_class, choose_speed, start_run
from tl_entk.commands.console import console, show_report
from tl_entk.commands.options import Device, ModelClassName, with_settings
from tl_entk.experiments.modular_transformer.analysis import (
    UNEMBED,
    ModularResult,
    headline,
    run_modular_transformer,
    run_name,
)
from tl_entk.experiments.modular_transformer.task import ModularSettings
from tl_entk.report.toys.modular_transformer import write_outputs


@with_settings(ModularSettings)
def modular_transformer(
    settings: ModularSettings,
    *,
    out: Annotated[Path, typer.Option(help="Folder for models and reports.")] = Path("runs"),
    device: Device = "cpu",
    model_class: ModelClassName = None,
) -> None:
    """Train the 1-layer modular-addition Transformer, find its features, write a report.

    A second call with the same settings reuses the trained model; an interrupted training goes on.
    """
    chosen = check_model_class(model_class)
    target = out / run_name(settings, chosen)
    start_run(target, "training (or reusing) the model, then analysing it", device)
    choose_speed(device)
    result = run_modular_transformer(
        settings, out, model_class=chosen, device=device, progress=console.is_terminal
    )
    with console.status("writing the report"):
        page = write_outputs(result, target)
    _show_summary(result)
    show_report(page)


def _show_summary(result: ModularResult) -> None:
    found, most = headline(result), 2 * result.n_frequencies
    table = Table(show_header=False, box=None)
    rows = {
        "model": "reused"
        if found["model_reused"]
        else f"trained in {result.seconds['training']:.0f} s",
        "test accuracy": f"{found['test_accuracy']:.1%}",
        "key frequencies from W_E": str(result.weight_frequencies),
        "key frequencies from the kernel": str(result.kernel_frequencies),
        f"{UNEMBED}, modes 0..2F on a+b": f"{found['W_U_modes_0_to_2F_on_a+b']:.2f} of {most}",
        f"{UNEMBED}, modes 2F+1..4F on axis sum": (
            f"{found['W_U_modes_2F+1_to_4F_on_axis_sum']:.2f} of {most}"
        ),
        "kernel blocks": f"{len(result.blocks)} in {result.seconds['blocks']:.2f} s",
    }
    for label, value in rows.items():
        table.add_row(label, value)
    console.print(table)
