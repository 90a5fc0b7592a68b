"""Directions of the language-model experiment: flattened kernels layer by layer, and the sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from tl_entk.attribution import component_shares
from tl_entk.baselines import pca_scores, random_directions
from tl_entk.blocks import kernel_blocks
from tl_entk.eigen import EigenDirections
from tl_entk.experiments.language_data import LanguageData
from tl_entk.experiments.language_settings import LanguageSettings
from tl_entk.provenance import hash_of
from tl_entk.readout_sweep import Candidate, sweep_directions
from tl_entk.results import load, save
from tl_entk.top_directions import top_eigendirections

# the readout that features are shared out with: no label, one backward pass
SHARES_READOUT = "logsumexp"

Layers = dict[str, EigenDirections]


@dataclass(frozen=True, eq=False)
class Directions:
    """Everything that is compared, by layer.

    Attributes:
        flattened: eigendirections of the flattened kernel of one weight of each layer.
        sweep: those of dense kernels of scalar readouts.
        pca: scores on principal components of the residual stream.
        random: as many random directions.
        shares: feature to component to share of the feature's kernel energy.
    """

    flattened: Layers
    sweep: dict[Candidate, Layers]
    pca: dict[str, Tensor]
    random: dict[str, Tensor]
    shares: dict[str, dict[str, float]]


def language_directions(
    settings: LanguageSettings,
    model: Any,
    data: LanguageData,
    folder: Path,
    *,
    memory_budget: int | None = None,
    progress: bool = False,
) -> Directions:
    """Compute, or take up from the folder, the directions of every layer and method.

    Args:
        settings: of the run.
        model: in evaluation mode.
        data: windows, labels, activations.
        folder: where eigendirections and solver checkpoints lie.
        memory_budget: bytes.
        progress: show estimates and bars.
    """
    tokens, layers = data.windows.tokens, list(data.activations)
    n = len(tokens)
    flattened = {
        layer: _flattened(settings, model, tokens, layer, folder, memory_budget, progress)
        for layer in layers
    }
    sweep = (
        sweep_directions(
            model,
            tokens,
            settings.readouts,
            layers=[int(layer) for layer in layers],
            components=settings.components,
            k=settings.k,
            memory_budget=memory_budget,
            seed=settings.seed,
            progress=progress,
        )
        if settings.readouts
        else {}
    )
    return Directions(
        flattened,
        sweep,
        {layer: pca_scores(found, settings.k) for layer, found in data.activations.items()},
        {layer: random_directions(n, settings.k, settings.seed + int(layer)) for layer in layers},
        _shares(model, data, memory_budget),
    )


def _flattened(
    settings: LanguageSettings,
    model: Any,
    tokens: Int[Tensor, "n t"],
    layer: str,
    folder: Path,
    memory_budget: int | None,
    progress: bool,
) -> EigenDirections:
    path = folder / "eigen" / f"layer_{layer}.safetensors"
    if path.exists():
        kept = load(path)
        hash_now = hash_of(tokens)
        if isinstance(kept, EigenDirections) and kept.provenance["tokens_sha256"] == hash_now:
            return kept
    basis = path.with_name(f"layer_{layer}.basis.safetensors")
    found = top_eigendirections(
        model,
        tokens,
        f"blocks.{layer}.{settings.weight}",
        settings.k,
        tol=settings.tol,
        seed=settings.seed,
        resume=basis,
        memory_budget=memory_budget,
        progress=progress,
    )
    save(found, path)
    basis.unlink(missing_ok=True)
    return found


def _shares(
    model: Any, data: LanguageData, memory_budget: int | None
) -> dict[str, dict[str, float]]:
    """Where each feature's energy is: every weight and head, of the centred kernel."""
    blocks = kernel_blocks(
        model,
        data.windows.tokens,
        SHARES_READOUT,
        lambda name: True,
        memory_budget=memory_budget,
    )
    values = torch.from_numpy(data.features.values)
    values = values - values.mean(0)
    return {
        name: component_shares(blocks, values[:, index])
        for index, name in enumerate(data.features.names)
    }


def scores_by_layer(found: Mapping[str, EigenDirections | Tensor]) -> dict[str, Tensor]:
    """Scores (n, k) of every layer, in float64."""
    return {
        layer: (value.scores if isinstance(value, EigenDirections) else value).cpu().double()
        for layer, value in found.items()
    }
