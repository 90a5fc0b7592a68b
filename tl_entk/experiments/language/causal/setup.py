"""What all causal checks of a run share: the halves, the labels, and their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError
from feature_sets.lexicon import label_tokens, next_token_ids
from feature_sets.pipelines import load_pipeline
from tl_entk.alignment.splitting import halves
from tl_entk.experiments.language.causal.odds import Odds, OddsMeter

if TYPE_CHECKING:
    from tl_entk.experiments.language.run import LanguageResult

# labels that are looked at: those of the word itself, the most frequent ones
FAMILIES, MOST = ("tag", "morphology"), 8
# windows of the train half that signs of steps are set on
SIGNED_ON = 64


@dataclass(frozen=True, eq=False)
class Setup:
    """What all directions of a run share.

    Attributes:
        result: of the run.
        train: windows that everything is found on.
        test: windows that it is judged on.
        by_label: tokens of the labels that are measured.
    """

    result: LanguageResult
    train: np.ndarray
    test: np.ndarray
    by_label: Mapping[str, tuple[int, ...]]

    @property
    def labels(self) -> list[str]:
        """All that are measured, the most frequent first."""
        return list(self.by_label)

    def label(self, name: str) -> Float[np.ndarray, " n"]:
        """Of all windows."""
        features = self.result.data.features
        return features.values[:, features.names.index(name)].astype(float)

    @cached_property
    def train_meter(self) -> OddsMeter:
        """Of some of the train half, evenly spread."""
        few = np.linspace(0, len(self.train) - 1, min(SIGNED_ON, len(self.train)))
        return self._meter(self.train[few.round().astype(int)])

    @cached_property
    def before(self) -> Odds:
        """What the model says on the test half as it is."""
        return self.test_meter.measure(self.result.model.model)

    @cached_property
    def test_meter(self) -> OddsMeter:
        """Of the test half."""
        return self._meter(self.test)

    @cached_property
    def _targets(self) -> Int[Tensor, " n"]:
        """The true next token of every window."""
        return torch.tensor(next_token_ids(self.result.data.windows, self.result.model.tokenizer))

    def _meter(self, rows: np.ndarray) -> OddsMeter:
        model, tokens = self.result.model.model, self.result.data.windows.tokens[rows]
        return OddsMeter.of(model, tokens, self._targets[rows], self.labels, self.by_label)


def set_up(result: LanguageResult) -> Setup:
    """The halves, and the tokens of the labels.

    Raises:
        UserError: if no label has any.
    """
    features, windows = result.data.features, result.data.windows
    train, test = halves(features, seed=result.settings.seed)
    stories = sorted(set(windows.story[train].tolist()))
    nlp = load_pipeline(result.settings.pipeline)
    tokens = label_tokens([windows.stories[s] for s in stories], nlp, result.model.tokenizer)
    counts = {
        name: int(features.values[:, index].sum())
        for index, (name, family) in enumerate(zip(features.names, features.families, strict=True))
        if family in FAMILIES and name in tokens
    }
    if len(counts) < 2:
        raise UserError(
            "causal checks compare the tokens of several labels, and fewer than two are tags or "
            "morphology here: take more windows (--per-tag), or leave --causal out."
        )
    order = sorted(counts, key=lambda name: -counts[name])
    return Setup(result, train, test, {name: tokens[name] for name in order})
