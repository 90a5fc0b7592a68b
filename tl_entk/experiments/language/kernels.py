"""Directions of the language-model experiment: flattened kernels layer by layer, and the sweep."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.feature_set import FeatureSet
from tl_entk.alignment.attribution import component_shares
from tl_entk.alignment.model_baselines import PREDICTION, OwnBaseline, baseline_scores
from tl_entk.alignment.readout_sweep import (
    OF_ALL_LAYERS,
    TOGETHER,
    Candidate,
    sweep_directions,
)
from tl_entk.compressed.eigendirections import all_eigendirections
from tl_entk.directions.eigen import EigenDirections
from tl_entk.experiments.language.data import LanguageData
from tl_entk.experiments.language.kept_judging import content_key, read_if_whole
from tl_entk.experiments.language.settings import LanguageSettings
from tl_entk.kernel.blocks import kernel_blocks, list_components
from tl_entk.kernel.normalizations import NORMALIZATIONS
from tl_entk.model.provenance import hash_of
from tl_entk.operator.normalized_operator import gradient_norms
from tl_entk.operator.top_directions import top_eigendirections
from tl_entk.results import load, save
from tl_entk.tools.files import read_tensors, write_kept, write_tensors

# the readout that features are shared out with: no label, one backward pass
SHARES_READOUT = "logsumexp"
# what the flattened kernel is called among the readouts
ALL_LOGITS = "all logits"
# says which windows a folder of kernels is of
WINDOWS = "windows.json"
# what files of tensors are
_NORMS, _BASELINE = "norms", "baseline"

# counts the ways that outputs to compress to were found in, so that none is taken for another
_METHOD = 2

Layers = dict[str, EigenDirections]


@dataclass(frozen=True, eq=False)
class Directions:
    """Everything that is compared, by layer.

    Attributes:
        flattened: eigendirections of the flattened kernel of one weight of each layer; empty where
            the settings leave it out.
        sweep: every candidate: the flattened kernel, plain and normalized, and dense kernels of
            scalar readouts.
        baselines: baseline to layer to scores.
        shares: feature to component to share of the feature's kernel energy; empty where the
            settings leave them out.
    """

    flattened: Layers
    sweep: dict[Candidate, Layers]
    baselines: dict[str, dict[str, Tensor]]
    shares: dict[str, dict[str, float]]


def language_directions(
    settings: LanguageSettings,
    model: Any,
    data: LanguageData,
    folder: Path,
    *,
    own_baselines: Mapping[str, OwnBaseline] | None = None,
    memory_budget: int | None = None,
    progress: bool = False,
) -> Directions:
    """Compute, or take up from the folder, the directions of every layer and method.

    Args:
        settings: of the run.
        model: in evaluation mode.
        data: windows, labels, activations.
        folder: where eigendirections and solver checkpoints lie, of one weight, k and tolerance.
        own_baselines: as for :func:`tl_entk.baseline_scores`.
        memory_budget: bytes.
        progress: show estimates and bars.
    """
    tokens, layers = data.windows.tokens, list(data.activations)
    kept = KernelFolder(settings, model, tokens, layers, folder, memory_budget, progress)
    plain = plain_candidate(settings)
    sweep: dict[Candidate, Layers] = {}
    if settings.all_logits:
        for name in dict.fromkeys((plain.normalization, *settings.normalizations)):
            sweep[plain._replace(normalization=name)] = kept.flattened(name)
    for readout in settings.readouts:
        sweep |= kept.of_readout(readout)
    return Directions(
        sweep.get(plain, {}),
        sweep,
        kept.of_baselines(settings.every_baseline, own_baselines),
        kept.shares(data.features) if settings.shares else {},
    )


def plain_candidate(settings: LanguageSettings) -> Candidate:
    """What the flattened kernel is called in the sweep."""
    return Candidate(ALL_LOGITS, settings.component, "plain")


@dataclass(frozen=True, eq=False)
class KernelFolder:
    """Directions of one model on its windows; what the folder has of them is not computed again.

    Attributes:
        settings: of the run.
        model: in evaluation mode.
        tokens: (n, t) windows.
        layers: which layers.
        folder: where eigendirections and solver checkpoints lie.
        memory_budget: bytes.
        progress: show estimates and bars.
    """

    settings: LanguageSettings
    model: Any
    tokens: Int[Tensor, "n t"]
    layers: list[str]
    folder: Path
    memory_budget: int | None
    progress: bool

    def __post_init__(self) -> None:
        """Clear the folder unless it says that what it has is of these windows."""
        path, windows = self.folder / WINDOWS, {"windows": hash_of(self.tokens)}
        if read_if_whole(path) != windows:
            for pattern in ("layer_*", "compressed-*", "sweep/*", "baselines/*"):
                for old in self.folder.glob(f"{pattern}.safetensors"):
                    old.unlink()
            write_kept(path, windows)

    def flattened(self, normalization: str) -> Layers:
        """Directions of the flattened kernel of every layer."""
        if self.settings.exact or normalization != "plain":
            return {layer: self._flattened(layer, normalization) for layer in self.layers}
        return self._compressed()

    def _compressed(self) -> Layers:
        """Those of all layers at once, nearly; which outputs are kept depends on the layers."""
        chosen = hash_of(torch.tensor([_METHOD, self.settings.outputs, *map(int, self.layers)]))[:8]
        path = self.folder / f"compressed-{chosen}.safetensors"
        kept = load(path) if path.exists() else None
        if isinstance(kept, dict):
            return kept
        found = all_eigendirections(
            self.model,
            self.tokens,
            {layer: f"blocks.{layer}.{self.settings.weight}" for layer in self.layers},
            self.settings.k,
            outputs=self.settings.outputs,
            tol=self.settings.tol,
            seed=self.settings.seed,
            memory_budget=self.memory_budget,
            progress=self.progress,
        )
        save(found, path)
        return found

    def _flattened(self, layer: str, normalization: str) -> EigenDirections:
        end = "" if normalization == "plain" else f" {normalization}"
        path = self.folder / f"layer_{layer}{end}.safetensors"
        if path.exists() and isinstance(kept := load(path), EigenDirections):
            return kept
        basis = path.with_name(f"layer_{layer}{end}.basis.safetensors")
        found = top_eigendirections(
            self.model,
            self.tokens,
            f"blocks.{layer}.{self.settings.weight}",
            self.settings.k,
            normalization=normalization,
            norms=self._norms(layer) if NORMALIZATIONS[normalization].cosine else None,
            tol=self.settings.tol,
            seed=self.settings.seed,
            resume=basis,
            memory_budget=self.memory_budget,
            progress=self.progress,
        )
        save(found, path)
        basis.unlink(missing_ok=True)
        return found

    def _norms(self, layer: str) -> Float[Tensor, " n"]:
        """Gradient norms of the flattened kernel, for every normalization by cosines."""
        path = self.folder / f"layer_{layer}.norms.safetensors"
        if path.exists():
            return read_tensors(path, _NORMS).tensors["norms"]
        found = gradient_norms(
            self.model,
            self.tokens,
            f"blocks.{layer}.{self.settings.weight}",
            memory_budget=self.memory_budget,
            progress=self.progress,
        )
        write_tensors(path, {"norms": found}, kind=_NORMS)
        return found

    def of_readout(self, readout: str) -> dict[Candidate, Layers]:
        """Directions of every component and normalization of a readout."""
        path = self.folder / "sweep" / f"{readout}.safetensors"
        kept = _load_candidates(path) if path.exists() else {}
        chosen = self._choose(kept)
        if chosen is not None:
            return chosen
        found = sweep_directions(
            self.model,
            self.tokens,
            [readout],
            layers=[int(layer) for layer in self.layers],
            components=self.settings.components,
            k=self.settings.k,
            memory_budget=self.memory_budget,
            seed=self.settings.seed,
            progress=self.progress,
        )
        # other components and layers, of other runs, stay
        both = {one: kept.get(one, {}) | found.get(one, {}) for one in {**kept, **found}}
        _save_candidates(both, path)
        return found

    def _choose(self, found: dict[Candidate, Layers]) -> dict[Candidate, Layers] | None:
        """The settings' components and layers of what is there; None if one is missing."""
        chosen: dict[Candidate, Layers] = {}
        for candidate, layers in found.items():
            if candidate.component in self.settings.components:
                # of all layers together there is one kernel, of these layers or of others
                names = [TOGETHER] if candidate.component in OF_ALL_LAYERS else self.layers
                if not set(names) <= set(layers):
                    return None
                chosen[candidate] = {name: layers[name] for name in names}
        there = {candidate.component for candidate in chosen}
        return chosen if there == set(self.settings.components) else None

    def of_baselines(
        self, names: Sequence[str], own: Mapping[str, OwnBaseline] | None = None
    ) -> dict[str, dict[str, Tensor]]:
        """Baseline to layer, or to all layers together, to scores; own ones are not kept."""
        found = {name: self._kept_baseline(name) for name in names}
        missing = [name for name, kept in found.items() if kept is None]
        if not missing and not own:
            return {name: kept for name, kept in found.items() if kept is not None}
        computed = baseline_scores(
            self.model,
            self.tokens,
            self.settings.k,
            missing,
            layers=[int(layer) for layer in self.layers],
            own=own,
            k_prediction=self._k_prediction,
            seed=self.settings.seed,
        )
        for name in missing:
            layers = {self._kept_name(layer): x.cpu() for layer, x in computed[name].items()}
            path = self._baseline_file(name)
            # other layers, of other runs, stay
            kept = read_tensors(path, _BASELINE).tensors if path.exists() else {}
            write_tensors(path, kept | layers, kind=_BASELINE)
        return {name: kept or computed[name] for name, kept in found.items()} | {
            name: computed[name] for name in own or {}
        }

    def shares(self, features: FeatureSet) -> dict[str, dict[str, float]]:
        """Where each feature's energy is: every weight and head, of the centered kernel.

        Of the layers asked for, and of what is in none.
        """
        path = self.folder / "shares.json"
        kept, key = read_if_whole(path), content_key(SHARES_READOUT, self.layers, features)
        if key in kept:
            return dict(kept[key])
        blocks = kernel_blocks(
            self.model,
            self.tokens,
            SHARES_READOUT,
            # names, which other processes can be sent
            list(filter(share_components(self.layers), list_components(self.model))),
            memory_budget=self.memory_budget,
            progress=self.progress,
        )
        values = torch.from_numpy(features.values)
        values = values - values.mean(0)
        found = {
            name: component_shares(blocks, values[:, index])
            for index, name in enumerate(features.names)
        }
        # those of other labels and layers, of other runs, stay
        write_kept(path, {**kept, key: found})
        return found

    @property
    def _k_prediction(self) -> int:
        """As many directions to choose from as a method of every layer has."""
        return self.settings.k * len(self.layers)

    def _baseline_file(self, name: str) -> Path:
        return self.folder / "baselines" / f"{name}.safetensors"

    def _kept_baseline(self, name: str) -> dict[str, Tensor] | None:
        path = self._baseline_file(name)
        kept = read_tensors(path, _BASELINE).tensors if path.exists() else {}
        if name in PREDICTION:
            # the leading ones of more directions are those of fewer
            widths = {key: int(key.split()[1]) for key in kept if key.startswith(f"{TOGETHER}, ")}
            enough = [key for key, width in widths.items() if width >= self._k_prediction]
            return {TOGETHER: kept[enough[0]][:, : self._k_prediction]} if enough else None
        there = set(self.layers) <= set(kept)
        return {layer: kept[layer] for layer in self.layers} if there else None

    def _kept_name(self, layer: str) -> str:
        """What a layer's scores are called in the baseline's file."""
        return f"{TOGETHER}, {self._k_prediction} directions" if layer == TOGETHER else layer


def _save_candidates(found: dict[Candidate, Layers], path: Path) -> None:
    """Directions by candidate and layer as one file; their names in it are JSON."""
    save(
        {
            json.dumps([*candidate, layer]): directions
            for candidate, layers in found.items()
            for layer, directions in layers.items()
        },
        path,
    )


def _load_candidates(path: Path) -> dict[Candidate, Layers]:
    """What :func:`_save_candidates` wrote."""
    found: dict[Candidate, Layers] = {}
    kept = load(path)
    assert isinstance(kept, dict)
    for name, directions in kept.items():
        *candidate, layer = json.loads(name)
        found.setdefault(Candidate(*candidate), {})[layer] = directions
    return found


def share_components(layers: Iterable[str]) -> Callable[[str], bool]:
    """Every weight and head of some layers, and what is in none."""
    chosen = set(layers)
    return lambda name: not name.startswith("blocks.") or name.split(".")[1] in chosen


def scores_by_layer(found: Mapping[str, EigenDirections | Tensor]) -> dict[str, Tensor]:
    """Scores (n, k) of every layer, in float64."""
    return {
        layer: (value.scores if isinstance(value, EigenDirections) else value).cpu().double()
        for layer, value in found.items()
    }
