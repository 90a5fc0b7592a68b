"""What a kernel must beat: states without any gradient, scaled and added as kernels are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.default_kernel.kernels import ALL, LATER, top_scores
from tl_entk.alignment.baselines import RANDOM, STANDARDIZED, leading_scores, random_directions
from tl_entk.alignment.model_baselines import LAYERED, PREDICTION, _States
from tl_entk.kernel.normalize import center
from tl_entk.model.adapters import adapt_transformer

# states that are scaled, added over layers, and multiplied with the prediction's
_COMBINED = ("PCA", "neurons", "attention output")
_PREDICTED = "predicted unembedding"


def rival_scores(model, tokens: Tensor, k: int, seed: int = 0) -> dict[str, dict[str, Tensor]]:
    """Baseline to layer to scores (n, k); what is one for all layers has the layer "all layers"."""
    adapter = adapt_transformer(model)
    layers = list(range(adapter.n_layers))
    names = [*LAYERED, *PREDICTION]
    reader = _States(adapter, adapter.check_tokens(tokens), names, layers, -1, 16)
    found = {RANDOM: {ALL: random_directions(len(tokens), k, seed)}}
    for name in LAYERED:
        found[name] = {
            layer: leading_scores(value, k, standardize=name == STANDARDIZED)
            for layer, value in reader.of_layers(name).items()
        }
    for name in PREDICTION:
        value = reader.of_prediction(name)
        found[name] = {ALL: leading_scores(value, k)}
        found[f"{name}, cosine"] = {ALL: top_scores(center(_cosines(value)), k)}
        found[f"{name}, standardized"] = {ALL: leading_scores(value, k, standardize=True)}
    unembedding = _cosines(reader.of_prediction(_PREDICTED))
    raw = _cosines(reader.of_prediction(_PREDICTED), False)
    for name in _COMBINED:
        states = reader.of_layers(name)
        kernels = {layer: _cosines(value) for layer, value in states.items()}
        found[f"{name}, cosine"] = _with_sums(kernels, k)
        # no gradient is needed for a kernel of states and prediction; as the eNTK's cosines are,
        # those of the second one are not of centered states
        products = {layer: kernel * unembedding for layer, kernel in kernels.items()}
        found[f"{name} x unembedding, centered states"] = _with_sums(products, k)
        plain = {layer: _cosines(value, False) * raw for layer, value in states.items()}
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


def _cosines(states: Tensor, centered: bool = True) -> Tensor:
    """Cosines of states, less their mean if wanted."""
    values = states.double()
    unit = normalize(values - values.mean(0) if centered else values, dim=1)
    return unit @ unit.T
