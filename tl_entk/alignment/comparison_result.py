"""What a comparison of probes found: figures of every feature by every basis, and their means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from feature_sets.display import Shown
from feature_sets.errors import UserError
from tl_entk.alignment.bootstrap import IntervalEstimate, Samples, rows_of
from tl_entk.alignment.ranking import AP, METRICS, check_metric

R2 = "r2"
# metric to the values it can take
BOUNDS = {**METRICS, R2: (-float("inf"), 1.0)}


@dataclass(frozen=True)
class ComparisonRow:
    """One feature group.

    Attributes:
        group: its name; a group of several features is judged by their mean.
        family: its family.
        metric: "ap" of a binary group, "r2" of a real one.
        scores: basis to its figure on the test half, by ``metric``.
        difference: the first basis less the second (eNTK less PCA), paired over the same
            bootstrap examples.
        metrics: every metric ("ap", "auroc", "precision", "enrichment"; "r2" of real features)
            to basis to its figure.
    """

    group: str
    family: str
    metric: str
    scores: dict[str, IntervalEstimate]
    difference: IntervalEstimate
    metrics: dict[str, dict[str, IntervalEstimate]]


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """Probes on several bases side by side.

    Attributes:
        rows: one per feature group.
        k: directions of the first basis, and of all that have a budget.
        n_test: examples judged on.
        provenance: of the eNTK directions, with split, seed and probe.
        samples: basis to metric to the rows' bootstrap samples, NaN where a row does not have
            the metric.
    """

    rows: tuple[ComparisonRow, ...]
    k: int
    n_test: int
    provenance: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, dict[str, Samples]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def bases(self) -> list[str]:
        """The bases in order."""
        return list(self.samples)

    def _lines(self) -> list[str]:
        one = len({row.metric for row in self.rows}) == 1
        lines = [
            f"Comparison: {len(self.rows)} features probed from {len(self.samples)} bases of "
            f"{self.k}, judged on {self.n_test} examples",
        ]
        if not one:
            return [*lines, ", ".join(self.bases)]
        ours, theirs = self.bases[:2]
        means = ", ".join(f"{basis} {self.macro(basis).value:.2f}" for basis in self.bases)
        gap = self.difference(ours, theirs)
        return [
            *lines,
            f"mean {'AP' if self.rows[0].metric == AP else 'R²'}: {means}",
            f"{ours} less {theirs}: {gap.value:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})",
        ]

    def to_pandas(self) -> Any:
        """A row per feature group, metric and basis: value, low, high."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "group": row.group,
                    "family": row.family,
                    "metric": metric,
                    "basis": basis,
                    **found.columns("value"),
                }
                for row in self.rows
                for metric, figures in row.metrics.items()
                for basis, found in figures.items()
            ]
        )

    def _shown_table(self) -> Any:
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "group": row.group,
                    "family": row.family,
                    "metric": row.metric,
                    **{basis: found.value for basis, found in row.scores.items()},
                    **row.difference.columns("difference"),
                }
                for row in self.rows
            ]
        )

    def macro(
        self, basis: str, metric: str | None = None, family: str | None = None
    ) -> IntervalEstimate:
        """Mean over the rows (of one family) that have the metric, with its interval.

        Args:
            basis: one of ``bases``.
            metric: "ap", "auroc", "precision", "enrichment" or "r2"; None for AP or R^2, whichever
                all the rows are judged by.
            family: None for all rows.

        Raises:
            UserError: if the basis, the metric or the family is unknown, no row has the metric,
                or without a metric if some rows are judged by AP and some by R^2.
        """
        metric, rows = self._choose_rows(metric, family)
        return self._samples_of(basis, metric).mean(rows)

    def difference(
        self, basis: str, other: str, metric: str | None = None, family: str | None = None
    ) -> IntervalEstimate:
        """Macro mean of one basis less that of another, over the same bootstrap examples.

        Args:
            basis: one of ``bases``.
            other: another of them.
            metric: as for ``macro``.
            family: as for ``macro``.

        Raises:
            UserError: as ``macro``.
        """
        metric, rows = self._choose_rows(metric, family)
        return (self._samples_of(basis, metric) - self._samples_of(other, metric)).mean(rows)

    def _samples_of(self, basis: str, metric: str) -> Samples:
        if not isinstance(basis, str) or basis not in self.samples:
            raise UserError(f"no basis {basis!r}: there are {', '.join(self.samples)}.")
        return self.samples[basis][metric]

    def _choose_rows(self, metric: str | None, family: str | None) -> tuple[str, list[int]]:
        """The metric to take the mean of, and the rows of the family that have it."""
        rows = rows_of([row.family for row in self.rows], family)
        of_what = f"features of {family}" if family else "features"
        if metric is None:
            judged_by = sorted({self.rows[row].metric for row in rows})
            if len(judged_by) > 1:
                raise UserError(
                    f"some {of_what} are judged by AP and some by R^2, which have no mean: pass "
                    f"metric={AP!r} or {R2!r}."
                )
            metric = judged_by[0]
        check_metric(metric, tuple(BOUNDS))
        having = [row for row in rows if metric in self.rows[row].metrics]
        if not having:
            raise UserError(
                f"no {of_what} have {metric!r}: choose another family, or one of "
                f"{', '.join(self.rows[rows[0]].metrics)}."
            )
        return metric, having
