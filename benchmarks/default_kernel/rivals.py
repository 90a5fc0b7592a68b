"""What a kernel must beat: states without any gradient, scaled and added as kernels are."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.default_kernel.kernels import ALL, LATER, top_scores
from tl_entk.alignment.baselines import cosines, leading_scores, random_directions
from tl_entk.alignment.model_states import ModelStates
from tl_entk.alignment.names import (
    ATTENTION,
    LAYERED,
    NEURONS,
    PREDICTED,
    PREDICTION,
    RANDOM,
    RESIDUAL,
    STANDARDIZED,
    STATES,
)
from tl_entk.kernel.normalize import center
from tl_entk.model.adapters import adapt_transformer


def rival_scores(model, tokens: Tensor, k: int, seed: int = 0) -> dict[str, dict[str, Tensor]]:
    """Baseline to layer to scores (n, k); what is one for all layers has the layer "all layers"."""
    adapter = adapt_transformer(model)
    layers = list(range(adapter.n_layers))
    reader = ModelStates(adapter, adapter.check_tokens(tokens), layers)
    found = {RANDOM: {ALL: random_directions(len(tokens), k, seed)}}
    for name in LAYERED:
        found[name] = {
            layer: leading_scores(value, k, standardize=name == STANDARDIZED)
            for layer, value in reader.of_layers(STATES[name]).items()
        }
    for name in PREDICTION:
        value = reader.of_prediction(name)
        found[name] = {ALL: leading_scores(value, k)}
        found[f"{name}, cosine"] = {ALL: top_scores(center(cosines(value, centered=True)), k)}
        found[f"{name}, standardized"] = {ALL: leading_scores(value, k, standardize=True)}
    predicted = reader.of_prediction(PREDICTED)
    unembedding, raw = cosines(predicted, centered=True), cosines(predicted)
    for name in (RESIDUAL, NEURONS, ATTENTION):
        states = reader.of_layers(name)
        kernels = {layer: cosines(value, centered=True) for layer, value in states.items()}
        found[f"{name}, cosine"] = _with_sums(kernels, k)
        # no gradient is needed for a kernel of states and prediction; as the eNTK's cosines are,
        # those of the second one are not of centered states
        products = {layer: kernel * unembedding for layer, kernel in kernels.items()}
        found[f"{name} x unembedding, centered states"] = _with_sums(products, k)
        plain = {layer: cosines(value) * raw for layer, value in states.items()}
        found[f"{name} x unembedding"] = _with_sums(plain, k, centered=False)
        together = torch.cat(list(states.values()), 1)
        found[f"{name}, standardized"] = {ALL: leading_scores(together, k, standardize=True)}
    return found


def _with_sums(kernels: dict[str, Tensor], k: int, *, centered: bool = True) -> dict[str, Tensor]:
    """Directions of every layer's kernel, of their sum and of the sum over the later half."""
    several = list(kernels.values())
    sums = {ALL: sum(several), LATER: sum(several[len(several) // 2 :])}
    every = {**kernels, **sums}
    return {
        layer: top_scores(center(kernel) if centered else kernel, k)
        for layer, kernel in every.items()
    }
