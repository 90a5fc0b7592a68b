"""Controls of the language-model experiment: the same methods, judged where prediction is no help.

Each control chooses directions, layers and the strongest baseline anew, within its train half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from feature_sets.context import CONTEXT, PRESENT
from feature_sets.feature_set import FeatureSet
from tl_entk.alignment.best_directions import DirectionTable, best_directions
from tl_entk.alignment.controls import center_within, shared_groups, varying_labels
from tl_entk.alignment.model_baselines import RANDOM
from tl_entk.alignment.readout_sweep import Candidate, judge_sweep, over_layers
from tl_entk.alignment.splitting import Groups, too_rare
from tl_entk.experiments.language.data import LanguageData
from tl_entk.experiments.language.settings import APART, PRESENT_WORD, TEXT_SO_FAR, WITHIN

Methods = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True, eq=False)
class Control:
    """What every method reaches under one control.

    Attributes:
        tables: method to best directions over all layers.
        validations: method to what it reaches within the train half.
        labels: judged labels.
        windows: how many windows there are.
        baselines: methods that are no kernels.
    """

    tables: dict[str, DirectionTable]
    validations: dict[str, float]
    labels: tuple[str, ...]
    windows: int
    baselines: tuple[str, ...]

    @property
    def strongest_baseline(self) -> str:
        """The baseline that is best within the train half."""
        named = [name for name in self.baselines if name != RANDOM]
        return max(named, key=lambda name: self.validations[name])


class _Setting(NamedTuple):
    """What a control judges on."""

    features: FeatureSet
    methods: Methods
    groups: Groups | None = None


def judge_controls(
    names: tuple[str, ...],
    data: LanguageData,
    methods: Methods,
    baselines: list[str],
    seed: int,
) -> dict[str, Control]:
    """Judge every method under every control; controls that no label is left for are left out.

    Args:
        names: among ``CONTROLS``.
        data: labels and predicted tokens.
        methods: method to layer to scores.
        baselines: methods that are no kernels.
        seed: of the splits.
    """
    found = {}
    for name in names:
        setting = _SETTINGS[name](data, methods, seed)
        if setting is not None:
            found[name] = _judge(setting, baselines, seed)
    return found


def _judge(setting: _Setting, baselines: list[str], seed: int) -> Control:
    features, methods, groups = setting
    tables, validations = {}, {}
    for name, layers in methods.items():
        columns, places = over_layers(layers)
        tables[name] = best_directions(
            columns, features, seed=seed, n_permutations=0, columns=places, groups=groups
        )
        candidate = {Candidate(name, "", ""): layers}
        (row,) = judge_sweep(candidate, features, seed=seed, groups=groups)
        validations[name] = row.validation
    return Control(tables, validations, features.names, len(features.values), tuple(baselines))


def _within(data: LanguageData, methods: Methods, seed: int) -> _Setting | None:
    rows = shared_groups(data.predicted)
    groups = [data.predicted[i] for i in rows]
    labels = _rows_that_vary(data.features, rows)
    if labels is None:
        return None
    varying = varying_labels(labels, groups)
    kept = _splittable(labels, varying, seed)
    if kept is None:
        return None
    inside = {
        name: {layer: center_within(scores[rows], groups) for layer, scores in layers.items()}
        for name, layers in methods.items()
    }
    return _Setting(kept, inside)


def _apart(data: LanguageData, methods: Methods, seed: int) -> _Setting | None:
    rare = too_rare(data.features, seed=seed, groups=data.predicted)
    kept = [name for name in data.features.names if name not in rare]
    if not kept or len(set(data.predicted)) < 2:
        return None
    return _Setting(data.features.without(rare), methods, data.predicted)


def _of_family(family: str) -> Callable[[LanguageData, Methods, int], _Setting | None]:
    def judge_on(data: LanguageData, methods: Methods, seed: int) -> _Setting | None:
        names = [
            name
            for name, kind in zip(data.context.names, data.context.families, strict=True)
            if kind == family
        ]
        kept = _splittable(data.context, names, seed)
        return None if kept is None else _Setting(kept, methods)

    return judge_on


def _rows_that_vary(features: FeatureSet, rows: np.ndarray) -> FeatureSet | None:
    """Features of some examples, without those that are constant over them."""
    if not len(rows):
        return None
    spread = np.ptp(features.values[rows], 0)
    kept = [i for i, width in enumerate(spread) if width > 0]
    return features.take(kept).rows(rows) if kept else None


def _splittable(features: FeatureSet, names: list[str], seed: int) -> FeatureSet | None:
    """These features, without those that are too rare to be halved; None if none is left."""
    chosen = features.take([features.names.index(name) for name in names])
    rare = too_rare(chosen, seed=seed) if names else []
    return chosen.without(rare) if len(rare) < len(names) else None


_SETTINGS: dict[str, Callable[[LanguageData, Methods, int], _Setting | None]] = {
    WITHIN: _within,
    APART: _apart,
    PRESENT_WORD: _of_family(PRESENT),
    TEXT_SO_FAR: _of_family(CONTEXT),
}
