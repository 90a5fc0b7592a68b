"""Figures and tables of how well directions line up with labels, method by method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.alignment.model_baselines import PCA, RANDOM
from tl_entk.alignment.ranking import METRICS
from tl_entk.alignment.readout_sweep import TOGETHER
from tl_entk.experiments.language.run import LanguageResult
from tl_entk.experiments.language.verdict import METRIC_NAMES
from tl_entk.report import figures as draw
from tl_entk.report.page import Cells, Picture, Table


def interval(found: IntervalEstimate, sign: str = "") -> str:
    """A figure with its interval, as text."""
    return f"{found.value:{sign}.2f} ({found.low:{sign}.2f} to {found.high:{sign}.2f})"


def macro_table(result: LanguageResult) -> Table:
    """Macro figures of every method over all labels."""
    return _macro_table(
        result, [None], "macro", "Mean over labels, best direction over all layers."
    )


def family_table(result: LanguageResult) -> Table:
    """The same by family of labels."""
    families = result.data.features.family_names()
    return _macro_table(result, families, "families", "The same by family of labels.")


def _macro_table(
    result: LanguageResult, families: Sequence[str | None], name: str, caption: str
) -> Table:
    tables, others = result.judged.tables, compared_with(result)
    rows: list[Cells] = []
    for method, table in tables.items():
        for family in families:
            differences = [
                interval(table.difference(tables[other], "ap", family), "+")
                if method != other
                else ""
                for other in others
            ]
            ap, *rest = [interval(table.macro(metric, family)) for metric in METRICS]
            rows.append([method, family or "all labels", ap, *differences, *rest])
    less = [f"AP less {other}" for other in others]
    metrics = ("AUROC", "precision at quota", "enrichment")
    return Table(name, caption, ("method", "labels", "AP", *less, *metrics), rows)


def control_figure(result: LanguageResult) -> Picture:
    """Macro AP of every method as it is and under every control."""
    controls = result.judged.controls
    rows = {
        name: {"as they are": table.macro()}
        | {control: found.tables[name].macro() for control, found in controls.items()}
        for name, table in result.judged.tables.items()
    }
    caption = "Macro average precision on the test half; chance differs between controls: random."
    return Picture("controls", caption, draw.intervals(rows, "macro average precision"))


def control_table(result: LanguageResult) -> Table:
    """Macro AP of every method under every control, and a kernel's lead over the best baseline."""
    controls = result.judged.controls
    rows: list[Cells] = []
    for name, table in result.judged.tables.items():
        cells: Cells = [name, interval(table.macro())]
        for control in controls.values():
            found, strongest = control.tables[name], control.strongest_baseline
            lead = interval(found.difference(control.tables[strongest]), "+")
            cells += [interval(found.macro()), lead if name != strongest else ""]
        rows.append(cells)
    columns = ["method", "AP"]
    for name, control in controls.items():
        columns += [
            f"{name} ({len(control.labels)} labels, {control.windows} windows)",
            f"less {control.strongest_baseline}",
        ]
    return Table("controls", "Macro AP, best direction over all layers.", tuple(columns), rows)


def compared_with(result: LanguageResult) -> list[str]:
    """The baselines that differences are to: the paper's, and the strongest."""
    return list(dict.fromkeys([PCA, result.judged.strongest_baseline]))


def shown_methods(result: LanguageResult) -> list[str]:
    """The methods that figures compare."""
    kernels = result.judged.shown_kernels
    return list(dict.fromkeys([*kernels, *compared_with(result), RANDOM]))


def feature_figure(result: LanguageResult) -> Picture:
    """Average precision of every label, one dot per method."""
    tables = {name: result.judged.tables[name] for name in shown_methods(result)}
    rows = {
        row.feature: {name: table.rows[index].ap for name, table in tables.items()}
        for index, row in enumerate(result.judged.tables[PCA].rows)
    }
    return Picture(
        "features", "Average precision on the test half.", draw.intervals(rows, "average precision")
    )


def feature_tables(result: LanguageResult) -> list[Table]:
    """One table per method: every label with its direction and figures."""
    return [_feature_table(name, index, result) for index, name in enumerate(result.judged.tables)]


def _feature_table(name: str, number: int, result: LanguageResult) -> Table:
    table, others = result.judged.tables[name], compared_with(result)
    n = table.n_test
    rows: list[Cells] = []
    for row in table.rows:
        differences = [
            interval(table.feature_difference(result.judged.tables[other], row.feature), "+")
            if name != other
            else ""
            for other in others
        ]
        rows.append(
            [
                row.feature,
                row.family,
                row.positives / n,
                row.column,
                f"{row.sign:+d}",
                row.train_ap,
                *[interval(getattr(row, metric)) for metric in METRICS],
                row.p_value,
                *differences,
            ]
        )
    columns = (
        "label",
        "family",
        "base rate",
        "direction",
        "sign",
        "train AP",
        "AP",
        "AUROC",
        "precision at quota",
        "enrichment",
        "p",
        *[f"AP less {other}" for other in others],
    )
    return Table(f"features_{number}", f"{name}: best of {table.k} directions.", columns, rows)


def layer_figure(result: LanguageResult, metric: str) -> Picture:
    """A metric over the layers, one line per method."""
    curves = {
        name: {layer: table.macro(metric) for layer, table in result.judged.by_layer[name].items()}
        for name in shown_methods(result)
    }
    label = f"macro {METRIC_NAMES[metric]}"
    return Picture(f"layers_{metric}", f"{label} by layer.", draw.by_layer(curves, label))


def layer_table(result: LanguageResult, metric: str) -> Table:
    """The same in numbers."""
    layers = list(result.data.activations)
    rows: list[Cells] = []
    for name, tables in result.judged.by_layer.items():
        if set(tables) == set(layers):
            rows.append([name, *[tables[layer].macro(metric).value for layer in layers]])
        else:
            rows.append([name, tables[TOGETHER].macro(metric).value, *[""] * (len(layers) - 1)])
    return Table(
        f"layers_{metric}",
        f"Macro {metric.upper()} on the test half by layer (one figure: all layers together).",
        ("method", *[f"layer {layer}" for layer in layers]),
        rows,
    )


def sweep_figure(result: LanguageResult) -> Picture:
    """Heatmap of readouts and normalizations against components."""
    found = {row.candidate.component for row in result.judged.sweep}
    components = [name for name in result.settings.components if name in found]
    components += sorted(found - set(components))
    ways: dict[str, dict[str, float]] = {}
    for row in result.judged.sweep:
        label = f"{row.candidate.readout}, {row.candidate.normalization}"
        ways.setdefault(label, {})[row.candidate.component] = row.validation
    names = sorted(ways)
    # the kernel of all logits has one component
    missing = float("nan")
    values = np.array(
        [[ways[name].get(component, missing) for component in components] for name in names]
    )
    picture = draw.heatmap(
        values,
        names,
        components,
        label="macro AP within the train half",
        highest=float(np.nanmax(values)),
        numbers=True,
    )
    return Picture("sweep", "Macro AP within the train half, best over layers.", picture)


def sweep_table(result: LanguageResult) -> Table:
    """Every candidate, best first."""
    rows: list[Cells] = []
    for row in result.judged.sweep:
        layer, candidate = row.best_layer, row.candidate
        rows.append(
            [
                candidate.readout,
                candidate.component,
                candidate.normalization,
                row.validation,
                layer,
                row.by_layer[layer],
            ]
        )
    for name in result.judged.baselines:
        rows.append(
            [name, "", "", result.judged.validations[name], result.judged.best_layer[name], ""]
        )
    return Table(
        "sweep",
        "Every combination, best first; the last rows are the others by the same measure.",
        ("readout", "component", "normalization", "best over layers", "best layer", "there"),
        rows,
    )
