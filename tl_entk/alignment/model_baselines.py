"""Baselines of a language model by name: what its own states tell, in as many directions.

A kernel of weights is worth its trouble only where it finds more than these do. Some are read in
every layer; those that know nothing but the prediction are one for all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxtyping import Int
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.alignment.baselines import leading_scores, product_scores, random_directions
from tl_entk.alignment.model_states import ModelStates, missing_state
from tl_entk.alignment.names import (
    ALL_ACTIVATIONS,
    BASELINES,
    PREDICTED,
    PREDICTION,
    PRODUCTS,
    RANDOM,
    STANDARDIZED,
    STATES,
    TOGETHER,
)
from tl_entk.alignment.names import PCA as PCA
from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.checks import Position, check_model
from tl_entk.tools.arrays import to_tensor
from tl_entk.tools.values import (
    check_at_least,
    check_kind,
    check_place,
    check_seed,
    read_list,
    read_names,
)

# model, windows -> (n, m) states or scores, or layer to these
OwnBaseline = Callable[[Any, Tensor], Tensor | Mapping[str, Tensor]]


def baseline_scores(
    model: Any,
    tokens: Int[Tensor, "n t"],
    k: int = 25,
    names: Sequence[str] | None = None,
    *,
    layers: Sequence[int] | None = None,
    position: Position = -1,
    own: Mapping[str, OwnBaseline] | None = None,
    k_prediction: int | None = None,
    seed: int = 0,
    batch_size: int = 16,
) -> dict[str, dict[str, Tensor]]:
    """Scores of the k leading directions of every baseline.

    Args:
        model: a TransformerLens model, in evaluation mode.
        tokens: (n, t) windows.
        k: directions of each; fewer where a baseline has fewer.
        names: among ``BASELINES``; default all.
        layers: which layers; default all.
        position: where states are read.
        own: your own: name to a function of model and windows that gives states (n, m), or layer to
            states; wider ones than k are reduced to their k leading principal components.
        k_prediction: directions of the baselines of the prediction, which are one for all layers:
            k times the layers gives them what a method of every layer has. Default k.
        seed: of the random directions.
        batch_size: windows per forward pass.

    Returns:
        Baseline to layer to scores (n, k); the layer of a baseline of the prediction is "all".

    Raises:
        UserError: for an unknown baseline, one that is called as one of these, or an own one of
            another number of examples.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> found = baseline_scores(model, data.tokens, 3, ["PCA", "predicted unembedding"])
        >>> {name: list(layers) for name, layers in found.items()}
        {'PCA': ['0'], 'predicted unembedding': ['all']}
    """
    check_kind("own", own, (Mapping, type(None)), "a mapping from names to functions")
    own = dict(own or {})
    names = list(BASELINES) if names is None else read_names("names", names, some=False)
    _check_names(names, own)
    check_at_least("k", k)
    check_at_least("k_prediction", k if k_prediction is None else k_prediction)
    check_at_least("batch_size", batch_size)
    check_seed(seed)
    adapter = adapt_transformer(model)
    check_baselines(model, names)
    check_model(adapter)
    tokens = adapter.check_tokens(tokens)
    chosen = read_layers(layers, adapter.n_layers)
    read = {STATES[name] for name in names if name in STATES}
    states = ModelStates(adapter, tokens, chosen, read, position, batch_size)
    found: dict[str, dict[str, Tensor]] = {}
    for name in names:
        if name == RANDOM:
            found[name] = {
                str(layer): random_directions(len(tokens), min(k, len(tokens)), seed + layer)
                for layer in chosen
            }
        elif name in PREDICTION:
            found[name] = {TOGETHER: leading_scores(states.of_prediction(name), k_prediction or k)}
        elif name in PRODUCTS:
            predicted = states.of_prediction(PREDICTED)
            found[name] = {
                layer: product_scores([value, predicted], k)
                for layer, value in states.of_layers(STATES[name]).items()
            }
        else:
            found[name] = {
                layer: leading_scores(value, k, standardize=name == STANDARDIZED)
                for layer, value in states.of_layers(STATES[name]).items()
            }
    for name, rule in own.items():
        given = rule(model, tokens)
        parts = given if isinstance(given, Mapping) else {TOGETHER: given}
        for layer in parts:
            if layer != TOGETHER and str(layer) not in map(str, range(adapter.n_layers)):
                raise UserError(
                    f"baseline {name!r} has a layer {layer!r}: give layers as numbers, or one "
                    "tensor for them all."
                )
        found[name] = {str(layer): _own_scores(name, x, tokens, k) for layer, x in parts.items()}
    return found


def _check_names(names: Sequence[str], own: Mapping[str, OwnBaseline]) -> None:
    for name in names:
        if name not in BASELINES:
            raise UserError(f"no baseline {name!r}: there are {'; '.join(BASELINES)}.")
    for name, rule in own.items():
        if not callable(rule):
            raise UserError(
                f"baseline {name!r} is a {type(rule).__name__}: pass a function of model and "
                "windows."
            )
        if name in BASELINES or name.startswith("eNTK") or name == ALL_ACTIVATIONS:
            raise UserError(f"your baseline {name!r} has the name of another: choose a new one.")


def _own_scores(name: str, states: Any, tokens: Tensor, k: int) -> Tensor:
    if not isinstance(states, Tensor) or states.ndim != 2 or len(states) != len(tokens):
        shape = tuple(states.shape) if isinstance(states, Tensor) else type(states).__name__
        raise UserError(
            f"baseline {name!r} gives {shape} for {len(tokens)} windows: return a tensor "
            f"({len(tokens)}, m), or layer to such tensors."
        )
    found = to_tensor(states, f"baseline {name!r}")
    if not bool(found.isfinite().all()):
        raise UserError(f"baseline {name!r} gives values that are not finite.")
    return found.double() if found.shape[1] <= k else leading_scores(found, k)


def read_layers(layers: Sequence[int] | None, n_layers: int) -> list[int]:
    """The layers asked for; all by default.

    Raises:
        UserError: for none, or one that the model does not have.
    """
    if layers is None:
        return list(range(n_layers))
    found = read_list("layers", layers, "integers")
    for layer in found:
        check_place("layer", layer, n_layers)
    if not found:
        raise UserError(f"there are no layers: pass one or more of 0 to {n_layers - 1}.")
    return found


def check_baselines(model: Any, names: Sequence[str]) -> None:
    """Refuse baselines that a model has no states for, before any work.

    Raises:
        UserError: for an unknown one, or one whose weight or hook the model does not have.
    """
    _check_names(names, {})
    adapter = adapt_transformer(model)
    for name in names:
        missing = missing_state(adapter, STATES[name]) if name in STATES else None
        if missing:
            raise UserError(f"the model has no {missing}: leave the baseline {name!r} out.")
