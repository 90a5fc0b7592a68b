"""Command line: the entry point, and ``tl-entk modular-transformer``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from feature_sets.errors import UserError
from tl_entk.commands.checks import check_device, check_model_class, check_writable
from tl_entk.commands.language import language
from tl_entk.commands.toys import modular_mlp, paper, superposition
from tl_entk.experiments.modular_transformer.analysis import (
    UNEMBED,
    ModularResult,
    headline,
    run_modular_transformer,
    run_name,
)
from tl_entk.experiments.modular_transformer.task import ModularSettings
from tl_entk.report.toys.modular_transformer import write_outputs

app = typer.Typer(
    help="Features of a TransformerLens model from its empirical neural tangent kernel (eNTK).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()
_DEFAULTS = ModularSettings()
_INTERRUPTED = 130


@app.callback()
def _root() -> None:
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="transformer_lens")


app.command("language")(language)
app.command("superposition")(superposition)
app.command("modular-mlp")(modular_mlp)
app.command("paper")(paper)


@app.command("modular-transformer")
def modular_transformer(
    seed: Annotated[int, typer.Option(help="Seed of weights, split and batches.")] = _DEFAULTS.seed,
    p: Annotated[int, typer.Option(help="Modulus.")] = _DEFAULTS.p,
    epochs: Annotated[int, typer.Option(help="Passes over the training part.")] = _DEFAULTS.epochs,
    d_model: Annotated[int, typer.Option(help="Residual width.")] = _DEFAULTS.d_model,
    n_heads: Annotated[int, typer.Option(help="Attention heads.")] = _DEFAULTS.n_heads,
    d_mlp: Annotated[int, typer.Option(help="MLP width.")] = _DEFAULTS.d_mlp,
    train_fraction: Annotated[
        float, typer.Option(help="Share of the pairs to train on.")
    ] = _DEFAULTS.train_fraction,
    batch_size: Annotated[int, typer.Option(help="Examples per step.")] = _DEFAULTS.batch_size,
    learning_rate: Annotated[float, typer.Option(help="AdamW.")] = _DEFAULTS.learning_rate,
    weight_decay: Annotated[float, typer.Option(help="AdamW.")] = _DEFAULTS.weight_decay,
    out: Annotated[Path, typer.Option(help="Folder for models and reports.")] = Path("runs"),
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    model_class: Annotated[
        str | None, typer.Option(help="hooked (TransformerLens 3.9) or bridge (3.9 and 4.x).")
    ] = None,
) -> None:
    """Train the 1-layer modular-addition Transformer, find its features, write a report.

    A second call with the same settings reuses the trained model; an interrupted training goes on.
    """
    chosen = check_model_class(model_class)
    settings = ModularSettings(
        seed=seed,
        p=p,
        d_model=d_model,
        n_heads=n_heads,
        d_mlp=d_mlp,
        train_fraction=train_fraction,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        epochs=epochs,
    )
    name = run_name(settings, chosen)
    target = out / name
    check_writable(target)
    check_device(device)
    console.print(f"[bold]{name}[/bold]: training (or reusing) the model, then analysing it")
    result = run_modular_transformer(
        settings,
        out,
        model_class=chosen,
        device=device,
        progress=console.is_terminal,
    )
    with console.status("writing the report"):
        page = write_outputs(result, target)
    _summary(result)
    console.print(f"report: {page}", soft_wrap=True)


def _summary(result: ModularResult) -> None:
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


def main() -> None:
    """Entry point: user errors as one line, anything else as it is."""
    try:
        # typer turns an interruption into a return value
        if app(standalone_mode=False) == _INTERRUPTED:
            Console(stderr=True).print("interrupted: the same command goes on where it stopped.")
            sys.exit(_INTERRUPTED)
    except (UserError, OSError, ImportError) as error:
        Console(stderr=True).print(f"[red]error:[/red] {error}")
        sys.exit(2)
    except Exception as error:
        # typer's own usage errors know how to show themselves
        if not (hasattr(error, "show") and hasattr(error, "exit_code")):
            raise
        error.show()
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
