"""What all causal checks of a run share: the halves, the labels, and their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

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
class Meters:
    """What measures the model on windows of both halves.

    Attributes:
        train: of some of the train half, evenly spread.
        test: of the test half.
        before: what the model says there as it is.
    """

    train: OddsMeter
    test: OddsMeter
    before: Odds

    def from_layer(self, layer: int) -> Meters:
        """The same for changes of a layer or of later ones."""
        return replace(self, train=self.train.from_layer(layer), test=self.test.from_layer(layer))


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
    def meters(self) -> Meters:
        """Of the whole model."""
        few = np.linspace(0, len(self.train) - 1, min(SIGNED_ON, len(self.train)))
        windows, model = self.result.data.windows, self.result.model
        targets = torch.tensor(next_token_ids(windows, model.tokenizer))
        train, test = (
            OddsMeter.of(
                model.model, windows.tokens[rows], targets[rows], self.labels, self.by_label
            )
            for rows in (self.train[few.round().astype(int)], self.test)
        )
        return Meters(train, test, test.measure())


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
