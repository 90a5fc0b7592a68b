"""The report of ``tl-entk paper``: every setting, and the paper's figures beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tl_entk.dynamics.course import Course
from tl_entk.experiments.modular_mlp.analysis import (
    FULL,
    FULL_SECOND,
)
from tl_entk.experiments.modular_mlp.analysis import SUM as MLP_SUM
from tl_entk.experiments.modular_transformer.analysis import headline
from tl_entk.experiments.modular_transformer.course import SUM as TRANSFORMER_SUM
from tl_entk.experiments.paper import SHOWN, PaperResult
from tl_entk.report.page import write_report
from tl_entk.report.parts import Cells, Section, Table
from tl_entk.report.toys.dynamics import (
    ONSET_RULE,
    Timing,
    cost_table,
    timing,
    timing_pictures,
    timing_rows,
    timing_table,
)
from tl_entk.report.toys.linear_fits import fit_parts
from tl_entk.report.toys.mlp_cliffs import overlap_bound
from tl_entk.report.toys.modular_mlp import mlp_sections
from tl_entk.report.toys.modular_transformer import transformer_sections
from tl_entk.report.toys.paper_table import paper_table
from tl_entk.report.toys.superposition import superposition_sections
from tl_entk.report.toys.wording import (
    format_cliff,
    format_drops,
    format_epoch,
    format_overlap,
    join_numbers,
)


def write_paper(result: PaperResult, out: Path, seconds: float) -> Path:
    """Report, figures and tables of everything.

    Args:
        result: of ``run_paper``.
        out: folder; made if missing.
        seconds: that this call computed (a later one reuses what is there).

    Returns:
        The path of report.html.

    Raises:
        OSError: if the folder cannot be written to.
    """
    return write_report(
        out,
        "Feature identification via the empirical NTK: the paper's settings, run here",
        "Every setting of arXiv 2510.00468 that is no language model (for that: tl-entk "
        f"language). Seeds {join_numbers(result.mlp)}; the figures show seed 0, and seed "
        f"{SHOWN} of the Transformer.",
        [*_key_figures(result), ("computing, this call", f"{seconds / 60:.1f} min")],
        [
            Section(
                "The paper's figures and ours",
                "The author's numbers are those of the paper, of its author's research code, or, "
                "where it says so, of an independent rewrite of it. Ours are of this run.",
                [paper_table(result)],
            ),
            *superposition_sections(result.superposition),
            *mlp_sections(result.mlp),
            _narrow(result),
            *[
                replace(section, title=f"Transformer: {section.title}")
                for section in transformer_sections(result.shown)
            ],
            *_transformer_fits(result),
            _dynamics(result),
        ],
    )


def _key_figures(result: PaperResult) -> list[tuple[str, str]]:
    mlp, _ = result.mlp[0]
    found = headline(result.shown)
    sums = format_overlap(mlp.overlaps[FULL_SECOND]["a+b"], overlap_bound(mlp))
    spans = format_overlap(found["W_U_modes_0_to_2F_on_a+b"], found["most_possible"])
    return [
        *[
            (f"superposition, {toy.name}: last cliff", format_cliff(toy.cliff()))
            for toy in result.superposition[0]
        ],
        ("MLP, second cliff on a + b", sums),
        ("Transformer, W_U on a + b", spans),
    ]


def _narrow(result: PaperResult) -> Section:
    narrow, course = result.narrow
    found = timing(course, MLP_SUM)
    rows: list[Cells] = [[cliff, *overlaps.values()] for cliff, overlaps in narrow.overlaps.items()]
    return Section(
        "MLP: a narrow one",
        f"n = {narrow.settings['n']} hidden units, seed {narrow.settings['seed']}: test accuracy "
        f"{float(course.metrics['test_accuracy'][-1]):.1%}, drops of both layers' kernel after "
        f"{format_drops(narrow.cliffs(FULL))}; derivative's peak: {format_epoch(found.peak)}; "
        f"onset: {format_epoch(found.onset)}.",
        [
            Table(
                "mlp_narrow_overlaps",
                f"Overlap of each cliff's modes, of at most {overlap_bound(narrow)}.",
                ("cliff", *next(iter(narrow.overlaps.values()))),
                rows,
            )
        ],
    )


def _transformer_fits(result: PaperResult) -> list[Section]:
    fits = result.transformer[SHOWN][0].fits
    if not fits:
        return []
    return [
        Section(
            "Transformer: does the linearization hold?",
            "Kernel ridge regression with the flattened eNTK of all weights, fitted on the "
            "training part with a ridge of 0.1 times the kernel's mean diagonal. Its targets are "
            "the labels in units of the trained model's logits (the mean logit of the right class, "
            "and of the others), since cross-entropy has no closed form; the loss is the "
            "cross-entropy, over the model's own.",
            fit_parts("transformer", {f"Transformer, seed {SHOWN}": fits}),
        )
    ]


def _dynamics(result: PaperResult) -> Section:
    mlps = {seed: course for seed, (_, course) in result.mlp.items()}
    transformers = {seed: course for seed, (_, course) in result.transformer.items()}
    experiments: Mapping[str, tuple[Mapping[int, Course], str]] = {
        "MLP": (mlps, MLP_SUM),
        "Transformer": (transformers, TRANSFORMER_SUM),
    }
    timings: dict[str, dict[int, Timing]] = {
        name: {seed: timing(course, overlap) for seed, course in courses.items()}
        for name, (courses, overlap) in experiments.items()
    }
    rows = [
        row
        for name, (courses, overlap) in experiments.items()
        for row in timing_rows(courses, overlap, name)
    ]
    costs = {
        f"MLP, seed {seed}": (
            course,
            found.seconds["training and tracking"] - course.tracking_seconds,
        )
        for seed, (found, course) in result.mlp.items()
    }
    costs |= {
        f"Transformer, seed {seed}": (course, record.found["seconds"]["training"])
        for seed, (record, course) in result.transformer.items()
        if not record.found["model_reused"]
    }
    return Section(
        "Does the derivative's peak foretell grokking?",
        f"{ONSET_RULE} MLP: both layers' second cliff on a + b. Transformer: W_U, modes 0..2F on "
        f"a + b at the final key frequencies.\n\n{summarize_timings(timings)}",
        [*timing_pictures(timings), timing_table("all", rows), cost_table(costs)],
    )


def summarize_timings(timings: Mapping[str, Mapping[int, Timing]]) -> str:
    """How often the peak precedes, matches and follows the onset, and where one is missing."""
    sentences: list[str] = []
    for name, found in timings.items():
        words: Sequence[str] = [t.relation for t in found.values() if t.relation]
        counts = ", ".join(
            f"{word} it in {words.count(word)}" for word in ("precedes", "matches", "follows")
        )
        flat = sum(t.onset is None for t in found.values())
        level = len(found) - len(words) - flat
        tail = f"; {flat} did not grok" if flat else ""
        tail += f"; {level} without a rise of the overlap" if level else ""
        sentences.append(f"{name}: of {len(found)} seeds the peak {counts}{tail}.")
    return " ".join(sentences)
