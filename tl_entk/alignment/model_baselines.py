"""Baselines of a language model by name: what its own states tell, in as many directions.

A kernel of weights is worth its trouble only where it finds more than these do. Some are read in
every layer; those that know nothing but the prediction are one for all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
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
    states = _States(adapter, tokens, chosen, position, batch_size)
    found: dict[str, Layered] = {}
    for name in names:
        if name == RANDOM:
            found[name] = {
                str(layer): random_directions(len(tokens), min(k, len(tokens)), seed + layer)
                for layer in chosen
            }
        elif name in PREDICTION:
            found[name] = {TOGETHER: leading_scores(states.of_prediction(name), k)}
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
    inside = [f"blocks.{layer}." for layer in range(adapter.n_layers)]
    needed = {
        NEURONS: [f"{block}mlp.W_out" for block in inside],
        NORMED: [f"{block}attn.W_Q" for block in inside[1:]],
    }
    hooks = {
        ATTENTION: [f"{block}hook_attn_out" for block in inside],
        **{name: [f"{block}hook_resid_post" for block in inside] for name in (PCA, STANDARDIZED)},
    }
    for name in names:
        missing = [weight for weight in needed.get(name, ()) if weight not in adapter.by_name]
        missing += [hook for hook in hooks.get(name, ()) if hook not in model.hook_dict]
        if missing:
            raise UserError(f"the model has no {missing[0]}: leave the baseline {name!r} out.")


class _States:
    """States of the model at the read position; each kind is read when it is first asked for."""

    def __init__(
        self,
        adapter: TransformerAdapter,
        tokens: Int[Tensor, "n t"],
        layers: list[int],
        position: Position,
        batch_size: int,
    ) -> None:
        self.adapter, self.tokens, self.layers = adapter, tokens, layers
        self.position, self.batch_size = position, batch_size
        self._hooked: dict[str, Layered] = {}
        self._prediction: Prediction | None = None

    def of_layers(self, name: str) -> Layered:
        """Layer to (n, d)."""
        if name in (PCA, STANDARDIZED):
            return self._at_hook("hook_resid_post")
        if name == ATTENTION:
            return self._at_hook("hook_attn_out")
        if name == NEURONS:
            return self._inputs_of({str(i): f"blocks.{i}.mlp.W_out" for i in self.layers})
        last = self.adapter.n_layers - 1
        inner = {str(i): f"blocks.{i + 1}.attn.W_Q" for i in self.layers if i < last}
        outer = {str(last): self.prediction.hidden} if last in self.layers else {}
        return self._inputs_of(inner) | outer

    def of_prediction(self, name: str) -> Tensor:
        """(n, d) or (n, tokens)."""
        found = self.prediction
        return {
            "final hidden": found.hidden,
            "log-probabilities": found.log_probabilities,
            "predicted unembedding": found.predicted_unembedding,
            "expected unembedding": found.expected_unembedding,
        }[name]

    @property
    def prediction(self) -> Prediction:
        """Read from the final hidden vectors of one forward pass."""
        if self._prediction is None:
            parts = [seen.final_hidden for seen in self._passes([])]
            hidden = torch.cat([part for part in parts if part is not None])
            self._prediction = read_prediction(self.adapter, hidden)
        return self._prediction

    def _at_hook(self, hook: str) -> Layered:
        if hook not in self._hooked:
            names = {f"blocks.{layer}.{hook}": str(layer) for layer in self.layers}
            found = activations_at(
                self.adapter.model,
                self.tokens,
                list(names),
                self.position,
                batch_size=self.batch_size,
            )
            self._hooked[hook] = {layer: found[name] for name, layer in names.items()}
        return self._hooked[hook]

    def _inputs_of(self, weights: Mapping[str, str]) -> Layered:
        """Layer to what its weight reads."""
        sites = {layer: self.adapter.by_name[name] for layer, name in weights.items()}
        parts: dict[str, list[Tensor]] = {layer: [] for layer in sites}
        rows = self._positions.split(self.batch_size)
        for seen, at in zip(self._passes(list(sites.values())), rows, strict=True):
            for layer, site in sites.items():
                assert site.input is not None
                (value,) = seen.inputs[site.input]
                parts[layer].append(value[torch.arange(len(at)), at].flatten(1))
        return {layer: torch.cat(found) for layer, found in parts.items()}

    @property
    def _positions(self) -> Int[Tensor, " n"]:
        return check_position(self.position, *self.tokens.shape).to(self.tokens.device)

    def _passes(self, sites: list[Any]) -> Any:
        """What the forward passes show, batch by batch."""
        at_unembedding = self.adapter.final_hidden
        batches = zip(
            self.tokens.split(self.batch_size), self._positions.split(self.batch_size), strict=True
        )
        for tokens, positions in batches:
            showing = reading(sites, at_unembedding, positions, len(tokens), stop=True)
            with torch.no_grad(), showing as seen:
                self.adapter.outputs(tokens)
            yield seen
