"""Figures and tables of linear probes on the directions of a language model."""

from __future__ import annotations

from tl_entk.experiments.language.judging import ALL
from tl_entk.experiments.language.run import LanguageResult
from tl_entk.report import charts
from tl_entk.report.language.alignment import shown_methods
from tl_entk.report.parts import Cells, Picture, Signed, Table

_LABELS = {"ap": "AP", "r2": "R²"}


def probe_table(result: LanguageResult) -> Table:
    """Average precision of probes, each basis at its own layer; R^2 of labels that are numbers."""
    probes, layers = result.judged.probes, result.judged.probe_layer
    first, second, *_ = probes.bases
    rows: list[Cells] = []
    for family in [None, *result.data.features.family_names()]:
        macro = [probes.macro(basis, "ap", family) for basis in probes.bases]
        difference = probes.difference(first, second, "ap", family)
        name = family or "all binary labels"
        rows.append([name, "AP", Signed(difference), *macro])
    for row in probes.rows:
        scores = [row.scores[basis] for basis in probes.bases]
        rows.append([row.group, _LABELS[row.metric], Signed(row.difference), *scores])
    columns = [f"{basis} (layer {layers[basis]})" for basis in probes.bases]
    return Table(
        "probes",
        "Linear probes, each basis at the layer that is best for it within the train half.",
        ("labels", "metric", f"{first} less {second}", *columns),
        rows,
    )


def probe_figure(result: LanguageResult) -> Picture:
    """Macro AP of ridge probes over the layers, one line per basis, coloured as the methods are."""
    judged = result.judged
    order = dict.fromkeys([*shown_methods(result), ALL])
    curves = {
        basis: {
            layer: found.macro(basis, "ap")
            for layer, found in judged.probes_by_layer.items()
            if basis in found.bases
        }
        for basis in order
    }
    return Picture(
        "probes_by_layer",
        "Macro average precision of ridge probes by layer.",
        charts.by_layer(
            {name: curve for name, curve in curves.items() if curve},
            "Ridge probes, layer by layer",
            "macro average precision",
            names=list(order),
        ),
    )


def probe_layer_table(result: LanguageResult) -> Table:
    """The same in numbers."""
    by_layer = result.judged.probes_by_layer
    rows: list[Cells] = []
    for basis in result.judged.probes.bases:
        figures = [
            found.macro(basis, "ap") if basis in found.bases else None
            for found in by_layer.values()
        ]
        if any(figures):
            rows.append([basis, *figures])
    return Table(
        "probes_by_layer",
        "Macro AP of ridge probes on the test half, layer by layer.",
        ("basis", *[f"layer {layer}" for layer in by_layer]),
        rows,
    )
