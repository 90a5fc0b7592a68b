"""Forest plots: a figure with its interval for every feature or family, methods side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from feature_sets.errors import UserError
from tl_entk.alignment.best_directions import DirectionRow, DirectionTable
from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.alignment.comparison import R2, Comparison
from tl_entk.alignment.ranking import AP, check_metric
from tl_entk.plot import style
from tl_entk.plot.forest import Forest, both_axes, both_charts, forest_axes, forest_chart
from tl_entk.tools.values import check_at_least, check_kind, check_known, read_names

ALL = "all features"
NAMES = {
    AP: "average precision",
    "auroc": "AUROC",
    "precision": "precision at quota",
    "enrichment": "enrichment",
    R2: "R²",
}


def directions_frame(
    table: DirectionTable | Mapping[str, DirectionTable], metric: str = AP
) -> pd.DataFrame:
    """Every feature's figure by every method, as a table.

    Args:
        table: of the best directions; or several by method.
        metric: "ap", "auroc", "precision" or "enrichment".

    Returns:
        A row per feature and method: name (of the method), row (the feature), family, value, low,
        high, chance, direction, sign, p_value, positives.

    Raises:
        UserError: for an unknown metric, or no table.

    Example:
        >>> from tl_entk import best_directions
        >>> from feature_sets import FeatureSet
        >>> noun = np.arange(40) % 4 == 0
        >>> features = FeatureSet.from_dict({"NOUN": noun})
        >>> table = best_directions(noun[:, None] * 1.0, features, n_bootstrap=20)
        >>> directions_frame({"eNTK": table})[["name", "row", "value", "chance"]].values.tolist()
        [['eNTK', 'NOUN', 1.0, 0.25]]
    """
    check_metric(metric)
    return pd.DataFrame(
        [
            _direction_row(name, row, metric, one.n_test)
            for name, one in _named(table).items()
            for row in one.rows
        ]
    )


def _named(table: DirectionTable | Mapping[str, DirectionTable]) -> Mapping[str, DirectionTable]:
    advice = "a DirectionTable, or several by name"
    check_kind("table", table, (DirectionTable, Mapping), advice)
    found = {"best direction": table} if isinstance(table, DirectionTable) else table
    for name, one in found.items():
        check_kind(f"table {name!r}", one, DirectionTable, "a DirectionTable")
    if not found or not any(one.rows for one in found.values()):
        raise UserError("no table of directions with a feature: pass what best_directions returns.")
    return found


def _direction_row(name: str, row: DirectionRow, metric: str, n_test: int) -> dict[str, Any]:
    base = row.positives / n_test
    return {
        "name": name,
        "row": row.feature,
        "family": row.family,
        **asdict(getattr(row, metric)),
        "chance": {"auroc": 0.5, "enrichment": 1.0}.get(metric, base),
        "direction": row.column,
        "sign": row.sign,
        "p_value": row.p_value,
        "positives": row.positives,
    }


def directions(
    table: DirectionTable | Mapping[str, DirectionTable],
    metric: str = AP,
    *,
    order: Literal["value", "given"] = "value",
    top: int | None = None,
    links: Mapping[Any, str] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    interactive: bool = False,
    width: style.Width = style.DEFAULT_WIDTH,
) -> style.Figure:
    """Draw every feature's best direction with its 95 % interval, methods side by side.

    Args:
        table: what :func:`tl_entk.best_directions` returns; or several by method.
        metric: "ap", "auroc", "precision" or "enrichment", on the test half.
        order: features by the first method's figure, the highest on top, or as they were given.
        top: how many features, after ordering; None for all.
        links: feature, method, or (feature, method), to where a click goes (Altair).
        title: above the figure.
        ax: of matplotlib, to draw on; a new figure by default.
        interactive: return an Altair chart instead.
        width: of that chart, in pixels, or "container".

    Returns:
        The Axes, or the chart.

    Raises:
        UserError: for an unknown metric, or no table.

    Example:
        >>> from tl_entk import best_directions
        >>> from tl_entk.plot import directions
        >>> from feature_sets import FeatureSet
        >>> noun = np.arange(40) % 4 == 0
        >>> scores = np.stack([noun + np.sin(np.arange(40)), np.cos(np.arange(40))], 1)
        >>> table = best_directions(scores, FeatureSet.from_dict({"NOUN": noun}), n_bootstrap=20)
        >>> directions({"eNTK": table}).get_xlabel()
        'average precision on the test half, 95 % interval'
    """
    check_known("order", order, ("value", "given"))
    if top is not None:
        check_at_least("top", top)
    frame = directions_frame(table, metric)
    if order == "value":
        first = frame[frame.name == frame.name.iloc[0]].set_index("row").value
        ranks = frame.row.map(first.rank(ascending=False, method="first"))
        frame = frame.iloc[np.argsort(ranks.to_numpy(), kind="stable")]
    shown = list(dict.fromkeys(frame.row))[:top]
    frame = style.link_rows(frame[frame.row.isin(shown)], ["row", "name"], links)
    labels = style.Labels(
        title or "The best single direction for every feature",
        f"{NAMES[metric]} on the test half, 95 % interval",
        "feature",
    )
    tooltip = {
        "direction": "direction",
        "sign": "sign",
        "p_value": "p",
        "positives": "positives",
        "chance": "chance",
    }
    forest = Forest(frame, labels, False, tooltip, tuple(_named(table)))
    return forest_chart(forest, width) if interactive else forest_axes(forest, ax)


def compare_frame(
    comparison: Comparison | Mapping[str, DirectionTable],
    against: str | Sequence[str] | None = None,
    metric: str | None = None,
) -> pd.DataFrame:
    """Every basis by family, and the first basis less others, as a table.

    Args:
        comparison: of probes on several bases; or tables of best directions by method.
        against: basis, or bases, to take from the first; None for the second.
        metric: None for what the features of a family are judged by, AP or R^2.

    Returns:
        A row per family and basis (``panel`` "scores"), and per family and basis taken from the
        first ("difference"): panel, row (the family), name (the basis), metric, value, low, high,
        features. ``row`` is "all features" for the mean over all, where they have one metric.

    Raises:
        UserError: for fewer than two bases, or an unknown basis or metric.

    Example:
        >>> from tl_entk import probe_bases
        >>> from feature_sets import FeatureSet
        >>> truth = np.arange(40.0)[:, None]
        >>> features = FeatureSet.from_dict({"place": truth[:, 0]})
        >>> table = probe_bases({"itself": truth, "nothing": 0 * truth}, features, n_bootstrap=20)
        >>> compare_frame(table)[["panel", "row", "name"]].values.tolist()[1:]
        [['scores', 'features', 'nothing'], ['difference', 'features', 'nothing']]
    """
    judged = _judge(comparison)
    ours, *others = judged.bases
    if against is not None:
        several = [against] if isinstance(against, str) else against
        others = read_names("against", several, some=False)
    else:
        others = others[:1]
    unknown = [name for name in others if name not in judged.bases[1:]]
    if unknown or not others:
        raise UserError(
            f"no basis {unknown or 'to compare with'}: after the first there are "
            f"{', '.join(judged.bases[1:]) or 'none'}."
        )
    rows = []
    for family, label, judged_by, count in judged.families(metric):
        about = {"row": label, "metric": judged_by, "features": count}
        rows += [
            {"panel": "scores", "name": name, **about}
            | asdict(judged.macro(name, judged_by, family))
            for name in judged.bases
        ]
        rows += [
            {"panel": "difference", "name": name, **about}
            | asdict(judged.difference(ours, name, judged_by, family))
            for name in others
        ]
    frame = pd.DataFrame(rows)
    # scores first, each in the order of the families
    return frame.iloc[np.argsort(frame.panel != "scores", kind="stable")].reset_index(drop=True)


class _Judged(NamedTuple):
    """What a Comparison and tables of directions have in common.

    Attributes:
        bases: names, the first of which others are taken from.
        judged_by: family of every row, and the metric it is judged by.
        macro: mean of a basis, a metric and a family.
        difference: of a basis, another, a metric and a family.
    """

    bases: list[str]
    judged_by: list[tuple[str, str]]
    macro: Callable[[str, str, str | None], IntervalEstimate]
    difference: Callable[[str, str, str, str | None], IntervalEstimate]

    def families(self, metric: str | None) -> list[tuple[str | None, str, str, int]]:
        """Family (None for all), its label, its metric and how many rows it has."""
        found: dict[tuple[str, str], int] = {}
        for pair in self.judged_by:
            found[pair] = found.get(pair, 0) + 1
        both = len({judged_by for _, judged_by in found}) > 1
        rows: list[tuple[str | None, str, str, int]] = [
            (family, f"{family} ({NAMES[by]})" if both else family, metric or by, count)
            for (family, by), count in found.items()
        ]
        if len(rows) > 1 and not both:
            rows.insert(0, (None, ALL, rows[0][2], len(self.judged_by)))
        return rows


def _judge(comparison: Comparison | Mapping[str, DirectionTable]) -> _Judged:
    if isinstance(comparison, Comparison):
        return _Judged(
            comparison.bases,
            [(row.family, row.metric) for row in comparison.rows],
            comparison.macro,
            comparison.difference,
        )
    check_kind("comparison", comparison, Mapping, "a Comparison, or tables of directions by name")
    tables = _named(comparison)
    return _Judged(
        list(tables),
        [(row.family, AP) for row in next(iter(tables.values())).rows],
        lambda name, metric, family: tables[name].macro(metric, family),
        lambda name, other, metric, family: tables[name].difference(tables[other], metric, family),
    )


def compare(
    comparison: Comparison | Mapping[str, DirectionTable],
    *,
    panel: Literal["both", "scores", "difference"] = "both",
    against: str | Sequence[str] | None = None,
    metric: str | None = None,
    title: str | None = None,
    ax: Axes | Sequence[Axes] | np.ndarray | None = None,
    interactive: bool = False,
    width: style.Width = style.DEFAULT_WIDTH,
) -> style.Figure:
    """Draw every basis by family with its 95 % interval, and the first basis less another.

    Args:
        comparison: what :func:`tl_entk.compare` or :func:`tl_entk.probe_bases` returns; or tables
            of :func:`tl_entk.best_directions` by method.
        panel: "scores" of every basis, "difference" of the first less others over the same
            bootstrap examples, or "both" side by side.
        against: basis, or bases, to take from the first; None for the second.
        metric: None for what a family's features are judged by, AP or R^2.
        title: above the figure.
        ax: of matplotlib, to draw on (two of them for both panels); a new figure by default.
        interactive: return an Altair chart instead.
        width: of that chart, in pixels; of a single panel also "container".

    Returns:
        The Axes, two of them for both panels, or the chart.

    Raises:
        UserError: for fewer than two bases, an unknown basis or metric, or two panels where one
            is asked for.

    Example:
        >>> from tl_entk import probe_bases
        >>> from tl_entk.plot import compare
        >>> from feature_sets import FeatureSet
        >>> truth = np.arange(40.0)[:, None]
        >>> features = FeatureSet.from_dict({"place": truth[:, 0]})
        >>> table = probe_bases({"itself": truth, "nothing": 0 * truth}, features, n_bootstrap=20)
        >>> scores, difference = compare(table)
        >>> difference.get_xlabel()
        'difference, 95 % interval'
    """
    check_known("panel", panel, ("both", "scores", "difference"))
    frame = compare_frame(comparison, against, metric)
    forests = _compare_forests(frame, title)
    if panel != "both":
        forest = forests[panel]
        one: Any = ax
        if isinstance(one, tuple | list | np.ndarray):
            raise UserError(f"one panel, {len(one)} axes: pass one.")
        return forest_chart(forest, width) if interactive else forest_axes(forest, one)
    if interactive:
        return both_charts(list(forests.values()), width)
    return both_axes(list(forests.values()), ax)


def _compare_forests(frame: pd.DataFrame, title: str | None) -> dict[str, Forest]:
    """The two panels of a comparison."""
    metrics = " or ".join(NAMES[metric] for metric in dict.fromkeys(frame.metric))
    bases = list(dict.fromkeys(frame[frame.panel == "scores"].name))
    others = list(dict.fromkeys(frame[frame.panel == "difference"].name))
    less = others[0] if len(others) == 1 else "another basis"
    panels = {
        "scores": (title or "Every basis", f"{metrics}, 95 % interval"),
        "difference": (f"{bases[0]} less {less}", "difference, 95 % interval"),
    }
    return {
        panel: Forest(
            frame[frame.panel == panel],
            style.Labels(heading, x, "family"),
            panel == "difference",
            {"metric": "metric", "features": "features"},
            tuple(bases),
        )
        for panel, (heading, x) in panels.items()
    }
