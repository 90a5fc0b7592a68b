"""The report on the modular-addition Transformer: which figures and tables, and their words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tl_entk.alignment.attribution import head_shares
from tl_entk.experiments.modular_transformer.analysis import UNEMBED, ModularResult, headline
from tl_entk.experiments.modular_transformer.course import SUM
from tl_entk.experiments.modular_transformer.training import TrainingCurve
from tl_entk.model.sites import partition
from tl_entk.report.page import write_report
from tl_entk.report.parts import Cells, Picture, Section, Table
from tl_entk.report.toys.answers import answer_transformer
from tl_entk.report.toys.basis_comparison import comparison_parts
from tl_entk.report.toys.block_features import (
    direction_heatmap,
    overlap_heatmaps,
    overlap_tables,
    share_pictures,
    share_table,
    spectra_picture,
)
from tl_entk.report.toys.charts import frequency_bars
from tl_entk.report.toys.dynamics import (
    ONSET_RULE,
    course_picture,
    spectrum_pictures,
    timing_rows,
    timing_table,
)
from tl_entk.report.toys.panels import Line, Panel, line_panels
from tl_entk.report.toys.rotations import rotation_bars, rotation_table
from tl_entk.report.toys.wording import format_overlap, join_numbers

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
    eigen = {f"eigen/{name}": directions for name, directions in result.eigen.items()}
    return write_report(
        out,
        "Modular addition: features of a 1-layer Transformer from its eNTK",
        f"(a + b) mod {result.settings.p}, seed {result.settings.seed}, "
        f"{result.blocks.provenance['model_class']}. Kernel of the mean logit at the last "
        "position, over all pairs (a, b); method of arXiv 2510.00468.",
        _key_figures(result),
        transformer_sections(result),
        answer=answer_transformer(result),
        hero=overlap_heatmaps(result, heads=False)[:1],
        results={"blocks": result.blocks, "features": result.features, **eigen},
        summary={
            "settings": result.settings.as_dict(),
            "model_class": result.model_class,
            "headline": headline(result),
            "weight_spectrum": result.weight_spectrum,
            "kernel_spectrum": result.kernel_spectrum,
            "provenance": result.blocks.provenance,
        },
    )


def _key_figures(result: ModularResult) -> list[tuple[str, str]]:
    found, most = headline(result), 2 * result.n_frequencies
    sums, axes = found["W_U_modes_0_to_2F_on_a+b"], found["W_U_modes_2F+1_to_4F_on_axis_sum"]
    return [
        ("test accuracy", f"{found['test_accuracy']:.1%}"),
        ("key frequencies, from W_E", join_numbers(result.weight_frequencies)),
        ("key frequencies, from the kernel", join_numbers(result.kernel_frequencies)),
        ("W_U, modes 0..2F on a + b", format_overlap(sums, most)),
        ("W_U, modes 2F+1..4F on axis sum", format_overlap(axes, most)),
        ("kernel blocks, all weights and heads", f"{result.seconds['blocks']:.2f} s"),
    ]


def transformer_sections(result: ModularResult) -> list[Section]:
    """Everything that there is to see of a run."""
    return [
        _training_section(result),
        _frequency_section(result),
        *_block_sections(result),
        _share_section(result),
        _comparison_section(result),
        _rotation_section(result),
        _dynamics_section(result),
        _provenance_section(result),
    ]


def _training_section(result: ModularResult) -> Section:
    return Section(
        "Training",
        "Grokking shows as test accuracy that rises long after the training half is learned. "
        "The provenance below has the settings.",
        [
            Picture(
                "training",
                "Accuracy and loss by epoch.",
                _draw_training(result.trained.curve),
            )
        ],
    )


def _draw_training(curve: TrainingCurve) -> Any:
    def lines(quantity: str) -> dict[str, Line]:
        parts = ("train", "test")
        return {part: Line(curve.epoch, getattr(curve, f"{part}_{quantity}")) for part in parts}

    panels = {
        "Accuracy": Panel(lines("accuracy"), "epoch", "accuracy", limits=(0, 1.04)),
        "Loss": Panel(lines("loss"), "epoch", "cross-entropy (nats)", log=True),
    }
    return line_panels(panels, "The training", columns=2)


def _frequency_section(result: ModularResult) -> Section:
    return Section(
        "Key frequencies",
        "Found twice, independently: from the Fourier spectrum of the embedding's rows, and "
        "from the W_U kernel block alone, as the energy of each frequency's a + b pair. In "
        "both, the frequencies before the largest relative drop count.",
        [
            Picture(
                "frequencies",
                "Key frequencies in color.",
                frequency_bars(
                    {
                        ("in the rows of W_E", "power"): result.weight_spectrum,
                        ("of the a + b pair in the W_U block", "energy"): result.kernel_spectrum,
                    },
                    (result.weight_frequencies, result.kernel_frequencies),
                    "Each frequency, in the weights and in the kernel",
                ),
            )
        ],
    )


def _block_sections(result: ModularResult) -> list[Section]:
    f = result.n_frequencies
    return [
        Section(
            "Spectra",
            f"With F = {f} key frequencies the paper expects the W_U block to drop after "
            f"2F + 1 = {2 * f + 1} and after 4F + 1 = {4 * f + 1} modes (dotted): one mode for the "
            "mean, then one cosine and one sine per frequency of a + b, then of the axis sums.",
            [spectra_picture(result)],
            question="Where do the spectra drop?",
        ),
        Section(
            "Alignment",
            "Overlap of the span of each block's modes with the span of a feature family at the "
            f"key frequencies. The most there can be is 2F = {2 * f}. Families overlap with each "
            "other: an axis sum lies in the span of a and b, and twice a key frequency may be "
            "another one.",
            [*overlap_heatmaps(result), *overlap_tables(result)],
            question="Which block has which features?",
        ),
        Section(
            "Eigendirections, one by one",
            "Share of each direction's squared norm in the span of the cosine and sine of one "
            "family and frequency: the best match over phases. The paper expects "
            "drops before modes 2F + 1 and 4F + 1.",
            [direction_heatmap(result, name) for name in HEATMAPS],
            question="What is each direction?",
        ),
    ]


def _share_section(result: ModularResult) -> Section:
    weights = result.shares["a+b"]
    heads = head_shares(weights)
    head = max(heads, key=lambda name: heads[name])
    weight = max(partition(list(weights)), key=lambda name: weights[name])
    return Section(
        "Where a feature lives",
        "Share of each weight in a family's kernel energy, u·K_b u / u·K u summed over the "
        "family's span. The shares of a row add up to 1; heads are parts of their weights.\n\n"
        f"Of a + b, {weight} has the most, {weights[weight]:.1%}; of the heads {head}, "
        f"{heads[head]:.1%}.",
        [*share_pictures(result), share_table(result)],
        question="Which head or weight carries a family of features?",
    )


def _comparison_section(result: ModularResult) -> Section:
    return Section(
        "Beside PCA, probes and chance",
        "A ridge probe on the same number of scores of each basis, fitted on one half of the "
        "examples and judged on the other; 95 % bootstrap intervals. PCA is of the residual "
        "stream that the unembedding reads. For the mean logit the W_U block is the Gram "
        "matrix of just those activations, not centered: what sets its directions apart from "
        "PCA's is the centering. The total kernel holds all weights.",
        [part for name, c in result.comparisons.items() for part in comparison_parts(name, c)],
        question="Does it beat PCA and probes?",
    )


def _rotation_section(result: ModularResult) -> Section:
    return Section(
        "Rotations of the W_U block's first modes",
        "Modes 0..2F of the W_U block, less the mean, hold the waves of a + b at the key "
        "frequencies, mixed where eigenvalues are close. Rotated by the torus' Laplacians "
        "along a + b and a - b, and by ways that know no task: a graph of neighbors found in "
        "the kernel, varimax, ICA. With a few frequencies, unlike with all of them, the span "
        "itself may single them out.",
        [
            rotation_bars("transformer", result.purities),
            rotation_table("transformer", result.purities),
        ],
    )


def _dynamics_section(result: ModularResult) -> Section:
    return Section(
        "Dynamics",
        "Overlap and its derivative through training, at the key frequencies of the trained "
        "model; dotted lines: onset of grokking, and the derivative's peak (of the sums).\n\n"
        f"{ONSET_RULE}",
        [
            course_picture("transformer_course", "The course.", result.course, SUM),
            *spectrum_pictures("transformer", result.course),
            timing_table(
                "transformer",
                timing_rows({result.settings.seed: result.course}, SUM, "Transformer"),
            ),
        ],
    )


def _provenance_section(result: ModularResult) -> Section:
    return Section(
        "Provenance",
        "What the numbers were computed from, and how long each part took.",
        [_provenance_table(result)],
        folded=True,
    )


def _provenance_table(result: ModularResult) -> Table:
    rows: list[Cells] = []
    for name, value in {**result.settings.as_dict(), **result.blocks.provenance}.items():
        rows.append([name, str(value)])
    rows += [[f"seconds: {name}", value] for name, value in result.seconds.items()]
    return Table("provenance", "Settings, versions and times.", ("what", "value"), rows)
