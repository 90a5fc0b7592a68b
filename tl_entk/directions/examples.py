"""What a direction is about: the examples at either end of it, and the tokens that go with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.display import ROWS, Shown, keep_end
from feature_sets.errors import UserError
from feature_sets.windows import Windows
from tl_entk.directions.eigen import EigenDirections, scores_of
from tl_entk.directions.token_scores import score_covariances
from tl_entk.tools.arrays import Rows
from tl_entk.tools.indices import is_index_tensor
from tl_entk.tools.values import check_at_least, check_known, check_place, is_integer, read_list

Texts: TypeAlias = Windows | Int[Tensor, "n t"] | Sequence[str]
# of a text in a line
_SHOWN = 3


@dataclass(frozen=True)
class Example:
    """One example.

    Attributes:
        row: its place among the examples.
        score: what the direction scores it.
        text: its text, if there was one to take.
        word: the text's next word, of Windows.
        tag: its tag.
    """

    row: int
    score: float
    text: str = ""
    word: str = ""
    tag: str = ""


@dataclass(frozen=True, repr=False)
class TopExamples(Shown):
    """The examples at either end of a direction.

    Attributes:
        direction: which.
        highest: those of the highest scores, the highest first.
        lowest: those of the lowest scores, the lowest first.
    """

    direction: int
    highest: tuple[Example, ...]
    lowest: tuple[Example, ...]

    def _lines(self) -> list[str]:
        return [
            f"TopExamples: {len(self.highest)} at either end of direction {self.direction}",
            f"highest: {_list_examples(self.highest)}",
            f"lowest: {_list_examples(self.lowest)}",
        ]

    def to_pandas(self) -> Any:
        """A row per example: end ("highest", "lowest"), score, row, text, word, tag."""
        import pandas as pd

        ends = {"highest": self.highest, "lowest": self.lowest}
        frame = pd.DataFrame(
            [
                (end, one.score, one.row, one.text, one.word, one.tag)
                for end, examples in ends.items()
                for one in examples
            ],
            columns=["end", "score", "row", "text", "word", "tag"],
        )
        # examples that came without texts have no column of them
        given = [name for name in ("text", "word", "tag") if frame[name].any()]
        return frame[["end", "score", "row", *given]]

    def _shown_table(self) -> Any:
        # both ends, as many of either as a table shows
        few = [end[: ROWS // 2] for end in (self.highest, self.lowest)]
        frame = TopExamples(self.direction, *few).to_pandas()
        if "text" not in frame:
            return frame
        return frame.assign(text=[keep_end(text) for text in frame.text])


@dataclass(frozen=True)
class TokenWeight:
    """One token.

    Attributes:
        token: its number.
        text: as the tokenizer decodes it; its number where there is no tokenizer.
        weight: how its logit goes along with the scores, of a vector of norm 1 over the vocabulary.
    """

    token: int
    text: str
    weight: float


@dataclass(frozen=True, repr=False)
class TopTokens(Shown):
    """The tokens whose logits go along with a direction's scores most.

    Attributes:
        direction: which.
        raised: those that go up with the scores, the first most.
        lowered: those that go down.
        among: how many tokens they were chosen from.
    """

    direction: int
    raised: tuple[TokenWeight, ...]
    lowered: tuple[TokenWeight, ...]
    among: int

    def _lines(self) -> list[str]:
        return [
            f"TopTokens: direction {self.direction}, among {self.among} tokens",
            f"raised: {' '.join(repr(one.text) for one in self.raised[: _SHOWN * 2])}",
            f"lowered: {' '.join(repr(one.text) for one in self.lowered[: _SHOWN * 2])}",
        ]

    def to_pandas(self) -> Any:
        """A row per token: change ("raised", "lowered"), text, token, weight."""
        import pandas as pd

        changes = {"raised": self.raised, "lowered": self.lowered}
        return pd.DataFrame(
            [
                (change, one.text, one.token, one.weight)
                for change, tokens in changes.items()
                for one in tokens
            ],
            columns=["change", "text", "token", "weight"],
        )


def top_examples(
    eigen: EigenDirections | Rows,
    direction: int,
    windows: Texts | None = None,
    *,
    n: int = 20,
    sign: int = 1,
    tokenizer: Any = None,
) -> TopExamples:
    """The examples that a direction scores highest and lowest.

    Args:
        eigen: directions, or scores (N, k).
        direction: which of them, from 0.
        windows: the examples' texts: Windows, their tokens (N, T) with a tokenizer, or N strings.
        n: examples at either end.
        sign: +1, or -1 to turn the direction round, as ``DirectionRow.sign`` has it.
        tokenizer: of the model, to decode tokens; not needed for Windows or strings.

    Raises:
        UserError: if there is no such direction, numbers of examples differ, or tokens come
            without a tokenizer.

    Example:
        >>> found = top_examples(torch.tensor([[0.1], [0.9], [-0.5]]), 0, ["a", "b", "c"], n=1)
        >>> found.highest[0].text, found.lowest[0].text
        ('b', 'c')
    """
    scores = scores_along(eigen, direction, sign)
    check_at_least("n", n)
    order = scores.argsort(descending=True, stable=True).tolist()
    ends = order[:n], order[::-1][:n]
    texts = _Texts(windows, len(scores), tokenizer)
    found = [tuple(Example(row, float(scores[row]), *texts.of(row)) for row in end) for end in ends]
    return TopExamples(direction, *found)


def top_tokens(
    eigen: EigenDirections | Rows,
    direction: int,
    model: Any,
    windows: Windows | Int[Tensor, "n t"],
    *,
    n: int = 12,
    sign: int = 1,
    among: Literal["examples", "all"] = "examples",
    tokenizer: Any = None,
    batch_size: int = 64,
) -> TopTokens:
    r"""The tokens whose logits at the last position go up, and down, with a direction's scores.

    .. math:: w_t = \sum_n (s_n - \bar s) \, z_{nt}, \quad \text{divided by its norm over } t

    s the scores, z the logits: their covariance over the examples. It is defined for directions of
    any kernel. Read through the unembedding instead, all-logits directions raise tokens that occur
    nowhere (:func:`tl_entk.language.direction_tokens.logit_directions` does that).

    Args:
        eigen: directions, or scores (N, k).
        direction: which of them, from 0.
        model: the one that the directions are of.
        windows: its tokens (N, T), or Windows.
        n: tokens of either kind.
        sign: +1, or -1 to turn the direction round, as ``DirectionRow.sign`` has it.
        among: tokens that occur in the "examples" (of Windows also those that begin the next
            words, the text's and the model's own), special ones left out; or "all".
        tokenizer: of the model, for the texts; default the model's own.
        batch_size: examples per forward pass.

    Returns:
        Fewer than n tokens of a kind where no more go that way.

    Raises:
        UserError: if there is no such direction, or numbers of examples differ.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> found = top_tokens(torch.arange(25.0)[:, None], 0, model, data.tokens, n=2)
        >>> len(found.raised), found.among
        (2, 6)
    """
    scores = scores_along(eigen, direction, sign)
    check_at_least("n", n)
    check_known("among", among, ("examples", "all"))
    tokens = windows.tokens if isinstance(windows, Windows) else windows
    if not is_index_tensor(tokens) or len(tokens) != len(scores):
        raise UserError(
            f"scores of {len(scores)} examples: pass as many windows, or their tokens (N, T), in "
            "the same order."
        )
    tokenizer = tokenizer or getattr(model, "tokenizer", None)
    _check_tokenizer(tokenizer)
    weights = score_covariances(model, tokens, scores[:, None], batch_size=batch_size)[:, 0]
    chosen = (
        _occurring(windows, tokens, tokenizer)
        if among == "examples"
        else torch.arange(len(weights))
    )
    # a model may read tokens that it never says
    chosen = chosen[chosen < len(weights)]
    return TopTokens(
        direction,
        take_top(weights, chosen, n, tokenizer),
        tuple(
            TokenWeight(one.token, one.text, -one.weight)
            for one in take_top(-weights, chosen, n, tokenizer)
        ),
        len(chosen),
    )


def scores_along(eigen: EigenDirections | Rows, direction: int, sign: int) -> Float[Tensor, " n"]:
    """One direction's scores in float64 on the CPU, turned round for sign -1.

    Args:
        eigen: directions, or scores (N, k).
        direction: which of them, from 0.
        sign: 1 or -1.

    Raises:
        UserError: if there is no such direction, or sign is neither 1 nor -1.
    """
    scores = scores_of(eigen)
    k = scores.shape[1]
    check_place("direction", direction, k)
    if not is_integer(sign) or sign not in (1, -1):
        raise UserError(f"sign = {sign!r}: pass 1 or -1.")
    return sign * scores[:, direction].detach().cpu().double()


class _Texts:
    """Text, next word and tag of every example, whatever they were given as."""

    def __init__(self, windows: Texts | None, n: int, tokenizer: Any) -> None:
        if isinstance(windows, str):
            raise UserError("windows is one text: pass one per example, a list.")
        if windows is not None and not isinstance(windows, Windows | Tensor):
            windows = read_list("windows", windows, "texts, Windows or their tokens")
        if windows is not None and len(windows) != n:
            raise UserError(
                f"scores of {n} examples, texts of {len(windows)}: pass the same examples in the "
                "same order."
            )
        if isinstance(windows, Tensor) and tokenizer is None:
            raise UserError("tokens without a tokenizer: pass tokenizer=model.tokenizer.")
        _check_tokenizer(tokenizer)
        self._windows, self._tokenizer = windows, tokenizer

    def of(self, row: int) -> tuple[str, ...]:
        windows = self._windows
        if windows is None:
            return ()
        if isinstance(windows, Windows):
            return windows.text(row), windows.words[row], windows.tags[row]
        if isinstance(windows, Tensor):
            return (self._tokenizer.decode(windows[row].tolist()),)
        return (str(windows[row]),)


def _check_tokenizer(tokenizer: Any) -> None:
    if tokenizer is not None and not hasattr(tokenizer, "decode"):
        raise UserError(
            f"tokenizer is a {type(tokenizer).__name__}: pass the model's own, model.tokenizer."
        )


def _occurring(windows: Any, tokens: Int[Tensor, "n t"], tokenizer: Any) -> Int[Tensor, " m"]:
    """Tokens of the examples and of the words after them, in order, without special ones."""
    found = set(tokens.unique().tolist())
    if tokenizer is None:
        return torch.tensor(sorted(found))
    if isinstance(windows, Windows):
        words = {*windows.words, *(windows.model_words or ())} - {""}
        found |= set(_first_tokens(words, tokenizer))
    return torch.tensor(sorted(found - set(tokenizer.all_special_ids)))


def _first_tokens(words: Iterable[str], tokenizer: Any) -> Iterable[int]:
    """The tokens that words begin with, after a space or not."""
    for word in words:
        for text in (word, f" {word}"):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            yield from ids[:1]


def take_top(
    weights: Float[Tensor, " d_vocab"], chosen: Int[Tensor, " m"], n: int, tokenizer: Any
) -> tuple[TokenWeight, ...]:
    """Up to n of the chosen tokens of positive weight, the largest first."""
    top = torch.topk(weights[chosen], min(n, len(chosen)))
    return tuple(
        TokenWeight(token, str(token) if tokenizer is None else tokenizer.decode([token]), weight)
        for token, weight in zip(chosen[top.indices].tolist(), top.values.tolist(), strict=True)
        if weight > 0
    )


def _list_examples(examples: Sequence[Example]) -> str:
    """Scores and ends of texts of the first few."""
    return "; ".join(
        f"{one.score:.3g} {keep_end(one.text, 40) or f'(example {one.row})'}"
        + f" [{one.word}]" * bool(one.word)
        for one in examples[:_SHOWN]
    )
