"""Rotations of a cliff side by side, as a figure and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tl_entk.report.parts import Picture, Table
from tl_entk.report.toys.charts import grouped_bars

Rows = Sequence[Mapping[str, Any]]

_COLUMNS = {
    "cliff": "cliff",
    "rotation": "rotation",
    "directions": "directions",
    "mean": "mean share on one wave",
    "least": "least",
    "pure": "at 0.9 or more",
    "mean_family": "mean share on one family",
    "pure_family": "at 0.9 or more",
    "mean_residue": "mean cos² with one residue",
}


def rotation_bars(name: str, rows: Rows) -> Picture:
    """Mean share of the directions on their best (family, frequency)."""
    bars: dict[str, dict[str, float]] = {}
    for row in rows:
        bars.setdefault(row["cliff"], {})[row["rotation"]] = row["mean"]
    title, label = "Rotations side by side", "mean share on the best (family, frequency)"
    picture = grouped_bars(bars, title, label)
    return Picture(f"{name}_rotations", "Mean over the directions of a cliff.", picture)


def rotation_table(name: str, rows: Rows) -> Table:
    """Shares on one (family, frequency), one family, one residue."""
    return Table(
        f"{name}_rotations",
        "Largest share of each direction on one wave (family and frequency) and on one family, "
        "and its squared cosine with the indicator of one residue.",
        tuple(_COLUMNS.values()),
        [[row[key] for key in _COLUMNS] for row in rows],
    )
