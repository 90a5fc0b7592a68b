"""Figures and tables of how well directions line up with labels, method by method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tl_entk import plot
from tl_entk.alignment.model_baselines import PCA, RANDOM
from tl_entk.alignment.ranking import METRICS
from tl_entk.alignment.readout_sweep import TOGETHER
from tl_entk.experiments.language.run import LanguageResult
from tl_entk.experiments.language.verdict import METRIC_NAMES
from tl_entk.report import charts
from tl_entk.report.parts import Cell, Cells, Link, Picture, Signed, Table, slug

AP = "average precision"


def compared_with(result: LanguageResult) -> list[str]:
    """The baselines that differences are to: the strongest, and the paper's."""
    return list(dict.fromkeys([result.judged.strongest_baseline, PCA]))


def shown_methods(result: LanguageResult) -> list[str]:
    """The methods that figures compare, the best kernel first."""
    judged = result.judged
    return list(
        dict.fromkeys([judged.winner, *judged.shown_kernels, *compared_with(result), RANDOM])
    )


def family_figures(result: LanguageResult) -> list[Picture]:
    """Every method by family of labels, and the best kernel less the baselines."""
    tables = {name: result.judged.tables[name] for name in shown_methods(result)}
    captions = {
        "scores": "Macro average precision of the best single direction over all layers, by family "
        "of labels, on the test half; 95 % intervals.",
        "difference": "The best kernel less the baselines, over the same bootstrap windows: right "
        "of the line it is ahead.",
    }
    titles = {"scores": "Which basis finds the labels", "difference": None}
    return [
        Picture(
            f"families_{panel}",
            caption,
            plot.compare(
                tables,
                panel=panel,  # type: ignore[arg-type]
                against=compared_with(result),
                metric="ap",
                title=titles[panel],
                interactive=True,
                width="container",
            ),
        )
        for panel, caption in captions.items()
    ]


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
            differences: list[Cell] = [
                Signed(table.difference(tables[other], "ap", family)) if method != other else None
                for other in others
            ]
            ap, *rest = [table.macro(metric, family) for metric in METRICS]
            rows.append([method, family or "all labels", ap, *differences, *rest])
    less = [f"AP less {other}" for other in others]
    metrics = ("AUROC", "precision at quota", "enrichment")
    return Table(name, caption, ("method", "labels", "AP", *less, *metrics), rows)


def control_figure(result: LanguageResult) -> Picture:
    """Macro AP of every method as it is and under every control."""
    controls = result.judged.controls
    rows = {
        name: {"as they are": result.judged.tables[name].macro()}
        | {control: found.tables[name].macro() for control, found in controls.items()}
        for name in shown_methods(result)
    }
    caption = "Macro average precision on the test half; chance differs between controls: random."
    chart = charts.intervals(rows, "What is left under each control", f"macro {AP}", "method")
    return Picture("controls", caption, chart)


def control_table(result: LanguageResult) -> Table:
    """Macro AP of every method under every control, and a kernel's lead over the best baseline."""
    controls = result.judged.controls
    rows: list[Cells] = []
    for name, table in result.judged.tables.items():
        cells: Cells = [name, table.macro()]
        for control in controls.values():
            found, strongest = control.tables[name], control.strongest_baseline
            lead = (
                Signed(found.difference(control.tables[strongest])) if name != strongest else None
            )
            cells += [found.macro(), lead]
        rows.append(cells)
    columns = ["method", "AP"]
    for name, control in controls.items():
        columns += [
            f"{name} ({len(control.labels)} labels, {control.windows} windows)",
            f"less {control.strongest_baseline}",
        ]
    return Table("controls", "Macro AP, best direction over all layers.", tuple(columns), rows)


def feature_figure(result: LanguageResult, links: Mapping[str, str]) -> Picture:
    """Average precision of every label, one dot per method."""
    tables = {name: result.judged.tables[name] for name in shown_methods(result)}
    chart = plot.directions(
        tables,
        links=links,
        title="Every label, by each basis' best direction",
        interactive=True,
        width="container",
    )
    caption = "Average precision on the test half. A click on a dot opens the label's direction."
    return Picture("features", caption, chart)


def overview_table(result: LanguageResult, links: Mapping[str, str]) -> Table:
    """Every label by every method shown, and the best kernel's lead."""
    judged, others = result.judged, compared_with(result)
    methods, winner = shown_methods(result), judged.tables[judged.winner]
    rows: list[Cells] = []
    for index, row in enumerate(winner.rows):
        name: Cell = Link(row.feature, links[row.feature]) if row.feature in links else row.feature
        leads = [
            Signed(winner.feature_difference(judged.tables[other], row.feature)) for other in others
        ]
        figures = [judged.tables[method].rows[index].ap for method in methods]
        rows.append([name, row.family, row.positives / winner.n_test, *leads, *figures])
    columns = (
        "label", "family", "base rate", *[f"{judged.winner} less {other}" for other in others],
        *methods,
    )  # fmt: skip
    caption = "Average precision on the test half; a label leads to its best kernel direction."
    return Table("alignment", caption, columns, rows)


def feature_tables(result: LanguageResult) -> list[Table]:
    """One table per method: every label with its direction and figures."""
    return [_feature_table(name, result) for name in result.judged.tables]


def _feature_table(name: str, result: LanguageResult) -> Table:
    table, others = result.judged.tables[name], compared_with(result)
    rows: list[Cells] = []
    for row in table.rows:
        differences: list[Cell] = [
            Signed(table.feature_difference(result.judged.tables[other], row.feature))
            if name != other
            else None
            for other in others
        ]
        rows.append(
            [
                row.feature,
                row.family,
                row.ap,
                *differences,
                row.column,
                f"{row.sign:+d}",
                row.positives / table.n_test,
                row.p_value,
                row.train_ap,
                *[getattr(row, metric) for metric in list(METRICS)[1:]],
            ]
        )
    columns = (
        "label", "family", "AP", *[f"AP less {other}" for other in others], "direction", "sign",
        "base rate", "p", "train AP", "AUROC", "precision at quota", "enrichment",
    )  # fmt: skip
    caption = f"{name}: best of {table.k} directions."
    return Table(f"features_{slug(name)}", caption, columns, rows)


def layer_figure(result: LanguageResult, metric: str) -> Picture:
    """A metric over the layers, one line per method."""
    curves = {
        name: {layer: table.macro(metric) for layer, table in result.judged.by_layer[name].items()}
        for name in shown_methods(result)
    }
    label = f"macro {METRIC_NAMES[metric]}"
    chart = charts.by_layer(curves, f"Macro {METRIC_NAMES[metric]}, layer by layer", label)
    return Picture(
        f"layers_{metric}",
        f"Macro {METRIC_NAMES[metric]} of each layer alone; bands are intervals.",
        chart,
    )


def layer_table(result: LanguageResult, metric: str) -> Table:
    """The same in numbers."""
    layers = list(result.data.activations)
    rows: list[Cells] = []
    for name, tables in result.judged.by_layer.items():
        if set(tables) == set(layers):
            rows.append([name, *[tables[layer].macro(metric).value for layer in layers]])
        else:
            rows.append([name, tables[TOGETHER].macro(metric).value, *[None] * (len(layers) - 1)])
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
    chart = charts.grid(
        {name: ways[name] for name in sorted(ways)},
        components,
        "What each way to make a kernel reaches",
        ("weights", "readout, normalization"),
        "macro AP within the train half",
    )
    return Picture("sweep", "Macro AP within the train half, best over layers.", chart)


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
        validation, layer = result.judged.validations[name], result.judged.best_layer[name]
        rows.append([name, "", "", validation, layer, None])
    return Table(
        "sweep",
        "Every combination, best first; the last rows are the others by the same measure.",
        ("readout", "component", "normalization", "best over layers", "best layer", "there"),
        rows,
    )
