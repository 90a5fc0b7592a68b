"""The best single direction for every binary feature: chosen on one half, judged on the other.

k directions give k columns of scores, a number per example. For every feature the column and the
sign with the highest average precision on the train half are chosen, and nothing of the test half
enters the choice. Best over layers is the same call on the columns of all layers side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from feature_sets.display import Shown
from feature_sets.errors import UserError
from feature_sets.feature_set import FeatureSet, check_feature_set
from tl_entk.alignment.bootstrap import (
    IntervalEstimate,
    Resampling,
    Samples,
    check_bootstrap,
    rows_of,
)
from tl_entk.alignment.direction_search import Search
from tl_entk.alignment.ranking import AP, METRICS, check_metric, resamples
from tl_entk.alignment.splitting import Groups, halves, number_groups, take_groups
from tl_entk.directions.eigen import EigenDirections, scores_of
from tl_entk.tools.arrays import Rows
from tl_entk.tools.values import check_at_least, check_kind, read_list


class LayerDirection(NamedTuple):
    """Where a column of scores comes from.

    Attributes:
        layer: its layer; None where the columns are not of several layers.
        direction: its place among the directions of that layer.
    """

    layer: str | None
    direction: int

    def __str__(self) -> str:
        direction = f"direction {self.direction}"
        return direction if self.layer is None else f"layer {self.layer}, {direction}"


@dataclass(frozen=True)
class DirectionRow:
    """One binary feature and the direction chosen for it.

    Attributes:
        feature: its name.
        family: its family.
        positives: examples in the test half that have it.
        direction: index of the chosen column.
        column: name of the chosen column.
        place: layer of the chosen column, and which of its directions.
        sign: +1 or -1, the side of the direction where the feature is.
        train_ap: average precision on the train half, which the choice maximized.
        ap: average precision on the test half.
        auroc: area under the receiver operating characteristic.
        precision: precision at quota, the share of positives among the first ``positives``.
        enrichment: precision at quota over the base rate.
        p_value: of the average precision under permuted labels, with the choice made anew.
    """

    feature: str
    family: str
    positives: int
    direction: int
    column: str
    place: LayerDirection
    sign: int
    train_ap: float
    ap: IntervalEstimate
    auroc: IntervalEstimate
    precision: IntervalEstimate
    enrichment: IntervalEstimate
    p_value: float


@dataclass(frozen=True, repr=False)
class DirectionTable(Shown):
    """The best single direction for every feature.

    Attributes:
        rows: one per feature.
        k: columns to choose from.
        n_test: examples judged on.
        resampling: split, seed and number of resamples.
        provenance: of the directions, with split, seed and numbers of resamples.
        samples: metric to its bootstrap samples, for paired differences.
        labels: (n_test, f) features of the test half, to know tables of the same examples by.
    """

    rows: tuple[DirectionRow, ...]
    k: int
    n_test: int
    resampling: Resampling
    provenance: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, Samples] = field(default_factory=dict, repr=False, compare=False)
    labels: Bool[np.ndarray, "t f"] = field(
        default_factory=lambda: np.zeros((0, 0), bool), repr=False, compare=False
    )

    def macro(self, metric: str = AP, family: str | None = None) -> IntervalEstimate:
        """Mean over the features (of one family) on the test half, with its interval.

        Args:
            metric: "ap", "auroc", "precision" or "enrichment".
            family: None for all features.

        Raises:
            UserError: if the metric or the family is unknown.
        """
        return self._samples_of(metric).mean(self._rows_of(family))

    def difference(
        self, other: DirectionTable, metric: str = AP, family: str | None = None
    ) -> IntervalEstimate:
        """Macro mean of this table less that of another, over the same bootstrap examples.

        Args:
            other: a table of the same features, examples, split, seed and number of resamples.
            metric: as for ``macro``.
            family: as for ``macro``.

        Raises:
            UserError: if the other table is not of the same, or the metric or the family is
                unknown.
        """
        return self._paired_samples(other, metric).mean(self._rows_of(family))

    def feature_difference(
        self, other: DirectionTable, feature: str, metric: str = AP
    ) -> IntervalEstimate:
        """One feature's figure in this table less that in another, paired.

        Raises:
            UserError: as ``difference``, or if the feature is unknown.
        """
        names = [row.feature for row in self.rows]
        if feature not in names:
            raise UserError(f"no feature {feature!r}: there are {', '.join(names[:8])} ...")
        return self._paired_samples(other, metric).mean([names.index(feature)])

    def _lines(self) -> list[str]:
        best = max(self.rows, key=lambda row: row.ap.value, default=None)
        macro = self.macro()
        lines = [
            f"DirectionTable: {len(self.rows)} features, the best of {self.k} directions for each, "
            f"judged on {self.n_test} examples",
            f"mean AP {macro.value:.2f} ({macro.low:.2f} to {macro.high:.2f})",
        ]
        if best:
            lines[1] += f"; best {best.feature}: {best.ap.value:.2f} by {best.column}"
        return lines

    def to_pandas(self) -> Any:
        """A row per feature, as ``rows`` has them; of a metric "ap" also "ap_low", "ap_high"."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "feature": row.feature,
                    "family": row.family,
                    "positives": row.positives,
                    "column": row.column,
                    "layer": row.place.layer,
                    "direction": row.place.direction,
                    "sign": row.sign,
                    **{
                        name: value
                        for metric in METRICS
                        for name, value in getattr(row, metric).columns(metric).items()
                    },
                    "train_ap": row.train_ap,
                    "p_value": row.p_value,
                }
                for row in self.rows
            ]
        )

    def _shown_table(self) -> Any:
        shown = ["feature", "family", "positives", "column", "sign", "ap", "ap_low", "ap_high"]
        return self.to_pandas()[[*shown, "auroc", "p_value"]].sort_values("ap", ascending=False)

    def _rows_of(self, family: str | None) -> list[int]:
        return rows_of([row.family for row in self.rows], family)

    def _samples_of(self, metric: str) -> Samples:
        check_metric(metric)
        return self.samples[metric]

    def _paired_samples(self, other: DirectionTable, metric: str) -> Samples:
        check_kind("other", other, DirectionTable, "a DirectionTable")
        pairs = zip(Resampling._fields, self.resampling, other.resampling, strict=True)
        for name, ours, theirs in pairs:
            if ours != theirs:
                raise UserError(
                    f"tables of {name} = {ours} and {theirs} are not paired: make both with the "
                    "same."
                )
        names, others = ([row.feature for row in table.rows] for table in (self, other))
        if names != others or not np.array_equal(self.labels, other.labels):
            raise UserError(
                "the tables are of other features or examples: make both with one feature set."
            )
        return self._samples_of(metric) - other._samples_of(metric)


def best_directions(
    scores: EigenDirections | Rows,
    features: FeatureSet,
    *,
    split: float = 0.5,
    seed: int = 0,
    n_bootstrap: int = 500,
    n_permutations: int = 200,
    columns: Sequence[str | LayerDirection] | None = None,
    groups: Groups | None = None,
) -> DirectionTable:
    r"""Choose direction and sign for every binary feature on one half and judge them on the other.

    .. math:: (c, s) = \arg\max_{c, \pm} AP_{train}(\pm u_c), \qquad
        p = \frac{1 + \#\{\pi : AP_{test}^\pi \ge AP_{test}\}}{1 + n_{permutations}}

    The null keeps the scores and the two halves and permutes the labels inside each half; column
    and sign are then chosen anew, so it is a null of the best of k. The split looks at labels
    only, and keeps their numbers in either half: given it, labels without any relation to the
    scores are exchangeable inside a half, which makes p valid at every level. One permutation
    serves all features.

    Args:
        scores: directions, or their scores (N, k), a tensor or a numpy array.
        features: binary features of the same N examples.
        split: share of the examples to choose on; see ``halves``.
        seed: of the split, the bootstrap and the permutations.
        n_bootstrap: resamples of the test half for the 95 % intervals, the same for every feature
            and for every table of one split and seed.
        n_permutations: for the p-values; 0 leaves them out (p = 1).
        columns: a name for each of the k columns, or its layer and direction from ``over_layers``;
            default "direction 0" and so on.
        groups: of the examples, kept in one half each (see ``halves``) and drawn whole by the
            bootstrap.

    Returns:
        A row per feature, in the feature set's order.

    Raises:
        UserError: if a feature is real or too rare to split, numbers of examples or of names
            differ, or scores are empty or not finite.

    Source: arXiv 2510.00468, section 5 (best single direction).

    Example:
        >>> import torch
        >>> noun = np.arange(40) % 4 == 0
        >>> features = FeatureSet(noun[:, None], ("NOUN",), ("tag",), ("NOUN",))
        >>> scores = torch.stack([torch.arange(40.0), -torch.from_numpy(noun).float()], 1)
        >>> table = best_directions(scores, features, n_bootstrap=20, n_permutations=19)
        >>> row = table.rows[0]
        >>> row.column, row.sign, row.ap.value, row.p_value
        ('direction 1', -1, 1.0, 0.05)
    """
    check_feature_set(features)
    table = scores_of(scores).cpu().double().numpy()
    places = _locate_columns(table.shape[1], columns)
    names = [str(name) for name in columns or places]
    _check_scores(table, features)
    check_bootstrap(n_bootstrap)
    check_at_least("n_permutations", n_permutations, 0)
    train, test = halves(features, split, seed, groups)
    search = Search(table[train], table[test])
    labels = features.values[train], features.values[test]
    choice = search.choose(labels[0])
    # examples of one group depend on each other: the bootstrap draws whole groups
    inside = take_groups(groups, test, len(table))
    units = None if inside is None else number_groups(inside, len(test))[0]
    samples = search.judge(choice, labels[1], resamples(len(test), n_bootstrap, seed, units))
    p_values = search.p_values(choice, *labels, n_permutations, seed)
    resampling = Resampling(split, seed, n_bootstrap)
    provenance = {
        **(scores.provenance if isinstance(scores, EigenDirections) else {}),
        **resampling._asdict(),
        "n_permutations": n_permutations,
    }
    rows = [
        DirectionRow(
            feature=name,
            family=features.families[i],
            positives=int(labels[1][:, i].sum()),
            direction=int(choice.columns[i]),
            column=names[choice.columns[i]],
            place=places[choice.columns[i]],
            sign=int(choice.signs[i]),
            train_ap=float(choice.ap[i]),
            **{metric: samples[metric].mean([i]) for metric in METRICS},
            p_value=float(p_values[i]),
        )
        for i, name in enumerate(features.names)
    ]
    return DirectionTable(
        tuple(rows),
        table.shape[1],
        len(test),
        resampling,
        provenance,
        samples,
        labels[1].astype(bool),
    )


def _locate_columns(k: int, columns: Sequence[str | LayerDirection] | None) -> list[LayerDirection]:
    places = [LayerDirection(None, index) for index in range(k)]
    if columns is None:
        return places
    found = read_list("columns", [columns] if isinstance(columns, str) else columns, "names")
    if len(found) != k:
        raise UserError(f"{len(found)} names for {k} columns of scores: pass one per column.")
    for column in found:
        if not isinstance(column, str | LayerDirection):
            raise UserError(f"columns has {column!r}: pass a name, or a LayerDirection, for each.")
    if len(set(found)) < k:
        twice = next(column for column in found if found.count(column) > 1)
        raise UserError(f"columns has {twice!r} twice: pass a name of its own for each.")
    return [
        column if isinstance(column, LayerDirection) else place
        for column, place in zip(found, places, strict=True)
    ]


def _check_scores(scores: np.ndarray, features: FeatureSet) -> None:
    n = len(scores)
    real = [
        name for name, binary in zip(features.names, features.is_binary, strict=True) if not binary
    ]
    if real:
        raise UserError(
            f"only binary features have a best direction; these are real: {', '.join(real[:5])}. "
            "Use compare, or make them 0 and 1 by a threshold."
        )
    if len(features.values) != n:
        raise UserError(
            f"scores of {n} examples, features of {len(features.values)}: pass the same "
            "examples in the same order."
        )
