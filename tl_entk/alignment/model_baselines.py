"""Baselines of a language model by name: what its own states tell, in as many directions.

A kernel of weights is worth its trouble only where it finds more than these do. Some are read in
every layer; those that know nothing but the prediction are one for all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.alignment.activations import activations_at
from tl_entk.alignment.baselines import (
    PCA,
    RANDOM,
    STANDARDIZED,
    leading_scores,
    random_directions,
)
from tl_entk.alignment.prediction import Prediction, read_prediction
from tl_entk.alignment.readout_sweep import TOGETHER
from tl_entk.model.adapters import TransformerAdapter, adapt_transformer
from tl_entk.model.capture import reading
from tl_entk.model.checks import Position, check_model, check_position

NORMED, NEURONS, ATTENTION = "normed PCA", "neurons", "attention output"
# name of a baseline of every layer to what it is, for reports
LAYERED = {
    PCA: "PCA of the residual stream after the layer (the paper's baseline)",
    STANDARDIZED: "the same, every activation divided by its standard deviation first",
    NORMED: "PCA of the residual stream after the norm that reads it next",
    NEURONS: "PCA of the layer's neurons, the inputs of W_out",
    ATTENTION: "PCA of what the layer's attention writes",
}
# name of a baseline of the prediction to what it is
PREDICTION = {
    "final hidden": "PCA of the vector that the unembedding reads",
    "log-probabilities": "PCA of the log-probabilities of the 1000 likeliest tokens",
    "predicted unembedding": "PCA of the unembedding vector of the most probable token",
    "expected unembedding": "PCA of the unembedding vectors' mean under the prediction",
}
# baseline to the hook that has its states
_HOOKS = {PCA: "hook_resid_post", STANDARDIZED: "hook_resid_post", ATTENTION: "hook_attn_out"}
BASELINES = {**LAYERED, **PREDICTION, RANDOM: "random directions: chance"}

# model, windows -> (n, m) states or scores, or layer to these
OwnBaseline = Callable[[Any, Tensor], Tensor | Mapping[str, Tensor]]
Layered = dict[str, Tensor]


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
) -> dict[str, Layered]:
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
    own = dict(own or {})
    names = list(BASELINES) if names is None else list(names)
    _check_names(names, own)
    adapter = adapt_transformer(model)
    check_baselines(model, names)
    check_model(adapter)
    tokens = adapter.check_tokens(tokens)
    chosen = list(range(adapter.n_layers)) if layers is None else list(layers)
    states = _States(adapter, tokens, names, chosen, position, batch_size)
    found: dict[str, Layered] = {}
    for name in names:
        if name == RANDOM:
            found[name] = {
                str(layer): random_directions(len(tokens), min(k, len(tokens)), seed + layer)
                for layer in chosen
            }
        elif name in PREDICTION:
            found[name] = {TOGETHER: leading_scores(states.of_prediction(name), k_prediction or k)}
        else:
            found[name] = {
                layer: leading_scores(value, k, standardize=name == STANDARDIZED)
                for layer, value in states.of_layers(name).items()
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
    for name in own:
        if name in BASELINES or name.startswith("eNTK") or name == "all activations":
            raise UserError(f"your baseline {name!r} has the name of another: choose a new one.")


def _own_scores(name: str, states: Any, tokens: Tensor, k: int) -> Tensor:
    if not isinstance(states, Tensor) or states.ndim != 2 or len(states) != len(tokens):
        shape = tuple(states.shape) if isinstance(states, Tensor) else type(states).__name__
        raise UserError(
            f"baseline {name!r} gives {shape} for {len(tokens)} windows: return a tensor "
            f"({len(tokens)}, m), or layer to such tensors."
        )
    if not bool(states.isfinite().all()):
        raise UserError(f"baseline {name!r} gives values that are not finite.")
    return states.double() if states.shape[1] <= k else leading_scores(states, k)


def check_baselines(model: Any, names: Sequence[str]) -> None:
    """Refuse baselines that a model has no states for, before any work.

    Raises:
        UserError: for an unknown one, or one whose weight or hook the model does not have.
    """
    _check_names(names, {})
    adapter = adapt_transformer(model)
    layers = range(adapter.n_layers)
    for name in names:
        inputs = [_input_of(name, layer) for layer in layers if name in (NEURONS, NORMED)]
        # after the last layer the unembedding reads the norm
        inputs = inputs[:-1] if name == NORMED else inputs
        hooks = [f"blocks.{layer}.{_HOOKS[name]}" for layer in layers if name in _HOOKS]
        missing = [weight for weight in inputs if weight not in adapter.by_name]
        missing += [hook for hook in hooks if hook not in model.hook_dict]
        if missing:
            raise UserError(f"the model has no {missing[0]}: leave the baseline {name!r} out.")


class _States:
    """States of the model at the read position, all that some baselines need in two passes."""

    def __init__(
        self,
        adapter: TransformerAdapter,
        tokens: Int[Tensor, "n t"],
        names: Collection[str],
        layers: list[int],
        position: Position,
        batch_size: int,
    ) -> None:
        self.adapter, self.tokens, self.names, self.layers = adapter, tokens, names, layers
        self.position, self.batch_size = position, batch_size

    def of_layers(self, name: str) -> Layered:
        """Layer to (n, d)."""
        if name in _HOOKS:
            return {str(i): self._hooked[f"blocks.{i}.{_HOOKS[name]}"] for i in self.layers}
        last = self.adapter.n_layers - 1
        found, hidden = self._inputs
        return {
            str(i): hidden if name == NORMED and i == last else found[_input_of(name, i)]
            for i in self.layers
        }

    def of_prediction(self, name: str) -> Tensor:
        """(n, d) or (n, tokens)."""
        found = self._prediction
        return {
            "final hidden": found.hidden,
            "log-probabilities": found.log_probabilities,
            "predicted unembedding": found.predicted_unembedding,
            "expected unembedding": found.expected_unembedding,
        }[name]

    @cached_property
    def _prediction(self) -> Prediction:
        return read_prediction(self.adapter, self._inputs[1])

    @cached_property
    def _hooked(self) -> dict[str, Float[Tensor, "n _"]]:
        """Hook to activations."""
        hooks = {_HOOKS[name] for name in self.names if name in _HOOKS}
        wanted = [f"blocks.{layer}.{hook}" for layer in self.layers for hook in sorted(hooks)]
        return activations_at(
            self.adapter.model, self.tokens, wanted, self.position, batch_size=self.batch_size
        )

    @cached_property
    def _inputs(self) -> tuple[dict[str, Float[Tensor, "n _"]], Float[Tensor, "n d"]]:
        """Weight to what it reads, and the final hidden vector."""
        last = self.adapter.n_layers - 1
        sites = [
            self.adapter.by_name[_input_of(name, layer)]
            for name in (NEURONS, NORMED)
            for layer in self.layers
            if name in self.names and not (name == NORMED and layer == last)
        ]
        found: dict[str, list[Tensor]] = {site.name: [] for site in sites}
        hidden: list[Tensor] = []
        positions = check_position(self.position, *self.tokens.shape).to(self.tokens.device)
        for rows in torch.arange(len(self.tokens)).split(self.batch_size):
            at = positions[rows]
            showing = reading(sites, self.adapter.final_hidden, at, len(rows), stop=True)
            with torch.no_grad(), showing as seen:
                self.adapter.outputs(self.tokens[rows])
            for site in sites:
                assert site.input is not None
                (value,) = seen.inputs[site.input]
                found[site.name].append(value[torch.arange(len(rows)), at].flatten(1))
            assert seen.final_hidden is not None
            hidden.append(seen.final_hidden)
        return {name: torch.cat(parts) for name, parts in found.items()}, torch.cat(hidden)


def _input_of(name: str, layer: int) -> str:
    """The weight whose input a baseline is: W_out reads the neurons, the next W_Q the norm."""
    return f"blocks.{layer}.mlp.W_out" if name == NEURONS else f"blocks.{layer + 1}.attn.W_Q"
