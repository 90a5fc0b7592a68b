"""The modular-addition report: which figures and tables, and what is said of them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from feature_sets.fourier import FAMILIES
from tl_entk.alignment.attribution import head_shares
from tl_entk.alignment.comparison import Comparison
from tl_entk.alignment.overlap import group_projections
from tl_entk.experiments.modular_transformer.analysis import (
    TOTAL,
    UNEMBED,
    ModularResult,
    OverlapRow,
    headline,
)
from tl_entk.experiments.modular_transformer.course import SUM
from tl_entk.report import figures as draw
from tl_entk.report.page import Picture, Section, Table, write_page
from tl_entk.report.toys.dynamics import ONSET_RULE, course_picture, timing_rows, timing_table
from tl_entk.report.toys.rotations import rotation_bars, rotation_table
from tl_entk.results import save
from tl_entk.tools.files import write_json

SPECTRA = (UNEMBED, "blocks.0.mlp.W_out", "blocks.0.mlp.W_in", "blocks.0.attn.W_O", TOTAL)
HEATMAPS = (UNEMBED, "blocks.0.mlp.W_out", "blocks.0.mlp.W_in")


def write_outputs(result: ModularResult, out: Path) -> Path:
    """Report, figures, tables, results.json and safetensors of a run.

    Args:
        result: of ``run_modular_transformer``.
        out: folder; made if missing.

    Returns:
        The path of report.html.

    Raises:
        OSError: if the folder cannot be written to.
    """
    save(result.blocks, out / "blocks")
    save(result.features, out / "features")
    for name, directions in result.eigen.items():
        save(directions, out / "eigen" / name)
    summary = {
        "settings": result.settings.as_dict(),
        "model_class": result.model_class,
        "headline": headline(result),
        "weight_spectrum": result.weight_spectrum,
        "kernel_spectrum": result.kernel_spectrum,
        "provenance": result.blocks.provenance,
    }
    write_json(out / "results.json", summary)
    page = out / "report.html"
    write_page(
        page,
        "Modular addition: features of a 1-layer Transformer from its eNTK",
        f"(a + b) mod {result.settings.p}, seed {result.settings.seed}, "
        f"{result.blocks.provenance['model_class']}. Kernel of the mean logit at the last "
        "position, over all pairs (a, b); method of arXiv 2510.00468.",
        _key_figures(result),
        transformer_sections(result),
    )
    return page


def _key_figures(result: ModularResult) -> list[tuple[str, str]]:
    found, most = headline(result), 2 * result.n_frequencies
    return [
        ("test accuracy", f"{found['test_accuracy']:.1%}"),
        ("key frequencies, from W_E", _numbers(result.weight_frequencies)),
        ("key frequencies, from the kernel", _numbers(result.kernel_frequencies)),
        ("W_U, modes 0..2F on a + b", f"{found['W_U_modes_0_to_2F_on_a+b']:.2f} of {most}"),
        (
            "W_U, modes 2F+1..4F on axis sum",
            f"{found['W_U_modes_2F+1_to_4F_on_axis_sum']:.2f} of {most}",
        ),
        ("kernel blocks, all weights and heads", f"{result.seconds['blocks']:.2f} s"),
    ]


def _numbers(values: list[int]) -> str:
    return ", ".join(str(value) for value in values)


def transformer_sections(result: ModularResult) -> list[Section]:
    """Everything that there is to see of a run."""
    f = result.n_frequencies
    return [
        Section(
            "Training",
            "Grokking shows as test accuracy that rises long after the training half is learnt. "
            "The provenance below has the settings.",
            [
                Picture(
                    "training",
                    "Accuracy and loss by epoch.",
                    draw.training_curve(asdict(result.trained.curve)),
                )
            ],
        ),
        Section(
            "Key frequencies",
            "Found twice, independently: from the Fourier spectrum of the embedding's rows, and "
            "from the W_U kernel block alone, as the energy of each frequency's a + b pair. In "
            "both, the frequencies before the largest relative drop count.",
            [
                Picture(
                    "frequencies",
                    "Key frequencies in colour.",
                    draw.frequency_bars(
                        result.weight_spectrum,
                        result.kernel_spectrum,
                        (result.weight_frequencies, result.kernel_frequencies),
                    ),
                )
            ],
        ),
        Section(
            "Spectra",
            f"With F = {f} key frequencies the paper expects the W_U block to drop after "
            f"2F + 1 = {2 * f + 1} and after 4F + 1 = {4 * f + 1} modes (dotted): one mode for the "
            "mean, then one cosine and one sine per frequency of a + b, then of the axis sums.",
            [_spectra(result)],
        ),
        Section(
            "Alignment",
            "Overlap of the span of each block's modes with the span of a feature family at the "
            f"key frequencies. The most there can be is 2F = {2 * f}. Families overlap with each "
            "other: an axis sum lies in the span of a and b, and twice a key frequency may be "
            "another one.",
            [_overlap_heatmap(result), _overlap_table(result, 1), _overlap_table(result, 2)],
        ),
        Section(
            "Eigendirections, one by one",
            "Share of each direction's squared norm in the span of the cosine and sine of one "
            "family and frequency: the best match over phases. White lines: 2F + 1 and 4F + 1.",
            [_direction_heatmap(result, name) for name in HEATMAPS],
        ),
        Section(
            "Where a feature lives",
            "Share of each weight in a family's kernel energy, u·K_b u / u·K u summed over the "
            "family's span. The shares of a row add up to 1; heads are parts of their weights.",
            [_share_bars(result), _share_heads(result), _share_table(result)],
        ),
        Section(
            "Beside PCA, probes and chance",
            "A ridge probe on the same number of scores of each basis, fitted on one half of the "
            "examples and judged on the other; 95 % bootstrap intervals. PCA is of the residual "
            "stream that the unembedding reads. For the mean logit the W_U block is the Gram "
            "matrix of just those activations, not centered: what sets its directions apart from "
            "PCA's is the centering. The total kernel holds all weights.",
            [part for name, c in result.comparisons.items() for part in _comparison(name, c)],
        ),
        Section(
            "Rotations of the W_U block's first modes",
            "Modes 0..2F of the W_U block, less the mean, hold the waves of a + b at the key "
            "frequencies, mixed where eigenvalues are close. Rotated by the torus' Laplacians "
            "along a + b and a - b, and by ways that know no task: a graph of neighbours found in "
            "the kernel, varimax, ICA. With a few frequencies, unlike with all of them, the span "
            "itself may single them out.",
            [
                rotation_bars("transformer", result.purities),
                rotation_table("transformer", result.purities),
            ],
        ),
        Section(
            "Dynamics",
            "Overlap and its derivative through training, at the key frequencies of the trained "
            "model; dashed: onset of grokking, dotted: the derivative's peak (of the sums).\n\n"
            f"{ONSET_RULE}",
            [
                course_picture("transformer_course", "The course.", result.course, SUM),
                timing_table(
                    "transformer",
                    timing_rows({result.settings.seed: result.course}, SUM, "Transformer"),
                ),
            ],
        ),
        Section(
            "Provenance",
            "What the numbers were computed from, and how long each part took.",
            [_provenance(result)],
            folded=True,
        ),
    ]


def _spectra(result: ModularResult) -> Picture:
    values = {name: result.eigen[name].eigenvalues.numpy() for name in SPECTRA}
    f = result.n_frequencies
    picture = draw.spectra(values, (2 * f + 1, 4 * f + 1))
    return Picture("spectra", "Leading eigenvalues, relative to the first.", picture)


def _overlap_heatmap(result: ModularResult) -> Picture:
    most = 2 * result.n_frequencies
    values = (
        np.array([[*row.first.values(), *row.second.values()] for row in result.overlaps]) / most
    )
    picture = draw.heatmap(
        values,
        [row.component for row in result.overlaps],
        FAMILIES * 2,
        label="overlap / 2F",
        numbers=True,
        halves=(f"modes 0..{most}", f"modes {most + 1}..{2 * most}"),
    )
    return Picture("overlaps", "Overlap of each block's modes with each family, over 2F.", picture)


def _overlap_table(result: ModularResult, part: int) -> Table:
    f = result.n_frequencies
    modes = f"0..{2 * f}" if part == 1 else f"{2 * f + 1}..{4 * f}"

    def cells(row: OverlapRow) -> list[str | float | int]:
        overlaps = row.first if part == 1 else row.second
        cliff = row.cliffs[0] if row.cliffs else None
        ending = (
            []
            if part == 2
            else ([cliff.position, cliff.ratio, cliff.sharpness] if cliff else ["", "", ""])
        )
        return [row.component, *overlaps.values(), *ending]

    ending = () if part == 2 else ("largest cliff after", "ratio", "sharpness")
    return Table(
        f"overlap_modes_{modes.replace('..', '_to_')}",
        f"Modes {modes}: overlap with each family, of at most {2 * f}.",
        ("component", *FAMILIES, *ending),
        [cells(row) for row in result.overlaps],
    )


def _direction_heatmap(result: ModularResult, name: str) -> Picture:
    f = result.n_frequencies
    vectors = result.eigen[name].vectors
    values, groups = group_projections(vectors, result.features)
    picture = draw.heatmap(
        values.numpy(),
        [str(i) for i in range(vectors.shape[1])],
        groups,
        label="share of squared norm",
        row_label="mode",
        cuts=(2 * f + 1, 4 * f + 1),
    )
    caption = f"{name}: modes against families and frequencies."
    return Picture(f"directions_{name}", caption, picture)


def _share_bars(result: ModularResult) -> Picture:
    shares = {
        family: {name: share[name] for name in result.blocks.partition()}
        for family, share in result.shares.items()
    }
    return Picture(
        "shares", "Shares of the weights, by feature family.", draw.stacked_shares(shares)
    )


def _share_heads(result: ModularResult) -> Picture:
    by_family = {family: head_shares(share) for family, share in result.shares.items()}
    heads = sorted(next(iter(by_family.values())))
    values = np.array([[share[head] for head in heads] for share in by_family.values()])
    picture = draw.heatmap(
        values, list(by_family), heads, label="share", highest=float(values.max()) or 1.0
    )
    return Picture(
        "head_shares", "Shares of the attention heads (all four slices together).", picture
    )


def _share_table(result: ModularResult) -> Table:
    rows: list[list[str | float | int]] = [
        [name, *[share[name] for share in result.shares.values()]] for name in result.blocks
    ]
    return Table(
        "shares", "Share of every weight and head slice.", ("component", *result.shares), rows
    )


def _comparison(name: str, comparison: Comparison) -> list[Picture | Table]:
    rows, bases = {row.group: row.scores for row in comparison.rows}, comparison.bases
    macro: list[list[str | float | int]] = []
    for family in dict.fromkeys(row.family for row in comparison.rows):
        means = [comparison.macro(basis, family=family).value for basis in bases]
        differences = [r.difference.value for r in comparison.rows if r.family == family]
        macro.append([family, *means, float(np.mean(differences))])
    detail = [
        [row.group]
        + [x for b in bases for x in (row.scores[b].value, row.scores[b].low, row.scores[b].high)]
        + [row.difference.value, row.difference.low, row.difference.high]
        for row in comparison.rows
    ]
    spread = [f"{b}{end}" for b in (*bases, "eNTK - PCA") for end in ("", " low", " high")]
    return [
        Picture(
            f"comparison_{name}",
            f"eNTK of {name}: probes on {comparison.k} directions per basis, R² on the test half.",
            draw.intervals(rows, "R² on the test half"),
        ),
        Table(
            f"comparison_{name}_families",
            f"eNTK of {name}: mean R² by family.",
            ("family", *bases, "eNTK - PCA"),
            macro,
        ),
        Table(
            f"comparison_{name}",
            f"eNTK of {name}: every feature, with 95 % intervals.",
            ("feature", *spread),
            detail,
        ),
    ]


def _provenance(result: ModularResult) -> Table:
    rows: list[list[str | float | int]] = []
    for name, value in {**result.settings.as_dict(), **result.blocks.provenance}.items():
        rows.append([name, str(value)])
    rows += [[f"seconds: {name}", value] for name, value in result.seconds.items()]
    return Table("provenance", "Settings, versions and times.", ("what", "value"), rows)
