"""Pages of single directions: their windows token by token, tokens, labels, neighbors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.display import keep_end
from feature_sets.windows import Windows
from tl_entk.report.parts import Link, Picture, Table

ENDS, PER_DECILE, DECILES, PLAIN = 20, 5, 10, 8
_TAIL = 110


class Near(NamedTuple):
    """Another direction, and the |cos| of its scores with this one's."""

    name: str
    href: str
    cosine: float


class Group(NamedTuple):
    """Windows shown together.

    Attributes:
        key: in the page's data.
        title: heading.
        folded: the reader opens them.
        plain: ends of the first ones, which are there without JavaScript too.
    """

    key: str
    title: str
    folded: bool
    plain: list[str]


@dataclass(frozen=True, eq=False)
class DirectionPage:
    """Everything shown of one direction.

    Attributes:
        id: address of the page.
        name: of the direction.
        title: the name with what it is about.
        facts: (label, value).
        notes: paragraphs.
        picture: histogram of its scores.
        raised: tokens whose logits go up with the scores.
        lowered: tokens whose logits go down.
        near: nearest directions.
        groups: windows shown together.
        data: their rows, scores, and what each position contributes, in hundredths of ``scale``.
        tinted: whether positions' contributions are there.
        why_not_tinted: why not.
        row: of the table of all directions.
    """

    id: str
    name: str
    title: str
    facts: Sequence[tuple[str, str]]
    notes: Sequence[str]
    picture: Picture
    raised: Sequence[str]
    lowered: Sequence[str]
    near: Sequence[Near]
    groups: Sequence[Group]
    data: Mapping[str, Any]
    tinted: bool
    why_not_tinted: str
    row: Sequence[Any]

    def show(self, picture: Mapping[str, Any]) -> dict[str, Any]:
        """As the template takes it."""
        return {**vars(self), "picture": picture}


@dataclass(frozen=True, eq=False)
class DirectionPages:
    """Pages of directions, and the windows that they score.

    Attributes:
        pages: in order.
        windows: tokens and next words, for the page's script.
        columns: of the table of all directions; the first one leads to its page.
        features: feature to the address of the page of its best direction.
    """

    pages: Sequence[DirectionPage]
    windows: Mapping[str, Any]
    columns: tuple[str, ...]
    features: Mapping[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> Table:
        """All directions in a table."""
        rows = [[Link(page.name, f"#{page.id}"), *page.row] for page in self.pages]
        return Table("direction_pages", "All directions that have a page.", self.columns, rows)

    def index(self) -> Iterator[tuple[str, str, str, str]]:
        """What the search finds: features first, then directions with their tokens."""
        for feature, href in self.features.items():
            yield feature, "feature: its best direction", href, ""
        for page in self.pages:
            words = " ".join([*page.raised, *page.lowered])
            yield page.title, "direction", f"#{page.id}", words


def show_windows(
    windows: Windows,
    decode: Callable[[int], str],
    test: Sequence[bool],
    special: Sequence[int] = (),
) -> dict[str, Any]:
    """Tokens of all windows as the page's script takes them: each text once.

    Args:
        windows: the examples.
        decode: token number to text.
        test: whether a window lies in the test half.
        special: tokens that are no text, such as <bos>, which are left out.
    """
    used, places = np.unique(windows.tokens.numpy(), return_inverse=True)
    hidden = set(special)
    return {
        "vocabulary": ["" if int(token) in hidden else decode(int(token)) for token in used],
        "tokens": places.reshape(windows.tokens.shape).tolist(),
        "next": list(windows.words),
        "tag": list(windows.tags),
        "own": list(windows.model_words) if windows.model_words else None,
        "half": ["test" if one else "train" for one in test],
    }


def window_groups(
    scores: Float[Tensor, " n"],
    parts: Float[Tensor, "n t"] | None,
    windows: Windows,
    sign: int = 1,
) -> tuple[list[Group], dict[str, Any]]:
    """The windows at either end, and some of every tenth between.

    Args:
        scores: (n,).
        parts: (n, t) what every position contributes to them.
        windows: the examples.
        sign: -1 where the feature is at the lower end: the end with the feature comes first.
    """
    highest, lowest, tenths = _choose_rows(scores)
    first, last = ("highest", "lowest") if sign > 0 else ("lowest", "highest")
    rows = {"highest": highest, "lowest": lowest}
    groups = [
        Group(end, f"Windows with the {end} scores", False, _plain(rows[end], windows))
        for end in (first, last)
    ]
    ordered = tenths if sign > 0 else [part.flip(0) for part in reversed(tenths)]
    for tenth, part in enumerate(ordered):
        key = f"decile-{tenth + 1}"
        rows[key] = part
        title = f"Tenth {tenth + 1} of {DECILES}, from {first} to {last}"
        groups.append(Group(key, title, True, []))
    scale = 0.0 if parts is None else float(parts.abs().max())
    data: dict[str, Any] = {"scale": scale}
    for key, chosen in rows.items():
        shown = {"rows": chosen.tolist(), "scores": [_round(x) for x in scores[chosen].tolist()]}
        if parts is not None and scale > 0:
            hundredths = (100 * parts[chosen] / scale).round().int()
            data[key] = {**shown, "parts": hundredths.tolist()}
        else:
            data[key] = shown
    return groups, data


def rows_shown(scores: Float[Tensor, "n k"]) -> Tensor:
    """Windows that the pages of these directions show, each once, in order."""
    found: list[Tensor] = []
    for column in scores.unbind(1):
        highest, lowest, tenths = _choose_rows(column)
        found += [highest, lowest, *tenths]
    return torch.cat(found).unique()


def _choose_rows(scores: Float[Tensor, " n"]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Rows of the highest scores, of the lowest, and some of every tenth from the highest on."""
    order = scores.argsort(descending=True)
    tenths = [
        part[torch.linspace(0, max(0, len(part) - 1), min(PER_DECILE, len(part))).long()]
        for part in order.tensor_split(DECILES)
    ]
    return order[:ENDS], order.flip(0)[:ENDS], tenths


def _plain(rows: Tensor, windows: Windows) -> list[str]:
    """Ends of the first windows, from the beginning of a word."""
    return [
        f"{keep_end(windows.text(row), _TAIL)} [{windows.words[row]}]"
        for row in rows[:PLAIN].tolist()
    ]


def _round(value: float) -> float:
    return float(f"{value:.4g}")
