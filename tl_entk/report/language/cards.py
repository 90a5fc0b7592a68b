"""Which directions of a language model get a card."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.alignment.best_directions import LayerDirection
from tl_entk.directions.eigen import EigenDirections
from tl_entk.experiments.language.run import LanguageResult
from tl_entk.language.direction_tokens import logit_directions, score_covariances
from tl_entk.model.adapters import adapt_transformer
from tl_entk.operator.whitening import whitening
from tl_entk.report.cards import Direction, by_direction, direction_card
from tl_entk.report.page import Card

LEADING = 10


def language_cards(result: LanguageResult) -> list[Card]:
    """Cards of the directions chosen for labels, and of the leading ones of the best layer.

    The flattened kernel's come first, then the default's, then those of the best readout.
    """
    methods = result.judged.shown_kernels
    return [card for method in methods for card in _method_cards(result, method)]


def _method_cards(result: LanguageResult, method: str) -> Iterator[Card]:
    chosen = by_direction(result.judged.tables[method].rows)
    layers = result.eigen(method)
    best = result.judged.best_layer[method]
    leading = range(min(LEADING, len(layers[best].eigenvalues)))
    wanted = {*chosen, *(LayerDirection(best, index) for index in leading)}
    shown = {
        layer: sorted(place.direction for place in wanted if place.layer == layer)
        for layer in layers
    }
    shown = {layer: indices for layer, indices in shown.items() if indices}
    parts = {layer: layers[layer].take(indices) for layer, indices in shown.items()}
    tokens = token_changes(result, parts)
    for layer, indices in shown.items():
        for column, index in enumerate(indices):
            place = LayerDirection(layer, index)
            direction = Direction(
                f"{method}, {place}",
                parts[layer].scores[:, column],
                _facts(layers[layer], index),
                tokens[layer][:, column],
                chosen.get(place, []),
            )
            yield direction_card(direction, result.data.windows, result.decode)


def token_changes(
    result: LanguageResult, layers: dict[str, EigenDirections]
) -> dict[str, Float[Tensor, "d_vocab k"]]:
    """Layer to what its directions do to each token's logit."""
    model = result.model.model
    # the model runs once for all of them
    scores = torch.cat([eigen.scores.cpu().double() for eigen in layers.values()], 1)
    together = score_covariances(model, result.data.windows.tokens, scores)
    widths = [eigen.scores.shape[1] for eigen in layers.values()]
    along = dict(zip(layers, together.split(widths, dim=1), strict=True))
    if next(iter(layers.values())).space != "final_hidden":
        return along
    white = whitening(adapt_transformer(model).unembedding)
    found = {}
    for layer, eigen in layers.items():
        moved = logit_directions(model, eigen, white)
        # a direction has no sign of its own: raised is what goes up with the scores
        signs = torch.where((moved * along[layer]).sum(0) < 0, -1.0, 1.0)
        found[layer] = moved * signs
    return found


def _facts(eigen: EigenDirections, index: int) -> list[tuple[str, str]]:
    first = float(eigen.eigenvalues[0])
    return [
        ("eigenvalue", f"{float(eigen.eigenvalues[index]):.3g}"),
        ("of the first", f"{float(eigen.eigenvalues[index]) / first:.2g}"),
        ("residual", f"{float(eigen.residuals[index]):.1e}"),
        ("rank-1 share", f"{float(eigen.rank1_share[index]):.2f}"),
    ]
