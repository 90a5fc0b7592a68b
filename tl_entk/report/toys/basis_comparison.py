"""Figures and tables of linear probes on eNTK directions beside PCA, all activations and chance."""

from __future__ import annotations

import numpy as np

from tl_entk import plot
from tl_entk.alignment.comparison import Comparison
from tl_entk.report import charts
from tl_entk.report.parts import Cells, Fold, Part, Picture, Signed, Table


def comparison_parts(name: str, comparison: Comparison) -> list[Part]:
    """Figures by family, the means, and every feature's figures to be opened.

    Args:
        name: of the kernel block.
        comparison: of its directions.
    """
    captions = {
        "scores": f"eNTK of {name}: probes on {comparison.k} directions per basis, R² on the test "
        "half.",
        "difference": f"eNTK of {name} less PCA, over the same bootstrap examples.",
    }
    pictures = [
        Picture(
            f"comparison_{name}_{panel}",
            caption,
            plot.compare(
                comparison,
                panel=panel,  # type: ignore[arg-type]
                title=f"Probes on the eNTK of {name}" if panel == "scores" else None,
                interactive=True,
                width="container",
            ),
        )
        for panel, caption in captions.items()
    ]
    rows = {row.group: row.scores for row in comparison.rows}
    features = charts.intervals(rows, "Feature by feature", "R² on the test half", "feature")
    return [
        *pictures,
        _family_table(name, comparison),
        Fold(
            f"eNTK of {name}, feature by feature",
            [
                Picture(f"comparison_{name}", "R² of every feature.", features),
                _feature_table(name, comparison),
            ],
        ),
    ]


def _family_table(name: str, comparison: Comparison) -> Table:
    rows: list[Cells] = []
    for family in dict.fromkeys(row.family for row in comparison.rows):
        means = [comparison.macro(basis, family=family).value for basis in comparison.bases]
        differences = [r.difference.value for r in comparison.rows if r.family == family]
        rows.append([family, *means, float(np.mean(differences))])
    return Table(
        f"comparison_{name}_families",
        f"eNTK of {name}: mean R² by family.",
        ("family", *comparison.bases, "eNTK - PCA"),
        rows,
    )


def _feature_table(name: str, comparison: Comparison) -> Table:
    rows: list[Cells] = [
        [row.group, *[row.scores[basis] for basis in comparison.bases], Signed(row.difference)]
        for row in comparison.rows
    ]
    return Table(
        f"comparison_{name}",
        f"eNTK of {name}: every feature, with 95 % intervals.",
        ("feature", *comparison.bases, "eNTK - PCA"),
        rows,
    )
