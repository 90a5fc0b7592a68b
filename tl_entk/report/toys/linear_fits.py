"""Figures and tables of linearization checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tl_entk.report.parts import Picture, Table
from tl_entk.report.toys.charts import grouped_bars

Fits = Mapping[str, Sequence[Mapping[str, Any]]]

_COLUMNS = {
    "model": "model",
    "around": "around",
    "part": "part",
    "r2": "R² against the model",
    "loss_ratio": "loss ratio",
    "model_accuracy": "model's accuracy",
    "accuracy_gap": "accuracy gap",
    "ridge": "ridge",
    "solver": "solver",
    "iterations": "iterations",
}


def fit_parts(name: str, fits: Fits) -> list[Picture | Table]:
    """A figure of R², and the whole table.

    Args:
        name: of the files.
        fits: case to its rows.
    """
    bars: dict[str, dict[str, float]] = {}
    for case, rows in fits.items():
        for row in rows:
            label = f"{case}, {row['model']}, {row['part']}"
            bars.setdefault(label, {})[f"around {row['around']}"] = max(0.0, row["r2"])
    cells = [
        [case, *[_cell(key, row.get(key)) for key in _COLUMNS]]
        for case, rows in fits.items()
        for row in rows
    ]
    return [
        Picture(
            f"{name}_linearization",
            "R² of the linearization against the model (bars stop at 0).",
            grouped_bars(bars, "Does the linearization predict the model?", "R²"),
        ),
        Table(
            f"{name}_linearization",
            "Linearization: prediction of the eNTK against the model.",
            ("setting", *_COLUMNS.values()),
            cells,
        ),
    ]


def _cell(key: str, value: Any) -> str | float | int:
    """A cell for reading: ridges are small, ratios of losses may be large."""
    if value is None:
        return ""
    if key == "ridge" or (key in ("loss_ratio", "r2") and abs(value) >= 1000):
        return f"{value:.2g}"
    return value
