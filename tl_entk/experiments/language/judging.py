"""Judging the directions of a language model: chosen on the train half, judged on the test half."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from feature_sets.feature_set import FeatureSet
from tl_entk.alignment.best_directions import DirectionTable
from tl_entk.alignment.comparison import Comparison
from tl_entk.alignment.readout_sweep import DEFAULT, Candidate, SweepRow, over_layers
from tl_entk.alignment.splitting import halves
from tl_entk.experiments.language.controls import Control, judge_controls, strongest_baseline
from tl_entk.experiments.language.data import LanguageData
from tl_entk.experiments.language.kept_judging import (
    NULL_STEPS,
    PROBE_STEPS,
    TABLE_STEPS,
    KeptJudging,
)
from tl_entk.experiments.language.kernels import (
    Directions,
    plain_candidate,
    scores_by_layer,
)
from tl_entk.experiments.language.settings import LanguageSettings
from tl_entk.tools.progress import Progress

FLATTENED, BY_DEFAULT, ALL = "eNTK, all logits", "eNTK, default", "all activations"
# resamples of what is drawn layer by layer
_FEW_RESAMPLES = 200

Scores = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Judged:
    """What every method reaches.

    Attributes:
        sweep: candidates by what they reach within the train half, best first.
        candidates: eNTK method to the candidate that it is.
        methods: method to layer to scores, of the methods that are judged on the test half: the
            flattened kernel and the default one if they were made, the best candidate of every
            readout, the baselines. A baseline of the prediction, which is one for all layers, has
            up to as many directions as all of them together.
        validations: method to what it reaches within the train half, best over layers.
        best_layer: method to the layer that is best there.
        tables: method to best directions over all layers.
        by_layer: method to layer to best directions of that layer.
        controls: control to what every method reaches under it.
        probes: probes of the winner, the strongest baseline, the flattened kernel, the other
            baselines and all activations, each at its own layer; labels that are numbers are
            judged by R^2.
        probe_layer: basis of the probes to the layer whose ridge probes are best within the
            train half.
        probes_by_layer: layer to ridge probes on the bases that have it.
    """

    sweep: list[SweepRow]
    candidates: dict[str, Candidate]
    methods: dict[str, Scores]
    validations: dict[str, float]
    best_layer: dict[str, str]
    tables: dict[str, DirectionTable]
    by_layer: dict[str, dict[str, DirectionTable]]
    controls: dict[str, Control]
    probes: Comparison
    probe_layer: dict[str, str]
    probes_by_layer: dict[str, Comparison]

    @property
    def entk_methods(self) -> list[str]:
        """The methods that are kernels."""
        return list(self.candidates)

    @property
    def shown_kernels(self) -> list[str]:
        """The kernels that figures and cards show: flattened and default if made, the winner."""
        return shown_kernels(self.candidates, self.winner)

    @property
    def baselines(self) -> list[str]:
        """The methods that are no kernels, random directions among them."""
        return [name for name in self.methods if name not in self.candidates]

    @property
    def strongest_baseline(self) -> str:
        """The baseline that is best within the train half."""
        return strongest_baseline(self.baselines, self.validations)

    @property
    def winner(self) -> str:
        """The eNTK method that is best within the train half."""
        return _best_method(self.candidates, self.validations)


def judge_language(
    settings: LanguageSettings,
    data: LanguageData,
    directions: Directions,
    *,
    folder: Path | None = None,
    progress: bool = False,
) -> Judged:
    """Choose within the train half and judge on the test half.

    Args:
        settings: of the run.
        data: labels and activations.
        directions: of every method and layer.
        folder: where what was judged is kept, and taken up; None keeps nothing.
        progress: show a bar.
    """
    first = TABLE_STEPS * (len(directions.sweep) + len(directions.baselines))
    with (
        # how many methods are judged is known after the sweep: about so many steps each
        Progress("judging", 3 * first, progress) as bar,
        KeptJudging(folder, bar.advance, progress) as judge,
    ):
        return _judge(settings, data, directions, judge, bar, first)


def _judge(
    settings: LanguageSettings,
    data: LanguageData,
    directions: Directions,
    judge: KeptJudging,
    bar: Progress,
    first: int,
) -> Judged:
    features, seed = data.features, settings.seed
    sweep = _judge_sweep(judge, directions, features, seed)
    candidates = _judged_candidates(plain_candidate(settings), sweep)
    methods, rows = _methods(judge, candidates, directions, sweep, features, seed)
    validations = {name: row.validation for name, row in rows.items()}
    winner = _best_method(candidates, validations)
    strongest = strongest_baseline(directions.baselines, validations)
    shown = shown_kernels(candidates, winner)
    basis_names = dict.fromkeys([winner, strongest, *shown, *directions.baselines])
    narrow = {name: _leading(layers, settings.k) for name, layers in methods.items()}
    bases = {name: narrow[name] for name in basis_names} | {ALL: scores_by_layer(data.activations)}
    bar.expect(first + _count_steps(settings, narrow, bases))
    probe_layer = _probe_layers(judge, bases, features, seed)
    return Judged(
        sweep=sweep,
        candidates=candidates,
        methods=methods,
        validations=validations,
        best_layer={name: row.best_layer for name, row in rows.items()},
        tables={
            name: _over_layers(judge, layers, features, seed) for name, layers in methods.items()
        },
        by_layer={
            name: _by_layer(judge, layers, features, seed) for name, layers in narrow.items()
        },
        controls=judge_controls(
            settings.controls, data, methods, list(directions.baselines), seed, judge
        ),
        probes=judge.probes(
            {name: layers[probe_layer[name]] for name, layers in bases.items()},
            data.features_and_numbers,
            seed=seed,
            probe=settings.probe,
        ),
        probe_layer=probe_layer,
        probes_by_layer={
            layer: judge.probes(
                {name: layers[layer] for name, layers in bases.items() if layer in layers},
                features,
                seed=seed,
                n_bootstrap=_FEW_RESAMPLES,
                probe="ridge",
            )
            for layer in data.activations
        },
    )


def _count_steps(
    settings: LanguageSettings,
    methods: Mapping[str, Scores],
    bases: Mapping[str, Scores],
) -> int:
    """Steps of the bar from the tables on."""
    by_layer = sum(map(len, methods.values())) + sum(map(len, bases.values()))
    controls = 2 * len(settings.controls) * len(methods)
    beside = sum(len(layers) for layers in bases.values())
    probes = PROBE_STEPS[settings.probe] * len(bases) + PROBE_STEPS["ridge"] * beside
    return NULL_STEPS * len(methods) + TABLE_STEPS * (by_layer + controls) + probes


def _judge_sweep(
    judge: KeptJudging, directions: Directions, features: FeatureSet, seed: int
) -> list[SweepRow]:
    """Every candidate, best first."""
    rows = [
        judge.sweep_row(candidate, scores_by_layer(layers), features, seed=seed)
        for candidate, layers in directions.sweep.items()
    ]
    return sorted(rows, key=lambda row: -row.validation)


def _judged_candidates(plain: Candidate, sweep: list[SweepRow]) -> dict[str, Candidate]:
    """Flattened and default kernel if made, and the best candidate of every readout, best first."""
    best = {row.candidate.readout: row.candidate for row in reversed(sweep)}
    others = [row.candidate for row in sweep if row.candidate == best[row.candidate.readout]]
    made = {row.candidate for row in sweep}
    named = {FLATTENED: plain, BY_DEFAULT: DEFAULT}
    named = {name: one for name, one in named.items() if one in made}
    return named | {f"eNTK, {one}": one for one in others if one not in named.values()}


def shown_kernels(candidates: Iterable[str], winner: str) -> list[str]:
    """The flattened and the default kernel if they are among the candidates, and the winner."""
    named = [name for name in candidates if name in (FLATTENED, BY_DEFAULT)]
    return list(dict.fromkeys([*named, winner]))


def _methods(
    judge: KeptJudging,
    candidates: dict[str, Candidate],
    directions: Directions,
    sweep: list[SweepRow],
    features: FeatureSet,
    seed: int,
) -> tuple[dict[str, Scores], dict[str, SweepRow]]:
    """Scores of every method that is judged, and what it reaches within the train half."""
    by_candidate = {row.candidate: row for row in sweep}
    rows = {name: by_candidate[candidate] for name, candidate in candidates.items()}
    methods = {name: scores_by_layer(directions.sweep[one]) for name, one in candidates.items()}
    others = {name: scores_by_layer(found) for name, found in directions.baselines.items()}
    for name, layers in others.items():
        rows[name] = judge.sweep_row(Candidate(name, "", ""), layers, features, seed=seed)
    return methods | others, rows


def _leading(layers: Scores, k: int) -> Scores:
    """Up to k directions of each layer."""
    return {layer: scores[:, :k] for layer, scores in layers.items()}


def _over_layers(
    judge: KeptJudging, layers: Scores, features: FeatureSet, seed: int
) -> DirectionTable:
    columns, names = over_layers(layers)
    return judge.table(columns, features, seed=seed, columns=names)


def _by_layer(
    judge: KeptJudging, layers: Scores, features: FeatureSet, seed: int
) -> dict[str, DirectionTable]:
    return {
        layer: judge.table(
            scores, features, seed=seed, n_bootstrap=_FEW_RESAMPLES, n_permutations=0
        )
        for layer, scores in layers.items()
    }


def _probe_layers(
    judge: KeptJudging, bases: Mapping[str, Scores], features: FeatureSet, seed: int
) -> dict[str, str]:
    """Basis to the layer from which ridge probes are best within the train half."""
    train, _ = halves(features, seed=seed)
    inside = features.rows(train)

    def reached(layers: Scores, layer: str) -> float:
        return judge.probe_validation(layers[layer][train], inside, seed)

    return {name: max(layers, key=partial(reached, layers)) for name, layers in bases.items()}


def _best_method(candidates: Iterable[str], validations: Mapping[str, float]) -> str:
    return max(candidates, key=lambda name: validations[name])
