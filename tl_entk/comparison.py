"""Comparison of eNTK directions with PCA, probes and chance, at one budget, with intervals.

Every basis gives k scores per example; a linear probe on them is fitted on the train half and
judged on the test half. A probe on all activations is the ceiling, k random directions are the
floor. A binary feature is judged by average precision (AP), a real one by R^2.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.metrics import average_precision_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from feature_sets.feature_set import FeatureSet
from tl_entk.baselines import pca_scores, random_directions
from tl_entk.eigen import EigenDirections

Array = Float[np.ndarray, "n"]
BASES = ("eNTK", "PCA", "random", "all activations")
_PENALTIES = np.logspace(-6, 3, 10)


@dataclass(frozen=True)
class Judgement:
    """A figure on the test half with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ComparisonRow:
    """One feature group.

    Attributes:
        group: its name; a group of several features is judged by their mean.
        family: its family.
        metric: "R2" or "AP".
        scores: basis to judgement on the test half.
        difference: eNTK less PCA, paired over the same bootstrap examples.
    """

    group: str
    family: str
    metric: str
    scores: dict[str, Judgement]
    difference: Judgement


@dataclass(frozen=True)
class Comparison:
    """eNTK, PCA, random directions and all activations side by side.

    Attributes:
        rows: one per feature group.
        k: directions per basis.
        n_test: examples judged on.
        provenance: of the eNTK directions, with split and seed.
    """

    rows: tuple[ComparisonRow, ...]
    k: int
    n_test: int
    provenance: dict[str, Any] = field(default_factory=dict)

    def macro(self, family: str | None = None) -> dict[str, float]:
        """Mean over the rows (of one family) per basis.

        Raises:
            ValueError: if there is no such family.
        """
        rows = [row for row in self.rows if family in (None, row.family)]
        if not rows:
            raise ValueError(
                f"no family {family!r}: there are {sorted({r.family for r in self.rows})}."
            )
        return {name: float(np.mean([row.scores[name].value for row in rows])) for name in BASES}


def compare(
    eigen: EigenDirections | Float[Tensor, "n k"],
    feature_set: FeatureSet,
    activations: Float[Tensor, "n d"],
    *,
    split: float = 0.5,
    seed: int = 0,
    n_bootstrap: int = 500,
) -> Comparison:
    """Probe every feature from k eNTK scores, k PCA scores, k random ones and all activations.

    Args:
        eigen: eNTK directions, or their scores (N, k). k is the budget of every basis.
        feature_set: features of the same N examples.
        activations: (N, d) for PCA and for the ceiling; k must not exceed d.
        split: share of the examples to fit on; the rest is judged on. Binary features are
            stratified.
        seed: of the split, the random directions and the bootstrap.
        n_bootstrap: resamples of the test half for the 95 % intervals.

    Returns:
        One row per feature group with judgements and the paired difference eNTK - PCA.

    Raises:
        ValueError: if numbers of examples differ, k exceeds the activations' width, or a binary
            feature is too rare to be split.

    Example:
        >>> import torch
        >>> from feature_sets import fourier
        >>> a, b = np.divmod(np.arange(49), 7)
        >>> features = fourier(a, b, 7, families=["a+b"])
        >>> scores = torch.from_numpy(features.values)[:, :2]
        >>> table = compare(scores, features, torch.from_numpy(features.values), n_bootstrap=20)
        >>> [round(row.scores["eNTK"].value, 2) for row in table.rows][0]
        1.0
    """
    scores = eigen.scores if isinstance(eigen, EigenDirections) else eigen
    n, k = scores.shape
    _check_lengths(n, k, feature_set, activations, split)
    bases = {
        "eNTK": scores,
        "PCA": pca_scores(activations, k),
        "random": random_directions(n, k, seed),
        "all activations": activations,
    }
    inputs = {name: basis.detach().cpu().double().numpy() for name, basis in bases.items()}
    judge = _Judge(inputs, feature_set, split, seed, n_bootstrap)
    rows = [judge.row(group) for group in feature_set.group_names()]
    provenance = {"split": split, "seed": seed, "n_bootstrap": n_bootstrap}
    if isinstance(eigen, EigenDirections):
        provenance = {**eigen.provenance, **provenance}
    return Comparison(tuple(rows), k, len(judge.test), provenance)


def _check_lengths(
    n: int, k: int, feature_set: FeatureSet, activations: Tensor, split: float
) -> None:
    if len(feature_set.values) != n or len(activations) != n:
        raise ValueError(
            f"directions of {n} examples, features of {len(feature_set.values)}, activations of "
            f"{len(activations)}: pass the same examples in the same order."
        )
    if k > activations.shape[1]:
        raise ValueError(
            f"{k} directions, but activations of width {activations.shape[1]} have no more "
            "principal components: compare fewer directions."
        )
    if not 0 < split < 1:
        raise ValueError(f"split = {split} leaves one half empty: pass a share between 0 and 1.")


class _Judge:
    """Probes of every basis, on one split."""

    def __init__(
        self,
        inputs: dict[str, np.ndarray],
        features: FeatureSet,
        split: float,
        seed: int,
        n_bootstrap: int,
    ) -> None:
        self.inputs = inputs
        self.features = features
        self.split = split
        self.seed = seed
        self.is_binary = features.is_binary
        real = [i for i, binary in enumerate(self.is_binary) if not binary]
        self.train, self.test = self._halves(None)
        # one set of resamples for every feature and basis, so that differences are paired
        shape = (n_bootstrap, len(self.test))
        self.draws = np.random.default_rng(seed).integers(0, len(self.test), shape)
        # all real features share the split, so that one fit per basis serves them all
        self.real = {
            name: dict(zip(real, self._ridge(x, features.values[:, real]).T, strict=True))
            for name, x in inputs.items()
            if real
        }

    def row(self, group: str) -> ComparisonRow:
        columns = [i for i, name in enumerate(self.features.groups) if name == group]
        targets = self.features.values[:, columns]
        binary = all(self.is_binary[i] for i in columns)
        if binary:
            self._refuse_rare(targets, self.features.names[columns[0]])
            train, test = self._halves(targets[:, 0])
            predictions = {
                name: np.stack([_logistic(x[train], y[train], x[test]) for y in targets.T], 1)
                for name, x in self.inputs.items()
            }
        else:
            test = self.test
            predictions = {
                name: np.stack([found[i] for i in columns], 1) for name, found in self.real.items()
            }
        judged = {
            name: _bootstrap(targets[test], predicted, self.draws, binary)
            for name, predicted in predictions.items()
        }
        (ours, our_samples), (pca, pca_samples) = judged["eNTK"], judged["PCA"]
        return ComparisonRow(
            group,
            self.features.families[columns[0]],
            "AP" if binary else "R2",
            {name: _judgement(value, samples) for name, (value, samples) in judged.items()},
            _judgement(ours - pca, our_samples - pca_samples),
        )

    def _halves(self, stratify: Array | None) -> tuple[np.ndarray, np.ndarray]:
        n = len(self.features.values)
        train, test = train_test_split(
            np.arange(n),
            train_size=round(self.split * n),
            random_state=self.seed,
            stratify=stratify,
        )
        return train, test

    def _ridge(self, x: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Predictions on the test half; the penalty is chosen on the train half, per target."""
        probe = make_pipeline(StandardScaler(), RidgeCV(_PENALTIES, alpha_per_target=True))
        probe.fit(x[self.train], targets[self.train])
        return probe.predict(x[self.test]).reshape(len(self.test), -1)

    @staticmethod
    def _refuse_rare(targets: np.ndarray, name: str) -> None:
        if min(targets.sum(0).min(), (1 - targets).sum(0).min()) < 4:
            raise ValueError(
                f"{name!r} has fewer than 4 examples on one side: too rare to split; drop it."
            )


def _logistic(x: np.ndarray, y: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Scores of a logistic probe; the penalty is chosen on the train half."""
    folds = int(max(2, min(5, y.sum(), (1 - y).sum())))
    classifier = LogisticRegressionCV(
        Cs=6,
        cv=folds,
        max_iter=500,
        scoring="average_precision",
        l1_ratios=(0.0,),
        use_legacy_attributes=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), classifier).fit(x, y).decision_function(x_test)


def _measure(truth: np.ndarray, predicted: np.ndarray, binary: bool) -> float:
    if binary:
        return float(average_precision_score(truth, predicted, average="macro"))
    return float(r2_score(truth, predicted, multioutput="uniform_average"))


def _bootstrap(
    truth: np.ndarray, predicted: np.ndarray, draws: Int[np.ndarray, "b n"], binary: bool
) -> tuple[float, np.ndarray]:
    value = _measure(truth, predicted, binary)
    if not binary:
        # R^2 by sums over the times each example was drawn, for all resamples at once
        times = np.stack([np.bincount(rows, minlength=len(truth)) for rows in draws]).astype(float)
        error = times @ (truth - predicted) ** 2
        spread = times @ truth**2 - (times @ truth) ** 2 / len(truth)
        return value, (1 - error / spread).mean(1)
    samples = [
        _measure(truth[rows], predicted[rows], binary)
        for rows in draws
        if (truth[rows].min(0) < truth[rows].max(0)).all()
    ]
    return value, np.array(samples)


def _judgement(value: float, samples: np.ndarray) -> Judgement:
    low, high = np.percentile(samples, (2.5, 97.5))
    return Judgement(value, float(low), float(high))
