"""The search for the best column of scores and its sign, for many label vectors at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tl_entk.alignment.bootstrap import Samples
from tl_entk.alignment.ranking import METRICS, Ranking

# label vectors scored together: many, to call numpy seldom; few, to stay near the cache
_BLOCK = 2048


@dataclass(frozen=True, eq=False)
class Choice:
    """The best column for every label vector, its sign, and its average precision.

    Attributes:
        columns: (m,).
        signs: (m,) +1 or -1.
        ap: (m,) on the half that was chosen on.
    """

    columns: Int[np.ndarray, " m"]
    signs: Int[np.ndarray, " m"]
    ap: Float[np.ndarray, " m"]


class Search:
    """The columns of either half, sorted once."""

    def __init__(self, train: Float[np.ndarray, "a k"], test: Float[np.ndarray, "b k"]) -> None:
        self.scores = test
        self.train = [Ranking(column) for column in train.T]
        self.test = [Ranking(column) for column in test.T]

    def choose(self, labels: Float[np.ndarray, "a m"]) -> Choice:
        """Column and sign of the highest average precision on the train half."""
        ap = np.stack([ranking.average_precisions(labels) for ranking in self.train])
        ap = ap.reshape(-1, labels.shape[1])
        # where only rounding tells two apart, the first of them: the larger eigenvalue
        best = (ap >= ap.max(0) - _rounding_error(ap)).argmax(0)
        return Choice(best // 2, 1 - 2 * (best % 2), ap[best, np.arange(len(best))])

    def test_ap(self, choice: Choice, labels: Float[np.ndarray, "b m"]) -> np.ndarray:
        """Average precision of the chosen columns on the test half."""
        found = np.empty(labels.shape[1])
        for column in np.unique(choice.columns):
            cases = np.flatnonzero(choice.columns == column)
            both = self.test[column].average_precisions(labels[:, cases])
            found[cases] = np.where(choice.signs[cases] > 0, both[0], both[1])
        return found

    def judge(
        self, choice: Choice, labels: Float[np.ndarray, "b f"], times: Int[np.ndarray, "r b"]
    ) -> dict[str, Samples]:
        """Every metric of the chosen columns on the test half and its resamples."""
        # the test half itself goes first, as one more resample
        weights = np.concatenate([np.ones((1, len(labels))), times]).T.copy()
        cases = [
            Ranking(sign * self.scores[:, column]).curve(labels[:, [i]], weights).metrics()
            for i, (column, sign) in enumerate(zip(choice.columns, choice.signs, strict=True))
        ]
        figures = {metric: np.stack([case[metric] for case in cases], 1) for metric in METRICS}
        return {
            metric: Samples(found[0], found[1:], METRICS[metric])
            for metric, found in figures.items()
        }

    def p_values(
        self,
        choice: Choice,
        train: Float[np.ndarray, "a f"],
        test: Float[np.ndarray, "b f"],
        count: int,
        seed: int,
    ) -> Float[np.ndarray, " f"]:
        """Share of permutations that do as well; the labels as they are count as one."""
        observed = self.test_ap(choice, test)
        rng = np.random.default_rng([seed, 1])  # not the stream of the bootstrap
        at_least = np.zeros(len(observed))
        step = max(1, _BLOCK // len(observed))
        for start in range(0, count, step):
            several = range(start, min(start + step, count))
            shuffled = [(rng.permutation(train), rng.permutation(test)) for _ in several]
            # a choice that hangs on the eighth digit is a draw; single precision makes it faster
            first = np.concatenate([half for half, _ in shuffled], 1, dtype=np.float32)
            second = np.concatenate([half for _, half in shuffled], 1)
            null = self.test_ap(self.choose(first), second).reshape(len(several), -1)
            at_least += (null >= observed - _rounding_error(null)).sum(0)
        return (1 + at_least) / (1 + count)


def _rounding_error(values: np.ndarray) -> float:
    """By how much two equal figures up to 1 may differ."""
    return 100 * float(np.finfo(values.dtype).eps)
