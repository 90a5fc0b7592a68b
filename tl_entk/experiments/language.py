"""The language-model experiment: grammar in eNTK directions, beside PCA, probes and chance.

Every method gives k directions per layer. Directions, signs, the best layer and the best way to
make a kernel are chosen on the train half of the windows; everything reported is of the test half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from feature_sets.feature_set import FeatureSet
from feature_sets.grammar import Rule
from tl_entk.adapters.loading import LanguageModel, load_language_model
from tl_entk.best_directions import DirectionTable, best_directions
from tl_entk.comparison import Comparison, compare
from tl_entk.eigen import EigenDirections
from tl_entk.experiments.clock import Clock
from tl_entk.experiments.language_data import LanguageData, language_data
from tl_entk.experiments.language_kernels import (
    Directions,
    language_directions,
    scores_by_layer,
)
from tl_entk.experiments.language_settings import LanguageSettings, run_name
from tl_entk.readout_sweep import Candidate, SweepRow, judge_sweep, over_layers, validation
from tl_entk.splitting import halves

FLATTENED, PCA, RANDOM = "eNTK, all logits", "PCA", "random"
BEST_READOUTS = 3


@dataclass(frozen=True, eq=False)
class LanguageResult:
    """Everything a report of one language model shows.

    Attributes:
        settings: of the run.
        model: model and tokenizer.
        data: windows, labels, activations.
        directions: of every method and layer.
        sweep: candidates by what they reach within the train half, best first.
        methods: method to layer to scores, of the methods that are judged on the test half: the
            flattened kernel, the best candidate of each of the best readouts, PCA, random.
        tables: method to best directions over all layers.
        by_layer: method to layer to best directions of that layer.
        probes: method to probes on its k scores at its best layer; the flattened kernel and the
            winner.
        validations: method to what it reaches within the train half, best over layers.
        best_layer: method to the layer that is best there.
        seconds: part to wall time.
    """

    settings: LanguageSettings
    model: LanguageModel
    data: LanguageData
    directions: Directions
    sweep: list[SweepRow]
    methods: dict[str, dict[str, Tensor]]
    tables: dict[str, DirectionTable]
    by_layer: dict[str, dict[str, DirectionTable]]
    probes: dict[str, Comparison]
    validations: dict[str, float]
    best_layer: dict[str, str]
    seconds: dict[str, float]

    @property
    def entk_methods(self) -> list[str]:
        """The methods that are neither PCA nor random."""
        return _entk(self.methods)

    @property
    def model_info(self) -> dict[str, Any]:
        """Name, class and sizes of the model."""
        cfg = self.model.model.cfg
        return {
            "name": self.model.name,
            "class": self.model.model_class,
            "layers": cfg.n_layers,
            "d_model": cfg.d_model,
            "d_vocab": cfg.d_vocab,
            "parameters": sum(p.numel() for p in self.model.model.parameters()),
        }

    def eigen(self, method: str) -> dict[str, EigenDirections]:
        """Layer to eigendirections of an eNTK method."""
        if method == FLATTENED:
            return self.directions.flattened
        return self.directions.sweep[self.candidates[method]]

    @property
    def candidates(self) -> dict[str, Candidate]:
        """Name of the method to the sweep's candidate."""
        return {method_name(row.candidate): row.candidate for row in self.sweep}

    def decode(self, token: int) -> str:
        """Text of one token."""
        return str(self.model.tokenizer.decode([token]))

    @property
    def winner(self) -> str:
        """The eNTK method that is best within the train half."""
        return _winner(self.validations)


def run_language(
    settings: LanguageSettings,
    folder: str | Path,
    *,
    device: str = "cpu",
    own: dict[str, Rule] | None = None,
    memory_budget: int | None = None,
    progress: bool = False,
) -> LanguageResult:
    """Load the model, make windows and labels, compute and judge every method's directions.

    Windows, eigendirections and the solver's checkpoints are kept in the folder: an interrupted
    run goes on, a second one reuses them.

    Args:
        settings: model, text, windows, kernels.
        folder: of all runs; this one's is named by its settings.
        device: where to compute.
        own: your own labels, as for :func:`feature_sets.grammar`.
        memory_budget: bytes for the kernels' temporaries (default 4 GiB).
        progress: show estimates and bars.

    Raises:
        ValueError, OSError: for settings, models or data that cannot be meant; with the mend.

    Source: arXiv 2510.00468, section 5.
    """
    home = Path(folder) / run_name(settings)
    clock = Clock()
    language_model = load_language_model(
        settings.model, model_class=settings.model_class, device=device
    )
    settings.check_model(language_model.model)
    clock.lap("model")
    data = language_data(settings, language_model, home, own=own, progress=progress)
    clock.lap("windows and labels")
    directions = language_directions(
        settings,
        language_model.model,
        data,
        home,
        memory_budget=memory_budget,
        progress=progress,
    )
    clock.lap("kernels and eigendirections")
    sweep = judge_sweep(directions.sweep, data.features, seed=settings.seed)
    methods = _methods(directions, sweep)
    features, seed = data.features, settings.seed
    train, _ = halves(features, seed=seed)
    inside = features.rows(train)
    tables, by_layer, validations, best_layer = {}, {}, {}, {}
    for name, layers in methods.items():
        columns, names = over_layers(layers)
        tables[name] = best_directions(columns, features, seed=seed, columns=names)
        validations[name] = validation(columns[train], inside, seed)
        by_layer[name] = {
            layer: best_directions(scores, features, seed=seed, n_bootstrap=200, n_permutations=0)
            for layer, scores in layers.items()
        }
        best_layer[name] = _best_layer(layers, train, inside, seed)
    clock.lap("best directions")
    probes = {}
    for name in dict.fromkeys([FLATTENED, _winner(validations)]):
        layer = best_layer[name]
        activations = data.activations.get(layer, data.activations[best_layer[PCA]])
        probes[name] = compare(
            methods[name][layer], features, activations, seed=seed, probe=settings.probe
        )
    clock.lap("probes")
    return LanguageResult(
        settings,
        language_model,
        data,
        directions,
        sweep,
        methods,
        tables,
        by_layer,
        probes,
        validations,
        best_layer,
        clock.seconds,
    )


def method_name(candidate: Candidate) -> str:
    """What a candidate is called among the methods."""
    return f"eNTK, {candidate}"


def _methods(directions: Directions, sweep: list[SweepRow]) -> dict[str, dict[str, Tensor]]:
    """The flattened kernel, the best candidate of each of the best readouts, PCA and random."""
    methods = {FLATTENED: scores_by_layer(directions.flattened)}
    seen: set[str] = set()
    for row in sweep:
        if row.candidate.readout in seen or len(seen) == BEST_READOUTS:
            continue
        seen.add(row.candidate.readout)
        methods[method_name(row.candidate)] = scores_by_layer(directions.sweep[row.candidate])
    methods[PCA] = scores_by_layer(directions.pca)
    methods[RANDOM] = scores_by_layer(directions.random)
    return methods


def _entk(methods: Mapping[str, Any]) -> list[str]:
    return [name for name in methods if name not in (PCA, RANDOM)]


def _winner(validations: Mapping[str, float]) -> str:
    return max(_entk(validations), key=lambda name: validations[name])


def _best_layer(
    layers: Mapping[str, Tensor], train: np.ndarray, inside: FeatureSet, seed: int
) -> str:
    """The layer whose directions are best within the train half."""
    return max(layers, key=lambda layer: validation(layers[layer][train], inside, seed))
