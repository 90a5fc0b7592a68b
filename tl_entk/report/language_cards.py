"""Which directions of a language model get a card."""

from __future__ import annotations

from torch import Tensor

from tl_entk.direction_tokens import logit_directions, score_covariances
from tl_entk.eigen import EigenDirections
from tl_entk.experiments.language import FLATTENED, LanguageResult
from tl_entk.report.cards import Direction, by_direction, direction_card
from tl_entk.report.page import Card

LEADING = 10


def language_cards(result: LanguageResult) -> list[Card]:
    """Cards of the directions chosen for labels, and of the leading ones of the best layer.

    The flattened kernel's come first, then those of the best readout.
    """
    cards = []
    for method in dict.fromkeys([FLATTENED, result.winner]):
        chosen = by_direction(result.tables[method].rows)
        leading = [
            f"layer {result.best_layer[method]}, direction {index}" for index in range(LEADING)
        ]
        tokens: dict[str, Tensor] = {}
        for column in sorted({*chosen, *leading}, key=_order):
            _, layer, index = _order(column)
            eigen = result.eigen(method)[layer]
            if index >= len(eigen.eigenvalues):
                continue
            if layer not in tokens:
                tokens[layer] = _tokens(result, eigen)
            direction = Direction(
                f"{method}, {column}",
                eigen.scores[:, index],
                _facts(eigen, index),
                tokens[layer][:, index],
                chosen.get(column, []),
            )
            cards.append(direction_card(direction, result.data.windows, result.decode))
    return cards


def _order(column: str) -> tuple[int, str, int]:
    """Layers by number; the one called "all" last."""
    layer, index = column.removeprefix("layer ").split(", direction ")
    return (int(layer) if layer.isdigit() else 10**6), layer, int(index)


def _tokens(result: LanguageResult, eigen: EigenDirections) -> Tensor:
    model = result.model.model
    if eigen.vectors.ndim == 3:
        return logit_directions(model, eigen)
    return score_covariances(model, result.data.windows.tokens, eigen.scores)


def _facts(eigen: EigenDirections, index: int) -> list[tuple[str, str]]:
    first = float(eigen.eigenvalues[0])
    return [
        ("eigenvalue", f"{float(eigen.eigenvalues[index]):.3g}"),
        ("of the first", f"{float(eigen.eigenvalues[index]) / first:.2g}"),
        ("residual", f"{float(eigen.residuals[index]):.1e}"),
        ("rank-1 share", f"{float(eigen.rank1_share[index]):.2f}"),
    ]
