"""A language model's own states at the read position: those of every layer, and its prediction."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_entk.alignment.activations import select_positions
from tl_entk.alignment.names import (
    ATTENTION,
    EXPECTED,
    FINAL_HIDDEN,
    LAYER_STATES,
    LOG_PROBABILITIES,
    NEURONS,
    NORMED,
    PREDICTED,
    RESIDUAL,
)
from tl_entk.alignment.prediction import Prediction, read_prediction
from tl_entk.model.adapters import TransformerAdapter
from tl_entk.model.capture import reading
from tl_entk.model.checks import Position, check_position

# those that a hook has
_HOOKS = {RESIDUAL: "hook_resid_post", ATTENTION: "hook_attn_out"}


class ModelStates:
    """States of the model at the read position, all that are asked for in one pass.

    Args:
        adapter: of the model.
        tokens: (n, t) windows.
        layers: which layers.
        names: states of the layers that will be asked for, among ``LAYER_STATES``.
        position: where states are read.
        batch_size: windows per forward pass.
    """

    def __init__(
        self,
        adapter: TransformerAdapter,
        tokens: Int[Tensor, "n t"],
        layers: list[int],
        names: Collection[str] = LAYER_STATES,
        position: Position = -1,
        batch_size: int = 16,
    ) -> None:
        self.adapter, self.tokens, self.layers, self.names = adapter, tokens, layers, names
        self.position, self.batch_size = position, batch_size

    def of_layers(self, name: str) -> dict[str, Float[Tensor, "n _"]]:
        """Layer to states of one kind, among ``LAYER_STATES``."""
        last = self.adapter.n_layers - 1
        found, hidden = self._read
        if name in _HOOKS:
            return {str(i): found[f"blocks.{i}.{_HOOKS[name]}"] for i in self.layers}
        return {
            str(i): hidden if name == NORMED and i == last else found[_input_of(name, i)]
            for i in self.layers
        }

    def of_prediction(self, name: str) -> Float[Tensor, "n _"]:
        """States that know the prediction alone."""
        found = self._prediction
        return {
            FINAL_HIDDEN: found.hidden,
            LOG_PROBABILITIES: found.log_probabilities,
            PREDICTED: found.predicted_unembedding,
            EXPECTED: found.expected_unembedding,
        }[name]

    @cached_property
    def _prediction(self) -> Prediction:
        return read_prediction(self.adapter, self._read[1])

    @cached_property
    def _read(self) -> tuple[dict[str, Float[Tensor, "n _"]], Float[Tensor, "n d"]]:
        """Hook, or weight, to what it has or reads; and the final hidden vector."""
        last = self.adapter.n_layers - 1
        sites = [
            self.adapter.by_name[_input_of(name, layer)]
            for name in (NEURONS, NORMED)
            for layer in self.layers
            if name in self.names and not (name == NORMED and layer == last)
        ]
        kinds = sorted(_HOOKS[name] for name in self.names if name in _HOOKS)
        hooks = [f"blocks.{layer}.{kind}" for layer in self.layers for kind in kinds]
        found: dict[str, list[Tensor]] = {name: [] for name in [*hooks, *(s.name for s in sites)]}
        hidden: list[Tensor] = []
        positions = check_position(self.position, *self.tokens.shape).to(self.tokens.device)
        model: Any = self.adapter.model
        for rows in torch.arange(len(self.tokens)).split(self.batch_size):
            at, tokens = positions[rows], self.tokens[rows]
            showing = reading(sites, self.adapter.final_hidden, at, len(rows))
            with torch.no_grad(), showing as seen:
                _, cache = model.run_with_cache(tokens, names_filter=hooks)
            for hook in hooks:
                found[hook].append(select_positions(cache, hook, tokens, at))
            for site in sites:
                assert site.input is not None
                (value,) = seen.inputs[site.input]
                found[site.name].append(value[torch.arange(len(rows)), at].flatten(1))
            assert seen.final_hidden is not None
            hidden.append(seen.final_hidden)
        return {name: torch.cat(parts) for name, parts in found.items()}, torch.cat(hidden)


def missing_state(adapter: TransformerAdapter, name: str) -> str | None:
    """The weight or hook that the model would need for states of one kind, and has not."""
    layers = range(adapter.n_layers)
    if name in _HOOKS:
        model: Any = adapter.model
        hooks = [f"blocks.{layer}.{_HOOKS[name]}" for layer in layers]
        return next((hook for hook in hooks if hook not in model.hook_dict), None)
    # after the last layer the unembedding reads the norm
    inputs = [_input_of(name, layer) for layer in layers][: -1 if name == NORMED else None]
    return next((weight for weight in inputs if weight not in adapter.by_name), None)


def _input_of(name: str, layer: int) -> str:
    """The weight whose input the states are: W_out reads the neurons, the next W_Q the norm."""
    return f"blocks.{layer}.mlp.W_out" if name == NEURONS else f"blocks.{layer + 1}.attn.W_Q"
