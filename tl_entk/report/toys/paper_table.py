"""The table "paper's figure / ours"."""

from __future__ import annotations

from typing import Any

from tl_entk.directions.cliffs import Cliff
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
from tl_entk.experiments.paper import SHOWN, PaperResult
from tl_entk.experiments.rotations import DIFFERENCE, NESTED
from tl_entk.report.page import Table
from tl_entk.report.toys.dynamics import timing

PAPER = "arXiv 2510.00468"
AUTHOR = "its author's run"
OTHER = "a rewrite of it"
Row = list[str | float | int]


def paper_table(result: PaperResult) -> Table:
    """Every figure that the paper, its author or a rewrite of it gives, beside ours."""
    rows = [
        *_superposition(result),
        *_linearization(result),
        *_mlp(result),
        *_transformer(result),
    ]
    columns = ("setting", "figure", "paper's", "ours", "source of the paper's", "seed")
    return Table("paper_and_ours", "", columns, rows, text=True)


def _of(value: float, most: int) -> str:
    return f"{value:.2f} of {most}"


def _after(cliff: Cliff | None) -> str:
    return str(cliff.position) if cliff else "none"


def _superposition(result: PaperResult) -> list[Row]:
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
            ["last cliff after mode", "50", _after(last), PAPER],
            ["its ratio", f"{ratio}", f"{last.ratio:.2f}" if last else "", OTHER],
            ["first cliff after mode", first, _after(toy.first_cliff()), OTHER],
            ["diagonal of W^T W above 0.75", str(diagonal), str(toy.represented), OTHER],
            ["beta = 0.3: distinct features, clearness", pick, f"{distinct}, {mean:.2f}", OTHER],
        ]
        rows += [[f"superposition, {toy.name}", *row, 0] for row in found]
    return rows


def _linearization(result: PaperResult) -> list[Row]:
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


def _purity(result: MLPResult, cliff: str, rotation: str) -> dict[str, Any]:
    return next(
        row for row in result.purities if (row["cliff"], row["rotation"]) == (cliff, rotation)
    )


def _mlp(result: PaperResult) -> list[Row]:
    mlp, course = result.mlp[0]
    most = 2 * (mlp.settings["p"] // 2)
    cliff = 2 * most
    second, first = mlp.overlaps[FULL_SECOND], mlp.overlaps[FULL_FIRST]
    drops = ", ".join(f"{c.position} ({c.ratio:.1f}x)" for c in mlp.cliffs(FULL))
    layer, before = mlp.cliffs(LAYER_1)[0], mlp.cliffs(LAYER_1, start=True)[0]
    nested, better = (_purity(mlp, FULL_FIRST, name) for name in (NESTED, DIFFERENCE))
    latter = [_purity(mlp, FULL_SECOND, name)["mean"] for name in (NESTED, DIFFERENCE)]
    when = timing(course, MLP_SUM)
    overlap = course.overlaps[MLP_SUM]
    at_onset = overlap[int((course.steps >= (when.onset or 0)).nonzero()[0])]
    grows = " to ".join(f"{float(x):.1f}" for x in (overlap[0], at_onset, overlap[-1]))
    ratios = [
        float(values[2 * cliff] / values[2 * cliff + 1])
        for values in (mlp.start[FULL], mlp.eigenvalues[FULL])
    ]
    rows: list[Row] = [
        ["modes 57..112 on a + b", "26.47 of 28", _of(second["a+b"], most), AUTHOR],
        ["modes 57..112 on a - b", "25.21 of 28", _of(second["a-b"], most), AUTHOR],
        ["modes 1..56 on a", "27.56 of 28", _of(first["a"], most), OTHER],
        ["modes 1..56 on b", "27.55 of 28", _of(first["b"], most), OTHER],
        ["both layers: drops after", "1, 57 (2.1x), 113 (1.3x)", drops, OTHER],
        [
            "layer 1: largest drop after; before training",
            "57, 12x; there too",
            f"{layer.position}, {layer.ratio:.1f}x; {before.position}, {before.ratio:.1f}x",
            OTHER,
        ],
        [
            "second cliff on a + b: before training, at the onset, trained",
            "appears with grokking",
            f"{grows} of {most}",
            PAPER,
        ],
        [
            f"drop after {1 + 2 * cliff}: before training; trained",
            "appears with grokking",
            f"{ratios[0]:.2f}x; {ratios[1]:.2f}x",
            PAPER,
        ],
        [
            "layer 1, first cliff rotated: least share on one wave",
            "0.996",
            f"{_purity(mlp, LAYER_1_FIRST, NESTED)['least']:.3f}",
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
            f"{latter[0]:.2f} (by the difference {latter[1]:.2f})",
            OTHER,
        ],
        [
            "derivative's peak; onset of grokking (epochs)",
            "near the onset, 75 to 100",
            f"{when.peak}; {when.onset}",
            PAPER,
        ],
    ]
    return [["MLP", *row, 0] for row in rows]


def _transformer(result: PaperResult) -> list[Row]:
    found = headline(result.shown)
    most, f = found["most_possible"], result.shown.n_frequencies
    w_in = next(r for r in result.shown.overlaps if r.component == "blocks.0.mlp.W_in")
    when = timing(result.transformer[SHOWN][1], TRANSFORMER_SUM)
    keys = ", ".join(map(str, result.shown.weight_frequencies))
    sums, axes = (
        found[name] for name in ("W_U_modes_0_to_2F_on_a+b", "W_U_modes_2F+1_to_4F_on_axis_sum")
    )
    rows: list[Row] = [
        ["key frequencies", "2 of them", f"{f}: {keys}", AUTHOR],
        ["W_U, modes 0..2F on a + b", "3.96 of 4", _of(sums, most), AUTHOR],
        ["W_U, modes 2F+1..4F on axis sums", "3.94 of 4", _of(axes, most), AUTHOR],
        ["W_in, modes 0..2F on axis sums", "5.59 of 6", _of(w_in.first["axis sum"], most), OTHER],
        [
            "derivative's peak; onset of grokking (epochs)",
            "near 150, where test accuracy starts to rise",
            f"{when.peak}; {when.onset}",
            OTHER,
        ],
    ]
    return [["Transformer", *row, SHOWN] for row in rows]
