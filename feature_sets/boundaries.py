"""Places of a text where a context window can end: right before a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Integer

from feature_sets.errors import UserError


@dataclass(frozen=True, eq=False)
class Tokens:
    """One text in the model's tokens.

    Attributes:
        ids: the token numbers, without special tokens.
        offsets: first character of every token, and the one after its last.
    """

    ids: Integer[np.ndarray, " t"]
    offsets: Integer[np.ndarray, "t 2"]


@dataclass(frozen=True, eq=False)
class Boundaries:
    """Where the windows of one text can end.

    Attributes:
        word: which word comes next.
        token: the first token that is not in the window, which holds the word's first character.
        window_start: the character at which the window's first token begins.
        pieces: tokens that the word takes; 0 where its last one holds more than the word.
    """

    word: Integer[np.ndarray, " places"]
    token: Integer[np.ndarray, " places"]
    window_start: Integer[np.ndarray, " places"]
    pieces: Integer[np.ndarray, " places"]


def check_tokenizer(tokenizer: Any) -> None:
    """Refuse a tokenizer that does not say which characters a token stands for.

    Raises:
        UserError: if it is no Hugging Face tokenizer,
            or if it is a slow one.
    """
    if not hasattr(tokenizer, "is_fast"):
        raise UserError(
            f"tokenizer is a {type(tokenizer).__name__}: pass a Hugging Face tokenizer, for "
            "example model.tokenizer, or transformers.PreTrainedTokenizerFast(tokenizer_object=...)"
            " around one of the tokenizers library."
        )
    if not tokenizer.is_fast:
        raise UserError(
            f"{type(tokenizer).__name__} is a slow tokenizer, which knows no character offsets: "
            "load the fast one with AutoTokenizer.from_pretrained(name, use_fast=True)."
        )


def tokenize(tokenizer: Any, texts: Sequence[str]) -> list[Tokens]:
    """Each text's tokens, without special tokens; one that is written out ("<pad>") is plain text.

    A tokenizer whose plain vocabulary has the special token gives that all the same
    (:func:`find_special`).
    """
    if not texts:
        return []
    # verbose=False: a story may be longer than the model's context, its windows are not
    found = tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=True,
        return_attention_mask=False,
        return_offsets_mapping=True,
        verbose=False,
    )
    return [
        Tokens(np.array(ids, dtype=np.int64), np.array(offsets, dtype=np.int64).reshape(-1, 2))
        for ids, offsets in zip(found["input_ids"], found["offset_mapping"], strict=True)
    ]


def find_special(tokenizer: Any, tokens: Tokens) -> int | None:
    """Place of the first special token; one for an unknown word is none."""
    special = sorted({*tokenizer.all_special_ids} - {tokenizer.unk_token_id})
    places = np.flatnonzero(np.isin(tokens.ids, special))
    return int(places[0]) if len(places) else None


def find_boundaries(
    text: str,
    offsets: Integer[np.ndarray, "t 2"],
    words: Integer[np.ndarray, "w 2"],
    size: int,
) -> Boundaries:
    """Words before which a whole window of ``size`` tokens ends.

    Word w begins at character c. Let j be the first token whose end lies after c; then all tokens
    before j end at or before c. It is a boundary if token j holds c and nothing before it but
    white space, and if the window's first token, j - size, does not begin inside a character
    (tokens that are bytes of one character share its offsets).

    Args:
        text: the text.
        offsets: first character of every token, and the one after its last; a leading space may
            be part of a token or not.
        words: the same of every word.
        size: tokens in a window.

    Returns:
        The boundaries in the order of the words.

    Example:
        >>> offsets = np.array([[0, 3], [3, 7], [7, 8]])  # "The", " fox", "."
        >>> words = np.array([[0, 3], [4, 7], [7, 8]])
        >>> find_boundaries("The fox.", offsets, words, 1).token
        array([1, 2])
    """
    starts, ends = offsets[:, 0], offsets[:, 1]
    count = len(starts)
    reach = np.maximum.accumulate(ends)
    token = np.searchsorted(reach, words[:, 0], side="right")
    word = np.flatnonzero((token >= max(size, 1)) & (token < count))
    token = token[word]
    before = token - size
    first = words[word, 0]
    inside = (before > 0) & (reach[before - 1] > starts[before])
    clean = [
        start == c or (start < c and text[start:c].isspace())
        for start, c in zip(starts[token].tolist(), first.tolist(), strict=True)
    ]
    good = np.array(clean, dtype=bool) & ~inside
    word, token, before = word[good], token[good], before[good]
    end = words[word, 1]
    after = np.searchsorted(starts, end, side="left")
    whole = [
        reached <= e or text[e:reached].isspace()
        for reached, e in zip(reach[after - 1].tolist(), end.tolist(), strict=True)
    ]
    pieces = np.where(np.array(whole, dtype=bool), after - token, 0)
    return Boundaries(word, token, starts[before], pieces)
