"""The table "paper's figure / ours"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tl_entk.directions.cliffs import Cliff
from tl_entk.dynamics.course import Course
from tl_entk.experiments.modular_mlp.analysis import (
    FULL,
    FULL_FIRST,
    FULL_SECOND,
    LAYER_1,
    LAYER_1_FIRST,
    MLPResult,
)
from tl_entk.experiments.modular_mlp.analysis import SUM as MLP_SUM
from tl_entk.experiments.modular_transformer.analysis import headline
from tl_entk.experiments.modular_transformer.course import SUM as TRANSFORMER_SUM
from tl_entk.experiments.modular_transformer.course import W_IN
from tl_entk.experiments.paper import SHOWN, PaperResult
from tl_entk.experiments.rotations import DIFFERENCE, NESTED
from tl_entk.report.parts import Cells, Table
from tl_entk.report.toys.dynamics import Timing, timing
from tl_entk.report.toys.mlp_cliffs import cliff_width, overlap_bound
from tl_entk.report.toys.wording import (
    NONE,
    format_cliff,
    format_drops,
    format_overlap,
    join_numbers,
)

PAPER = "arXiv 2510.00468"
AUTHOR = "its author's run"
OTHER = "a rewrite of it"
Row = Cells


def paper_table(result: PaperResult) -> Table:
    """Every figure that the paper, its author or a rewrite of it gives, beside ours."""
    rows: list[Row] = [
        *_superposition_rows(result),
        *_linearization_rows(result),
        *[["MLP", *row, 0] for row in mlp_rows(*result.mlp[0])],
        *[["Transformer", *row, SHOWN] for row in _transformer_rows(result)],
    ]
    columns = ("setting", "figure", "paper's", "ours", "source of the paper's", "seed")
    return Table("paper_and_ours", "", columns, rows, text=True)


def _superposition_rows(result: PaperResult) -> list[Row]:
    rows: list[Row] = []
    firsts, ratios, diagonals = ("10", "30", "43 to 50"), (23.6, 2.6, 2.3), (10, 20, 43)
    picked = ("50, 0.98", "44, 0.94", "39, 0.92")
    shown = result.superposition[0]
    for toy, first, ratio, diagonal, pick in zip(
        shown, firsts, ratios, diagonals, picked, strict=True
    ):
        last = toy.cliff()
        distinct, mean = toy.picked("0.3")
        found: list[Row] = [
            ["last cliff after mode", "50", format_cliff(last), PAPER],
            ["its ratio", f"{ratio}", f"{last.ratio:.2f}" if last else "", OTHER],
            ["first cliff after mode", first, format_cliff(toy.first_cliff()), OTHER],
            ["diagonal of W^T W above 0.75", str(diagonal), str(toy.represented), OTHER],
            ["beta = 0.3: distinct features, clearness", pick, f"{distinct}, {mean:.2f}", OTHER],
        ]
        rows += [[f"superposition, {toy.name}", *row, 0] for row in found]
    return rows


def _linearization_rows(result: PaperResult) -> list[Row]:
    """The author's check (n = 10, m = 5, S = 0.9, 100 samples, ridge 5e-4), over the seeds."""
    rows: list[Row] = []
    figures = (
        ("model", "r2", "0.994"),
        ("model", "loss_ratio", "0.57"),
        ("zero", "r2", "0.9996"),
        ("zero", "loss_ratio", "0.85"),
    )
    for around, key, theirs in figures:
        found = [
            row[key]
            for toy in result.author.values()
            for row in toy.fits
            if (row["model"], row["around"]) == ("trained", around)
        ]
        what = {"r2": "R²", "loss_ratio": "loss ratio"}[key]
        ours = f"{found[0]:.4f}; all seeds {min(found):.4f} to {max(found):.4f}"
        rows.append(
            ["linearization, n = 10, m = 5", f"{what} around {around}", theirs, ours, AUTHOR, 0]
        )
    return rows


def mlp_rows(mlp: MLPResult, course: Course) -> list[Row]:
    """Figure, the paper's, ours and the source of the paper's, for one seed of the MLP."""
    return [
        *_mlp_overlap_rows(mlp),
        *_mlp_cliff_rows(mlp),
        *_mlp_course_rows(mlp, course),
        *_mlp_rotation_rows(mlp),
        _timing_row(timing(course, MLP_SUM), "near the onset, 75 to 100", PAPER),
    ]


def _mlp_overlap_rows(mlp: MLPResult) -> list[Row]:
    most = overlap_bound(mlp)
    second, first = mlp.overlaps[FULL_SECOND], mlp.overlaps[FULL_FIRST]
    return [
        ["modes 57..112 on a + b", "26.47 of 28", format_overlap(second["a+b"], most), AUTHOR],
        ["modes 57..112 on a - b", "25.21 of 28", format_overlap(second["a-b"], most), AUTHOR],
        ["modes 1..56 on a", "27.56 of 28", format_overlap(first["a"], most), OTHER],
        ["modes 1..56 on b", "27.55 of 28", format_overlap(first["b"], most), OTHER],
    ]


def _mlp_cliff_rows(mlp: MLPResult) -> list[Row]:
    largest = "; ".join(_name_largest(mlp.cliffs(LAYER_1, start=start)) for start in (False, True))
    return [
        [
            "both layers: drops after",
            "1, 57 (2.1x), 113 (1.3x)",
            format_drops(mlp.cliffs(FULL)),
            OTHER,
        ],
        ["layer 1: largest drop after; before training", "57, 12x; there too", largest, OTHER],
    ]


def _name_largest(cliffs: Sequence[Cliff]) -> str:
    return f"{cliffs[0].position}, {cliffs[0].ratio:.1f}x" if cliffs else NONE


def _mlp_course_rows(mlp: MLPResult, course: Course) -> list[Row]:
    """What appears with grokking: the overlap of the second cliff, and the drop behind it."""
    when, overlap = timing(course, MLP_SUM), course.overlaps[MLP_SUM]
    at_onset = overlap[int((course.steps >= (when.onset or 0)).nonzero()[0])]
    grows = " to ".join(f"{float(x):.1f}" for x in (overlap[0], at_onset, overlap[-1]))
    last = 2 * cliff_width(mlp)
    before, after = (
        float(values[last] / values[last + 1])
        for values in (mlp.start[FULL], mlp.eigenvalues[FULL])
    )
    return [
        [
            "second cliff on a + b: before training, at the onset, trained",
            "appears with grokking",
            f"{grows} of {overlap_bound(mlp)}",
            PAPER,
        ],
        [
            f"drop after {1 + last}: before training; trained",
            "appears with grokking",
            f"{before:.2f}x; {after:.2f}x",
            PAPER,
        ],
    ]


def _mlp_rotation_rows(mlp: MLPResult) -> list[Row]:
    def purity(cliff: str, rotation: str) -> dict[str, Any]:
        wanted = (cliff, rotation)
        return next(row for row in mlp.purities if (row["cliff"], row["rotation"]) == wanted)

    nested, better = (purity(FULL_FIRST, name) for name in (NESTED, DIFFERENCE))
    second, second_better = (purity(FULL_SECOND, name)["mean"] for name in (NESTED, DIFFERENCE))
    return [
        [
            "layer 1, first cliff rotated: least share on one wave",
            "0.996",
            f"{purity(LAYER_1_FIRST, NESTED)['least']:.3f}",
            OTHER,
        ],
        [
            "both layers, first cliff rotated: directions at 0.9 or more; mean",
            "45 of 56; 0.94",
            f"{nested['pure']}; {nested['mean']:.2f} (by the difference of the Laplacians "
            f"{better['pure']}; {better['mean']:.2f})",
            OTHER,
        ],
        [
            "both layers, second cliff rotated: mean share",
            "0.84",
            f"{second:.2f} (by the difference {second_better:.2f})",
            OTHER,
        ],
    ]


def _timing_row(found: Timing, theirs: str, source: str) -> Row:
    ours = "; ".join(NONE if x is None else str(x) for x in (found.peak, found.onset))
    return ["derivative's peak; onset of grokking (epochs)", theirs, ours, source]


def _transformer_rows(result: PaperResult) -> list[Row]:
    found = headline(result.shown)
    most, f = found["most_possible"], result.shown.n_frequencies
    w_in = next(row for row in result.shown.overlaps if row.component == W_IN)
    keys = join_numbers(result.shown.weight_frequencies)
    sums, axes, into = (
        format_overlap(overlap, most)
        for overlap in (
            found["W_U_modes_0_to_2F_on_a+b"],
            found["W_U_modes_2F+1_to_4F_on_axis_sum"],
            w_in.first["axis sum"],
        )
    )
    when = timing(result.transformer[SHOWN][1], TRANSFORMER_SUM)
    return [
        ["key frequencies", "2 of them", f"{f}: {keys}", AUTHOR],
        ["W_U, modes 0..2F on a + b", "3.96 of 4", sums, AUTHOR],
        ["W_U, modes 2F+1..4F on axis sums", "3.94 of 4", axes, AUTHOR],
        ["W_in, modes 0..2F on axis sums", "5.59 of 6", into, OTHER],
        _timing_row(when, "near 150, where test accuracy starts to rise", OTHER),
    ]
