"""What a kernel must beat: states without any gradient, scaled and added as kernels are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.default_kernel.kernels import ALL, LATER, top_scores
from tl_entk.alignment.baselines import leading_scores
from tl_entk.alignment.model_baselines import BASELINES, PREDICTION, RANDOM, baseline_scores
from tl_entk.alignment.readout_sweep import TOGETHER
from tl_entk.kernel.normalize import center
from tl_entk.model.adapters import adapt_transformer

# read in every layer
_STATES = ("PCA", "neurons", "attention output")


def rival_scores(model, tokens: Tensor, k: int, seed: int = 0) -> dict[str, dict[str, Tensor]]:
    """Baseline to layer to scores (n, k); what is one for all layers has the layer "all layers"."""
    found = {
        name: {ALL if layer == TOGETHER else layer: scores for layer, scores in layers.items()}
        for name, layers in baseline_scores(model, tokens, k, list(BASELINES), seed=seed).items()
    }
    states = _states(model, tokens)
    tokens_of = {name: states.pop(name)[ALL] for name in PREDICTION}
    unembedding = _cosines(tokens_of["predicted unembedding"])
    for name, values in tokens_of.items():
        found[f"{name}, cosine"] = {ALL: top_scores(center(_cosines(values)), k)}
        found[f"{name}, standardized"] = {ALL: leading_scores(values, k, standardize=True)}
    for name, layers in states.items():
        by_layer = {layer: _cosines(values) for layer, values in layers.items()}
        products = {layer: kernel * unembedding for layer, kernel in by_layer.items()}
        for kind, kernels in ((f"{name}, cosine", by_layer), (f"{name} x unembedding", products)):
            scores = {layer: top_scores(center(kernel), k) for layer, kernel in kernels.items()}
            half = len(kernels) // 2
            scores[ALL] = top_scores(center(sum(kernels.values())), k)
            scores[LATER] = top_scores(center(sum(list(kernels.values())[half:])), k)
            found[kind] = scores
        both = torch.cat(list(layers.values()), 1)
        found[f"{name}, all layers standardized"] = {ALL: leading_scores(both, k, standardize=True)}
    assert RANDOM in found
    return found


def _states(model, tokens: Tensor) -> dict[str, dict[str, Tensor]]:
    """Raw states by baseline and layer, through the library's own reading of them."""
    from tl_entk.alignment.model_baselines import _States

    adapter = adapt_transformer(model)
    layers = list(range(adapter.n_layers))
    names = [*_STATES, *PREDICTION]
    reader = _States(adapter, adapter.check_tokens(tokens), names, layers, -1, 16)
    return {name: reader.of_layers(name) for name in _STATES} | {
        name: {ALL: reader.of_prediction(name)} for name in PREDICTION
    }


def _cosines(states: Tensor) -> Tensor:
    """Cosines of states less their mean."""
    values = states.double() - states.double().mean(0)
    unit = normalize(values, dim=1)
    return unit @ unit.T
