"""Linear probes: fitted on the train half, with a penalty chosen there, for the test half.

Real features are probed by ridge regression. Binary ones by logistic regression, or by ridge
regression on 0 and 1: one fit for all features, for sweeps over many layers.
"""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Bool, Float
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from feature_sets.errors import UserError
from tl_entk.alignment.names import Probe

# by how much numbers of float32 states may differ, over the largest, and still be the same
ROUNDING = 1e-6
_PENALTIES = np.logspace(-6, 3, 10)


def probe_scores(
    train: Float[np.ndarray, "a d"],
    targets: Float[np.ndarray, "a f"],
    test: Float[np.ndarray, "b d"],
    binary: list[bool],
    probe: Probe = "logistic",
) -> Float[np.ndarray, "b f"]:
    """Predictions for the test half of probes fitted on the train half.

    Args:
        train: (a, d) inputs, such as scores on d directions.
        targets: (a, f) features of the same examples.
        test: (b, d) inputs to predict from.
        binary: which of the f features are binary.
        probe: for the binary ones.

    Returns:
        Predicted values of real features; of binary ones a score to rank the examples by.

    Raises:
        UserError: if the probe is unknown.

    Example:
        >>> x = np.arange(20.0)[:, None]
        >>> found = probe_scores(x, np.concatenate([2 * x, x > 9], 1), x[:2], [False, True])
        >>> found[:, 0].round(3).tolist(), bool(found[0, 1] < 0)
        ([0.0, 2.0], True)
    """
    if not isinstance(probe, str) or probe not in ("logistic", "ridge"):
        raise UserError(f"no probe {probe!r}: pass 'logistic' or 'ridge'.")
    # what is the same but for rounding would be scaled to the variance of the others
    differs = varies(train)
    train, test = np.where(differs, train, 0), np.where(differs, test, 0)
    logistic = [i for i, is_binary in enumerate(binary) if is_binary and probe == "logistic"]
    ridge = [i for i in range(len(binary)) if i not in logistic]
    found = np.empty((len(test), len(binary)))
    if ridge:
        found[:, ridge] = _fit_ridge(train, targets[:, ridge], test)
    for i in logistic:
        found[:, i] = _fit_logistic(train, targets[:, i], test)
    return found


def varies(values: Float[np.ndarray, "n m"]) -> Bool[np.ndarray, " m"]:
    """Which columns differ among the examples by more than the rounding of float32.

    Example:
        >>> varies(np.array([[1.0, 1.0], [2.0, 1.0 + 1e-9]])).tolist()
        [True, False]
    """
    return np.ptp(values, 0) > ROUNDING * np.abs(values).max(0)


def _fit_ridge(x: np.ndarray, targets: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """One fit for all targets, with a penalty for each."""
    probe = make_pipeline(StandardScaler(), RidgeCV(_PENALTIES, alpha_per_target=True))
    return probe.fit(x, targets).predict(x_test).reshape(len(x_test), -1)


def _fit_logistic(x: np.ndarray, y: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """Scores of a logistic probe."""
    return fit_logistic(x, y).decision_function(x_test)


def fit_logistic(x: Float[np.ndarray, "a d"], y: Float[np.ndarray, " a"]) -> Pipeline:
    """A logistic probe on scaled inputs; the penalty has the best average precision over folds.

    Args:
        x: (a, d) inputs.
        y: 0 or 1.

    Example:
        >>> x = np.arange(20.0)[:, None]
        >>> fit_logistic(x, (x[:, 0] > 9).astype(float)).predict(x[[0, 19]]).tolist()
        [0.0, 1.0]
    """
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
        return make_pipeline(StandardScaler(), classifier).fit(x, y)
