"""Controls of the language-model experiment: the same methods, judged where prediction is no help.

Each control chooses directions, layers, the best kernel and the strongest baseline anew, within its
train half. What a readout's kernel is made of (component, normalization) stays as it was chosen on
the labels of the next word; where a control has other halves, some of its test windows took part in
that choice, in the kernels' favor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from feature_sets.context import CONTEXT, PRESENT
from feature_sets.feature_set import FeatureSet
from tl_entk.alignment.best_directions import DirectionTable
from tl_entk.alignment.controls import center_within, shared_groups, varying_labels
from tl_entk.alignment.model_baselines import RANDOM
from tl_entk.alignment.readout_sweep import Candidate, over_layers
from tl_entk.alignment.splitting import Groups, halves, number_groups, take_groups, too_rare
from tl_entk.experiments.language.data import LanguageData
from tl_entk.experiments.language.kept_judging import KeptJudging
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
        return strongest_baseline(self.baselines, self.validations)

    @property
    def winner(self) -> str:
        """The kernel that is best within the train half."""
        kernels = [name for name in self.tables if name not in self.baselines]
        return max(kernels, key=lambda name: self.validations[name])


def strongest_baseline(baselines: Iterable[str], validations: Mapping[str, float]) -> str:
    """The best of the baselines but for random directions."""
    return max((name for name in baselines if name != RANDOM), key=lambda name: validations[name])


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
    judge: KeptJudging,
) -> dict[str, Control]:
    """Judge every method under every control; controls that no label is left for are left out.

    Args:
        names: among ``CONTROLS``.
        data: labels and predicted tokens.
        methods: method to layer to scores.
        baselines: methods that are no kernels.
        seed: of the splits.
        judge: what judges, or has judged.
    """
    found = {}
    for name in names:
        setting = _SETTINGS[name](data, methods)
        kept = None if setting is None else _judgeable(setting.features, setting.groups, seed)
        if setting is not None and kept is not None:
            found[name] = _judge(setting._replace(features=kept), baselines, seed, judge)
    return found


def _judge(setting: _Setting, baselines: list[str], seed: int, judge: KeptJudging) -> Control:
    features, methods, groups = setting
    tables, validations = {}, {}
    for name, layers in methods.items():
        columns, places = over_layers(layers)
        tables[name] = judge.table(
            columns, features, seed=seed, n_permutations=0, columns=places, groups=groups
        )
        candidate = Candidate(name, "", "")
        row = judge.sweep_row(candidate, layers, features, seed=seed, groups=groups)
        validations[name] = row.validation
    return Control(tables, validations, features.names, len(features.values), tuple(baselines))


def _judgeable(features: FeatureSet, groups: Groups | None, seed: int) -> FeatureSet | None:
    """The labels that can be halved; None unless some can be halved twice, to choose and judge."""
    if groups is not None and number_groups(groups, len(features.values))[1] < 4:
        return None
    rare = too_rare(features, seed=seed, groups=groups)
    if len(rare) == len(features):
        return None
    kept = features.without(rare)
    train, _ = halves(kept, seed=seed, groups=groups)
    inside, parts = kept.rows(train), take_groups(groups, train, len(kept.values))
    return None if len(too_rare(inside, seed=seed, groups=parts)) == len(inside) else kept


def _within(data: LanguageData, methods: Methods) -> _Setting | None:
    """Groups lie in one half each: else the means would carry the train half's labels over."""
    rows = shared_groups(data.predicted)
    groups = [data.predicted[i] for i in rows]
    spread = np.ptp(data.features.values[rows], 0) if len(rows) else np.zeros(0)
    if not spread.any():
        return None
    labels = data.features.take(np.flatnonzero(spread).tolist()).rows(rows)
    varying = varying_labels(labels, groups)
    if not varying:
        return None
    inside = {
        name: {layer: center_within(scores[rows], groups) for layer, scores in layers.items()}
        for name, layers in methods.items()
    }
    return _Setting(labels.take([labels.names.index(name) for name in varying]), inside, groups)


def _apart(data: LanguageData, methods: Methods) -> _Setting:
    return _Setting(data.features, methods, data.predicted)


def _of_family(family: str) -> Callable[[LanguageData, Methods], _Setting | None]:
    def judge_on(data: LanguageData, methods: Methods) -> _Setting | None:
        if data.context is None or family not in data.context.families:
            return None
        return _Setting(data.context.family(family), methods)

    return judge_on


_SETTINGS: dict[str, Callable[[LanguageData, Methods], _Setting | None]] = {
    WITHIN: _within,
    APART: _apart,
    PRESENT_WORD: _of_family(PRESENT),
    TEXT_SO_FAR: _of_family(CONTEXT),
}
