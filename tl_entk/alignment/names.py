"""Names of baselines, states, components and probes, and what each is; without torch.

The command line and the settings of experiments read them for their helps and checks.
"""

from __future__ import annotations

from typing import Literal

from tl_entk.directions.default_kernel import DEFAULT_WEIGHTS

Probe = Literal["logistic", "ridge"]
PCA, STANDARDIZED, RANDOM = "PCA", "standardized PCA", "random"
ALL_ACTIVATIONS = "all activations"

RESIDUAL, NORMED, NEURONS, ATTENTION = "residual", "normed", "neurons", "attention output"
# states of a layer
LAYER_STATES = (RESIDUAL, NORMED, NEURONS, ATTENTION)
# states of the prediction
FINAL_HIDDEN, LOG_PROBABILITIES = "final hidden", "log-probabilities"
PREDICTED, EXPECTED = "predicted unembedding", "expected unembedding"

NORMED_PCA = "normed PCA"
# principal components of the states of every layer: name to what it is, for reports
LAYERED = {
    PCA: "PCA of the residual stream after the layer (the paper's baseline)",
    STANDARDIZED: "the same, every activation divided by its standard deviation first",
    NORMED_PCA: "PCA of the residual stream after the norm that reads it next",
    NEURONS: "PCA of the layer's neurons, the inputs of W_out",
    ATTENTION: "PCA of what the layer's attention writes",
}
# kernels of the states of every layer and of the prediction, which need no gradient
PRODUCTS = {
    f"{name} x unembedding": "leading eigenvectors of the cosines of "
    f"{what}, times the cosines of the predicted token's unembedding"
    for name, what in {
        RESIDUAL: "the residual stream after the layer",
        NEURONS: "the layer's neurons",
        ATTENTION: "what the layer's attention writes",
    }.items()
}
# principal components of what the model predicts
PREDICTION = {
    FINAL_HIDDEN: "PCA of the vector that the unembedding reads",
    LOG_PROBABILITIES: "PCA of the log-probabilities of the 1000 likeliest tokens",
    PREDICTED: "PCA of the unembedding vector of the most probable token",
    EXPECTED: "PCA of the unembedding vectors' mean under the prediction",
}
BASELINES = {**LAYERED, **PRODUCTS, **PREDICTION, RANDOM: "random directions: chance"}
# baseline of every layer to the states it is made of
STATES = {PCA: RESIDUAL, STANDARDIZED: RESIDUAL, NORMED_PCA: NORMED} | {
    name: name.removesuffix(" x unembedding") for name in (NEURONS, ATTENTION, *PRODUCTS)
}

ALL_LAYERS, LATER_LAYERS = "all layers", "later layers"
# what the kernel of a layer is made of; of the later half of the layers, every weight's kernel is
# normalized before it is added
COMPONENTS: dict[str, tuple[str, ...]] = {
    "W_out": ("blocks.{layer}.mlp.W_out",),
    "W_in": ("blocks.{layer}.mlp.W_in",),
    "W_O": ("blocks.{layer}.attn.W_O",),
    "whole layer": ("blocks.{layer}.*",),
    ALL_LAYERS: ("blocks.*",),
    LATER_LAYERS: tuple(f"blocks.{{layer}}.{weight}" for weight in DEFAULT_WEIGHTS),
}
# components that are one for all layers, and what their layer is called among the others
OF_ALL_LAYERS = (ALL_LAYERS, LATER_LAYERS)
TOGETHER = "all"
