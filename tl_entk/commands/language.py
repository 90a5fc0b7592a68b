"""The ``tl-entk language`` command: options, messages, summary."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer
from rich.console import Console
from rich.table import Table

from feature_sets.errors import UserError
from tl_entk.alignment.probes import Probe
from tl_entk.alignment.readout_sweep import COMPONENTS
from tl_entk.commands.checks import check_device, check_writable
from tl_entk.experiments.language.settings import LanguageSettings, run_name

_DEFAULTS = LanguageSettings()
console = Console()


def language(
    model: Annotated[
        str,
        typer.Option(
            help="stories (embedded), a folder in Hugging Face's format, or a TransformerLens name "
            "such as gemma-3-270m."
        ),
    ] = _DEFAULTS.model,
    dataset: Annotated[
        str,
        typer.Option(
            help="A text file, a folder, or a hub data set such as roneneldan/TinyStories; "
            "sampled: stories written by the embedded model."
        ),
    ] = _DEFAULTS.dataset,
    layers: Annotated[str, typer.Option(help="all, or numbers: 0,3,5 or 2-4.")] = "all",
    k: Annotated[int, typer.Option(help="Directions per layer and method.")] = _DEFAULTS.k,
    per_tag: Annotated[
        int, typer.Option(help="Windows of each of eight parts of speech.")
    ] = _DEFAULTS.per_tag,
    length: Annotated[int, typer.Option(help="Tokens of a window.")] = _DEFAULTS.length,
    per_story: Annotated[int, typer.Option(help="Most windows of one text.")] = _DEFAULTS.per_story,
    readouts: Annotated[
        str,
        typer.Option(
            help="Readouts of the sweep (logsumexp, target_logit, target_logprob, mean_logit, "
            "class_trace), or none."
        ),
    ] = ",".join(_DEFAULTS.readouts),
    components: Annotated[
        str, typer.Option(help=f"Components of the sweep, among {', '.join(COMPONENTS)}.")
    ] = ",".join(_DEFAULTS.components),
    normalizations: Annotated[
        str,
        typer.Option(
            help="Of the kernel of all logits, beside the plain one: centered, cosine, "
            "cosine+centered, or none."
        ),
    ] = ",".join(_DEFAULTS.normalizations) or "none",
    weight: Annotated[
        str, typer.Option(help="Weight whose kernel of all logits is analysed in each layer.")
    ] = _DEFAULTS.weight,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="Your own label, NAME=RULE: a column of the data set, or a spaCy matcher pattern "
            'as JSON, adjective=[{"POS": "ADJ"}]. May be given several times.'
        ),
    ] = None,
    agree: Annotated[
        bool, typer.Option(help="Keep windows where the model's own next word has the same tag.")
    ] = _DEFAULTS.agree,
    pipeline: Annotated[
        str | None, typer.Option(help="spaCy pipeline; default the best installed, or embedded.")
    ] = None,
    column: Annotated[str, typer.Option(help="Column with the text.")] = _DEFAULTS.column,
    split: Annotated[str, typer.Option(help="Split of the data set.")] = _DEFAULTS.split,
    max_texts: Annotated[int | None, typer.Option(help="Read no more texts.")] = None,
    sampled: Annotated[
        int, typer.Option(help="Stories to write, with --dataset sampled.")
    ] = _DEFAULTS.sampled,
    tol: Annotated[
        float, typer.Option(help="Residual of an eigenpair, over the first eigenvalue.")
    ] = _DEFAULTS.tol,
    probe: Annotated[str, typer.Option(help="logistic, or ridge (faster).")] = _DEFAULTS.probe,
    seed: Annotated[int, typer.Option(help="Of windows, splits, solver.")] = _DEFAULTS.seed,
    memory_budget: Annotated[float, typer.Option(help="GiB for the kernels' temporaries.")] = 4.0,
    out: Annotated[Path, typer.Option(help="Folder for results and reports.")] = Path("runs"),
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    model_class: Annotated[
        str | None, typer.Option(help="hooked (TransformerLens 3.9) or bridge (3.9 and 4.x).")
    ] = None,
) -> None:
    """Grammar features of a language model in eNTK directions, beside PCA, probes and chance.

    A second call with the same settings reuses windows and eigendirections; an interrupted run
    goes on.
    """
    # transformers and spaCy are slow to import, and other commands need neither
    from transformers.utils.logging import disable_progress_bar

    from tl_entk.experiments.language.run import run_language
    from tl_entk.report.language.report import write_outputs

    settings = LanguageSettings(
        model=model,
        model_class=model_class,
        dataset=dataset,
        column=column,
        split=split,
        pipeline=pipeline,
        length=length,
        per_tag=per_tag,
        per_story=per_story,
        agree=agree,
        layers=parse_layers(layers),
        weight=weight,
        k=k,
        readouts=parse_names(readouts),
        components=parse_names(components),
        normalizations=parse_names(normalizations),
        tol=tol,
        labels=tuple(label or ()),
        probe=check_probe(probe),
        max_texts=max_texts,
        sampled=sampled,
        seed=seed,
    )
    budget = check_budget(memory_budget)
    target = out / run_name(settings)
    check_writable(target)
    check_device(device)
    console.print(f"[bold]{target.name}[/bold]")
    # loading a model shows bars of its own
    disable_progress_bar()
    result = run_language(
        settings,
        out,
        device=device,
        memory_budget=budget,
        progress=console.is_terminal,
    )
    with console.status("writing the report"):
        page = write_outputs(result, target)
    _summary(result)
    console.print(f"report: {page}", soft_wrap=True)


def parse_names(text: str) -> tuple[str, ...]:
    """Names separated by commas; "none" for no name.

    Example:
        >>> parse_names("logsumexp, target_logit"), parse_names("none")
        (('logsumexp', 'target_logit'), ())
    """
    return () if text == "none" else tuple(name.strip() for name in text.split(",") if name.strip())


def check_probe(name: str) -> Probe:
    """The kind of probe asked for.

    Raises:
        UserError: for one that there is not.
    """
    if name not in get_args(Probe):
        raise UserError(f"--probe {name!r}: pass {' or '.join(get_args(Probe))}.")
    return cast(Probe, name)


def check_budget(gib: float) -> int:
    """Bytes of a memory budget.

    Raises:
        UserError: for one that is nothing.

    Example:
        >>> check_budget(0.5)
        536870912
    """
    if not 0 < gib < float("inf"):
        raise UserError(f"--memory-budget {gib:g}: pass GiB, more than 0.")
    return round(gib * 2**30)


def parse_layers(text: str) -> str | tuple[int, ...]:
    """Layers as numbers and ranges, or "all".

    Raises:
        UserError: for anything else.

    Example:
        >>> parse_layers("0,3-5")
        (0, 3, 4, 5)
    """
    if text == "all":
        return text
    found: list[int] = []
    for part in text.split(","):
        ends = part.strip().split("-")
        if len(ends) > 2 or not all(end.isdigit() for end in ends):
            raise UserError(f"--layers {text!r}: pass all, or numbers such as 0,3,5 or 2-4.")
        if int(ends[0]) > int(ends[-1]):
            raise UserError(f"--layers {text!r}: {part} runs backwards.")
        found += range(int(ends[0]), int(ends[-1]) + 1)
    return tuple(dict.fromkeys(found))


def _summary(result: Any) -> None:
    from tl_entk.experiments.language.judging import PCA
    from tl_entk.experiments.language.verdict import verdicts

    console.print(result.data.windows.report())
    console.print(
        f"labels by {result.data.pipeline}: {len(result.data.features)} kept, "
        f"{len(result.data.dropped)} dropped"
    )
    table = Table("best direction over layers", "AP", "AUROC", "AP less PCA", box=None)
    pca = result.judged.tables[PCA]
    for name, found in result.judged.tables.items():
        ap, auroc = found.macro(), found.macro("auroc")
        less = found.difference(pca)
        table.add_row(
            name,
            f"{ap.value:.3f} ({ap.low:.3f} to {ap.high:.3f})",
            f"{auroc.value:.3f}",
            "" if name == PCA else f"{less.value:+.3f} ({less.low:+.3f} to {less.high:+.3f})",
        )
    console.print(table)
    for sentence in verdicts(result):
        console.print(sentence)
    console.print(", ".join(f"{part} {value:.0f} s" for part, value in result.seconds.items()))
