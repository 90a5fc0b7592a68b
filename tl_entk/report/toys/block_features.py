"""Figures and tables of what the Transformer's kernel blocks hold, and where a feature lives."""

from __future__ import annotations

from typing import Any

from feature_sets.fourier import FAMILIES
from tl_entk import plot
from tl_entk.alignment.attribution import head_shares
from tl_entk.alignment.overlap import group_projections
from tl_entk.experiments.modular_transformer.analysis import (
    TOTAL,
    UNEMBED,
    ModularResult,
    OverlapRow,
)
from tl_entk.report import charts
from tl_entk.report.parts import Cells, Picture, Table

SPECTRA = (UNEMBED, "blocks.0.mlp.W_out", "blocks.0.mlp.W_in", "blocks.0.attn.W_O", TOTAL)


def spectra_picture(result: ModularResult) -> Picture:
    """Leading eigenvalues of some blocks, with the cliffs that the paper expects."""
    f = result.n_frequencies
    chart = plot.spectrum(
        {name: result.eigen[name] for name in SPECTRA},
        expected=(2 * f + 1, 4 * f + 1),
        title="Spectra of the kernel blocks",
        interactive=True,
        width="container",
    )
    return Picture("spectra", "Leading eigenvalues, relative to the first.", chart)


def overlap_heatmaps(result: ModularResult, *, heads: bool = True) -> list[Picture]:
    """Every block's overlap with every family: of modes 0..2F, and of 2F+1..4F.

    Args:
        result: of the run.
        heads: draw those of single heads too.
    """
    shown = [row for row in result.overlaps if heads or not row.component.endswith("]")]
    most = 2 * result.n_frequencies
    halves = {
        f"modes 0..{most}": {row.component: row.first for row in shown},
        f"modes {most + 1}..{2 * most}": {row.component: row.second for row in shown},
    }
    return [
        Picture(
            f"overlaps_{name}" if heads else f"overlaps_{name}_weights",
            f"Overlap of each block's {modes} with each family, over 2F.",
            charts.grid(
                {
                    component: {family: value / most for family, value in found.items()}
                    for component, found in overlaps.items()
                },
                FAMILIES,
                f"What {modes} of each block hold",
                ("family of features", "block"),
                "overlap / 2F",
            ),
        )
        for name, (modes, overlaps) in zip(("first", "second"), halves.items(), strict=True)
    ]


def overlap_tables(result: ModularResult) -> list[Table]:
    """The same in numbers: modes 0..2F with each block's largest cliff, then modes 2F+1..4F."""
    f = result.n_frequencies
    first, second = f"0..{2 * f}", f"{2 * f + 1}..{4 * f}"
    heads = ("largest cliff after", "ratio", "sharpness")
    return [
        _overlap_table(
            result,
            first,
            [[*row.first.values(), *_cliff_cells(row)] for row in result.overlaps],
            heads,
        ),
        _overlap_table(result, second, [[*row.second.values()] for row in result.overlaps]),
    ]


def _overlap_table(
    result: ModularResult, modes: str, cells: list[Cells], heads: tuple[str, ...] = ()
) -> Table:
    return Table(
        f"overlap_modes_{modes.replace('..', '_to_')}",
        f"Modes {modes}: overlap with each family, of at most {2 * result.n_frequencies}.",
        ("component", *FAMILIES, *heads),
        [[row.component, *more] for row, more in zip(result.overlaps, cells, strict=True)],
    )


def _cliff_cells(row: OverlapRow) -> Cells:
    if not row.cliffs:
        return ["", "", ""]
    cliff = row.cliffs[0]
    return [cliff.position, cliff.ratio, cliff.sharpness]


def direction_heatmap(result: ModularResult, name: str) -> Picture:
    """Share of each of a block's directions on each family and frequency."""
    vectors = result.eigen[name].vectors
    values, groups = group_projections(vectors, result.features)
    chart = charts.grid(
        {
            str(mode): dict(zip(groups, row, strict=True))
            for mode, row in enumerate(values.tolist())
        },
        groups,
        f"Modes of {name}",
        ("family and frequency", "mode"),
        "share of squared norm",
    )
    caption = f"{name}: modes against families and frequencies."
    return Picture(f"directions_{name}", caption, chart)


def share_pictures(result: ModularResult) -> list[Picture]:
    """Share of every weight, and of every head, in each family's kernel energy."""
    weights = {
        family: {name: share[name] for name in result.blocks.partition()}
        for family, share in result.shares.items()
    }
    heads = {family: head_shares(share) for family, share in result.shares.items()}
    options: dict[str, Any] = {"interactive": True, "width": "container"}
    return [
        Picture(
            "head_shares",
            "Shares of the attention heads, all four slices together, less the mean family's: "
            "which head carries a family.",
            plot.shares(heads, less_mean=True, title="The heads of each family", **options),
        ),
        Picture(
            "shares",
            "Shares of the weights, by feature family.",
            plot.shares(weights, title="Where each family lives", **options),
        ),
        Picture(
            "head_shares_whole",
            "Shares of the attention heads, as they are.",
            plot.shares(heads, title="The heads' shares", **options),
        ),
    ]


def share_table(result: ModularResult) -> Table:
    """Every share in numbers."""
    rows: list[Cells] = [
        [name, *[share[name] for share in result.shares.values()]] for name in result.blocks
    ]
    return Table(
        "shares", "Share of every weight and head slice.", ("component", *result.shares), rows
    )
