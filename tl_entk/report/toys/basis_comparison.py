"""Figures and tables of linear probes on eNTK directions beside PCA, all activations and chance."""

from __future__ import annotations

import numpy as np

from tl_entk.alignment.comparison import Comparison
from tl_entk.report import figures as draw
from tl_entk.report.parts import Cells, Picture, Table


def comparison_parts(name: str, comparison: Comparison) -> list[Picture | Table]:
    """A figure of every feature's R², its table, and the means by family.

    Args:
        name: of the kernel block.
        comparison: of its directions.
    """
    rows = {row.group: row.scores for row in comparison.rows}
    return [
        Picture(
            f"comparison_{name}",
            f"eNTK of {name}: probes on {comparison.k} directions per basis, R² on the test half.",
            draw.intervals(rows, "R² on the test half"),
        ),
        _family_table(name, comparison),
        _feature_table(name, comparison),
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
    rows: list[Cells] = []
    for row in comparison.rows:
        judged = [*[row.scores[basis] for basis in comparison.bases], row.difference]
        rows.append([row.group, *[x for j in judged for x in (j.value, j.low, j.high)]])
    names = (*comparison.bases, "eNTK - PCA")
    columns = [f"{name}{end}" for name in names for end in ("", " low", " high")]
    return Table(
        f"comparison_{name}",
        f"eNTK of {name}: every feature, with 95 % intervals.",
        ("feature", *columns),
        rows,
    )
