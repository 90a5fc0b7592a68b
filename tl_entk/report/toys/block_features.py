"""Figures and tables of what the Transformer's kernel blocks hold, and where a feature lives."""

from __future__ import annotations

import numpy as np

from feature_sets.fourier import FAMILIES
from tl_entk.alignment.attribution import head_shares
from tl_entk.alignment.overlap import group_projections
from tl_entk.experiments.modular_transformer.analysis import (
    TOTAL,
    UNEMBED,
    ModularResult,
    OverlapRow,
)
from tl_entk.report import figures as draw
from tl_entk.report.parts import Cells, Picture, Table

SPECTRA = (UNEMBED, "blocks.0.mlp.W_out", "blocks.0.mlp.W_in", "blocks.0.attn.W_O", TOTAL)


def spectra_picture(result: ModularResult) -> Picture:
    """Leading eigenvalues of some blocks, with the cliffs that the paper expects."""
    values = {name: result.eigen[name].eigenvalues.numpy() for name in SPECTRA}
    f = result.n_frequencies
    picture = draw.spectra(values, (2 * f + 1, 4 * f + 1))
    return Picture("spectra", "Leading eigenvalues, relative to the first.", picture)


def overlap_heatmap(result: ModularResult) -> Picture:
    """Every block's overlap with every family: modes 0..2F on the left, 2F+1..4F on the right."""
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


def share_bars(result: ModularResult) -> Picture:
    """Share of every weight in each family's kernel energy."""
    shares = {
        family: {name: share[name] for name in result.blocks.partition()}
        for family, share in result.shares.items()
    }
    return Picture(
        "shares", "Shares of the weights, by feature family.", draw.stacked_shares(shares)
    )


def head_share_heatmap(result: ModularResult) -> Picture:
    """Share of every attention head in each family's kernel energy."""
    by_family = {family: head_shares(share) for family, share in result.shares.items()}
    heads = sorted(next(iter(by_family.values())))
    values = np.array([[share[head] for head in heads] for share in by_family.values()])
    picture = draw.heatmap(
        values, list(by_family), heads, label="share", highest=float(values.max()) or 1.0
    )
    return Picture(
        "head_shares", "Shares of the attention heads (all four slices together).", picture
    )


def share_table(result: ModularResult) -> Table:
    """Every share in numbers."""
    rows: list[Cells] = [
        [name, *[share[name] for share in result.shares.values()]] for name in result.blocks
    ]
    return Table(
        "shares", "Share of every weight and head slice.", ("component", *result.shares), rows
    )
