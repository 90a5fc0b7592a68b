"""The language-model report: which figures and tables, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tl_entk.alignment.model_baselines import PCA, RANDOM
from tl_entk.alignment.ranking import METRICS
from tl_entk.alignment.readout_sweep import CLASS_TRACE_SIGNS
from tl_entk.experiments.language.causal.summary import statements
from tl_entk.experiments.language.judging import BY_DEFAULT, FLATTENED
from tl_entk.experiments.language.run import LanguageResult
from tl_entk.experiments.language.settings import CONTROLS, windows_name
from tl_entk.experiments.language.verdict import (
    METRIC_NAMES,
    answer,
    comparisons,
    remarks,
    verdicts,
)
from tl_entk.language.vector_set import save_vector_set
from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.provenance import versions
from tl_entk.report.language import alignment, details, probes
from tl_entk.report.language.causal import causal_section
from tl_entk.report.language.pages import best_pages, direction_pages
from tl_entk.report.page import write_report
from tl_entk.report.parts import Fold, Picture, Section, interval


def write_outputs(
    result: LanguageResult,
    out: Path,
    *,
    memory_budget: int | None = None,
    progress: bool = False,
) -> Path:
    """Report, figures, tables, results.json and safetensors of a run.

    Args:
        result: of ``run_language``.
        out: folder; made if missing.
        memory_budget: bytes for what positions contribute to scores.
        progress: show bars.

    Returns:
        The path of report.html.

    Raises:
        OSError: if the folder cannot be written to.
    """
    labels = result.data.labels
    info, windows = result.model_info, result.data.windows
    quantized = result.model.quantization
    weights = f" (dequantized from {quantized})" if quantized else ""
    summary = {
        "settings": result.settings.as_dict(),
        "windows and kernels": windows_name(result.settings),
        "model": info,
        "headline": headline(result),
        "dropped labels": result.data.dropped,
        "windows": windows.counts,
        "own labels": list(labels.family("own").names) if "own" in labels.families else [],
        "provenance": windows.provenance,
        "versions": versions(),
        "seconds": result.seconds,
    }
    if result.causal:
        found = {"statements": statements(result.causal), "left out": result.causal.left_out}
        summary["causal checks"] = found | {"counts": result.causal.counts}
    if result.directions.flattened:
        save_vector_set(
            out / "vectors.json",
            result.model.model,
            {f"layer {layer}": eigen for layer, eigen in result.directions.flattened.items()},
            prepend_bos=result.settings.bos,
        )
    links = best_pages(result)
    scores, difference = alignment.family_figures(result)
    return write_report(
        out,
        f"Grammar in the eNTK of {Path(info['name']).name}",
        f"{info['class']}, {info['layers']} layers, {info['parameters'] / 1e6:.1f} million "
        f"parameters{weights}; {len(windows)} windows of {windows.tokens.shape[1]} tokens, labeled "
        f"by {result.data.pipeline}; method of arXiv 2510.00468, section 5. Directions, signs, "
        "best layers and the best way to make a kernel are chosen on one half of the windows; "
        "figures are of the other half, with 95 % bootstrap intervals.",
        _key_figures(result),
        _sections(result, links, difference),
        answer=answer(result),
        hero=[scores],
        directions=direction_pages(result, memory_budget=memory_budget, progress=progress),
        results={"features": result.data.features},
        summary=summary,
    )


def headline(result: LanguageResult) -> dict[str, object]:
    """The figures one looks at first, as plain JSON values."""
    found: dict[str, object] = {}
    tables = result.judged.tables
    for name, table in tables.items():
        figures = {metric: vars(table.macro(metric)) for metric in METRICS}
        found[name] = {
            **figures,
            "validation": result.judged.validations[name],
            "best layer": result.judged.best_layer[name],
            "directions to choose from": table.k,
            **{
                f"less {other}, {metric}": vars(table.difference(tables[other], metric))
                for other in alignment.compared_with(result)
                for metric in METRIC_NAMES
            },
        }
    return {
        "best over layers": found,
        "verdicts": verdicts(result),
        "winner": result.judged.winner,
        "strongest baseline": result.judged.strongest_baseline,
    }


def _key_figures(result: LanguageResult) -> list[tuple[str, str]]:
    winner = result.judged.winner
    strongest = result.judged.strongest_baseline
    named = [name for name in result.judged.shown_kernels if name in (FLATTENED, BY_DEFAULT)]
    names = {name: name for name in [*named, PCA, strongest, RANDOM]}
    if winner not in named:
        names["best readout (by the train half)"] = winner
    figures = [
        (f"macro AP, {label}", interval(result.judged.tables[name].macro()))
        for label, name in names.items()
    ]
    table = result.judged.tables[winner]
    best = winner if winner in named else "best readout"
    return [
        *figures,
        *[
            (f"{best} less {name}", interval(table.difference(result.judged.tables[name]), "+"))
            for name in alignment.compared_with(result)
        ],
        ("labels", str(len(result.data.features))),
    ]


def _sections(
    result: LanguageResult, links: Mapping[str, str], difference: Picture
) -> list[Section]:
    return [
        *_alignment_sections(result, links, difference),
        *([_control_section(result)] if result.judged.controls else []),
        *(_sweep_sections(result) if len(result.judged.sweep) > 1 else []),
        _probe_section(result),
        *([causal_section(result.causal)] if result.causal and result.causal.directions else []),
        *([_share_section(result, links)] if result.directions.shares else []),
        *_source_sections(result),
    ]


def _alignment_sections(
    result: LanguageResult, links: Mapping[str, str], difference: Picture
) -> list[Section]:
    """What holds, label by label and layer by layer."""
    return [
        Section(
            "What holds",
            "\n\n".join(remarks(result)),
            [
                difference,
                alignment.macro_table(result),
                Fold("Every kernel in words", [], "\n\n".join(comparisons(result))),
                Fold("By family, in numbers", [alignment.family_table(result)]),
            ],
            question="Does the kernel beat the baselines?",
        ),
        Section(
            "Label by label",
            "Average precision of the best single direction over all layers. Chance is a label's "
            "base rate; random directions show what choosing the best of so many reaches by luck.",
            [
                alignment.overview_table(result, links),
                alignment.feature_figure(result, links),
                Fold(
                    "Every method in numbers",
                    alignment.feature_tables(result),
                    "Direction and sign are those chosen on the train half; p is the share of "
                    "label permutations, the choice made anew in each, that reach as much.",
                ),
            ],
            question="Which labels have a direction?",
        ),
        Section(
            "Layer by layer",
            "Mean over the labels of the best single direction of each layer alone, at k = "
            f"{result.settings.k} directions per layer for every method.",
            [alignment.layer_figure(result, metric) for metric in METRIC_NAMES]
            + [
                Fold("In numbers", [alignment.layer_table(result, one) for one in METRIC_NAMES]),
            ],
            question="In which layer?",
        ),
    ]


def _control_section(result: LanguageResult) -> Section:
    return Section(
        "Controls",
        "Does a direction have the feature, or does it sort windows by the word that the model "
        "predicts? Under every control, directions, signs, the best kernel and the strongest "
        "baseline are chosen anew within its train half; what a readout's kernel is made of stays "
        "as it was chosen on the labels of the next word. Where windows of one token lie in one "
        "half, the bootstrap draws whole tokens.\n\n"
        + "\n\n".join(f"{name}: {CONTROLS[name]}." for name in result.judged.controls),
        [alignment.control_figure(result), alignment.control_table(result)],
        question="Does it have the feature, or only the predicted word?",
    )


def _sweep_sections(result: LanguageResult) -> list[Section]:
    """What every readout, component and normalization reaches."""
    return [
        Section(
            "Readouts, components, normalizations",
            "Macro AP within the train half (directions are chosen on one half of it and "
            "judged on the other), best over layers. The best of every readout is judged on "
            "the test half above; nothing was chosen by the test half. class_trace is "
            f"estimated by {CLASS_TRACE_SIGNS} random signs.\n\n"
            "target_logit and target_logprob are read at the model's own top token; the "
            "gradient of logsumexp is the average over all tokens by the model's own "
            "probabilities, that of mean_logit the plain average.",
            [
                alignment.sweep_figure(result),
                Fold("Every combination, in numbers", [alignment.sweep_table(result)]),
            ],
            question="Which way to make a kernel is best?",
        ),
    ]


def _probe_section(result: LanguageResult) -> Section:
    return Section(
        "Probes",
        f"A {result.settings.probe} probe on k = {result.settings.k} scores of each basis, and "
        "on all activations (the ceiling), each at the layer where ridge probes on it are best "
        "within the train half. Labels that are numbers have no best direction; probes are "
        "judged by R² there.",
        [
            probes.probe_figure(result),
            probes.probe_table(result),
            Fold("By layer, in numbers", [probes.probe_layer_table(result)]),
        ],
        question="And by linear probes on many directions?",
    )


def _share_section(result: LanguageResult, links: Mapping[str, str]) -> Section:
    heads = details.head_figure(result, links)
    return Section(
        "Where a feature lives",
        "Share of each layer, head and weight in a label's kernel energy u·K_b u / u·K u "
        "(logsumexp, centered labels), of the layers asked for and what is in none. A kernel's "
        "diagonal is shared out by gradient size for any label: the first figure takes the mean "
        "label away.",
        [
            *details.share_figures(result, links),
            *([heads] if heads else []),
            Fold("By head and weight, in numbers", details.share_tables(result)),
            Fold(
                "What shares depend on",
                [],
                "Shares depend on how the weights are written down: HookedTransformer folds the "
                "embedding's scale into W_E and keeps W_U apart from it, TransformerBridge has "
                "the checkpoint's own parameters. So the share of the embedding, and with it all "
                "others, differs between the two classes; this run's is "
                f"{adapt_transformer(result.model.model).model_class}.",
            ),
        ],
        question="Which layers, heads and weights carry a label?",
    )


def _spectra_section(result: LanguageResult) -> Section:
    settings = result.settings
    compressed = f", compressed to {settings.outputs} directions of the logits"
    return Section(
        "Spectra",
        f"Leading eigenvalues of the flattened kernel of {settings.weight}"
        f"{'' if settings.exact else compressed}; a pair has converged when its residual is below "
        f"{settings.tol:g} of the first eigenvalue and, solved whole, {10 * settings.tol:g} of its "
        "own.",
        [details.spectra(result), details.solver_table(result)],
        question="How fast do the eigenvalues fall?",
    )


def _source_sections(result: LanguageResult) -> list[Section]:
    """What the figures are made of: eigenpairs, windows, settings."""
    return [
        *([_spectra_section(result)] if result.directions.flattened else []),
        Section(
            "Windows",
            "Each ends right before a word; the labels are that word's. Where the text's next word "
            "and the model's own have different tags, the window is dropped.",
            [
                details.counts_table(result),
                details.window_table(result),
                details.dropped_table(result),
            ],
            question="What were the inputs?",
        ),
        Section(
            "Provenance",
            "What the numbers were computed from, and how long each part took.",
            [details.provenance(result)],
            folded=True,
        ),
    ]
