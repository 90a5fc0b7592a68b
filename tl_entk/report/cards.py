"""Cards of single directions: what they score high and low, and which tokens they raise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.windows import Windows
from tl_entk.alignment.best_directions import DirectionRow, LayerDirection
from tl_entk.report import figures as draw
from tl_entk.report.page import Card, Picture

SHOWN_WINDOWS = 8
SHOWN_TOKENS = 12
_TAIL = 70


@dataclass(frozen=True, eq=False)
class Direction:
    """What is known of one direction.

    Attributes:
        name: for the title and file names.
        scores: (n,).
        facts: eigenvalue and the like, as text.
        tokens: (d_vocab,) what it does to each token's logit.
        rows: the table's rows in which it was chosen.
    """

    name: str
    scores: Float[Tensor, " n"]
    facts: Sequence[tuple[str, str]]
    tokens: Float[Tensor, " d_vocab"]
    rows: Sequence[DirectionRow]


def direction_card(direction: Direction, windows: Windows, decode: Callable[[int], str]) -> Card:
    """A card with the direction's facts, histogram, windows and tokens.

    Args:
        direction: what is shown.
        windows: the examples that it scores.
        decode: token number to text.
    """
    order = direction.scores.argsort(descending=True).tolist()
    scores = direction.scores.tolist()
    groups = {
        tag: [score for score, other in zip(scores, windows.tags, strict=True) if other == tag]
        for tag in sorted(set(windows.tags))
    }
    name = direction.name.replace(" ", "_").replace(",", "")
    picture = Picture(
        f"card_{name}", f"Scores of {direction.name} by tag.", draw.scores_by_group(groups)
    )
    best = [
        f"{row.feature} (sign {row.sign:+d}, AP {row.ap.value:.2f}, AUROC {row.auroc.value:.2f}, "
        f"precision at quota {row.precision.value:.2f}, p {row.p_value:.2g})"
        for row in direction.rows
    ]
    notes = [
        f"Best direction for: {', '.join(best)}" if best else "Best direction for no label.",
        "Raises: " + _list_tokens(direction.tokens, decode),
        "Lowers: " + _list_tokens(-direction.tokens, decode),
    ]
    examples = {
        "Windows with the highest scores": _list_windows(order[:SHOWN_WINDOWS], scores, windows),
        "Windows with the lowest scores": _list_windows(
            order[::-1][:SHOWN_WINDOWS], scores, windows
        ),
    }
    labels = ", ".join(row.feature for row in direction.rows)
    title = f"{direction.name}: {labels}" if labels else direction.name
    return Card(title, direction.facts, picture, examples, notes)


def _list_tokens(values: Float[Tensor, " d_vocab"], decode: Callable[[int], str]) -> str:
    top = torch.topk(values, min(SHOWN_TOKENS, len(values))).indices.tolist()
    return "  ".join(repr(decode(token)) for token in top)


def _list_windows(
    rows: Sequence[int], scores: Sequence[float], windows: Windows
) -> list[tuple[str, ...]]:
    own = windows.model_words
    head = ("score", "end of the window", "next word", "tag", "model's own", "its tag")
    found: list[tuple[str, ...]] = [head if own else head[:4]]
    for row in rows:
        text = windows.text(row).replace("\n", " / ")
        text = "…" + text[-_TAIL:] if len(text) > _TAIL else text
        cells: tuple[str, ...] = (f"{scores[row]:.3g}", text, windows.words[row], windows.tags[row])
        if own and windows.model_tags:
            cells += (own[row], windows.model_tags[row])
        found.append(cells)
    return found


def by_direction(rows: Sequence[DirectionRow]) -> Mapping[LayerDirection, list[DirectionRow]]:
    """Direction to the rows in which it was chosen."""
    found: dict[LayerDirection, list[DirectionRow]] = {}
    for row in rows:
        found.setdefault(row.place, []).append(row)
    return found
