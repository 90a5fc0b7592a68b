"""The model's own next word, and its tag."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from feature_sets.errors import UserError
from feature_sets.tagging import Tagger

Continuation = Callable[[Tensor], Tensor]

EMPTY = "empty continuation"
SPECIAL = "special token"
GOES_ON = "goes on with the last word"
OTHER_TAG = "other tag"
REASONS = (OTHER_TAG, GOES_ON, EMPTY, SPECIAL)


class OwnWord(NamedTuple):
    """What a model says next.

    Attributes:
        word: its next word; empty where there is none.
        tag: the tag of that word.
        reason: why there is no word, else empty.
    """

    word: str
    tag: str
    reason: str


class OwnWords:
    """Reads the model's next word off its greedy continuation.

    Args:
        continuation: token numbers (b, t) to the model's next token numbers (b, m).
        tokenizer: the model's tokenizer.
        tagger: gives the word its tag, in the window's own text.
        skip: tokens in front of a window that are not its text (1 for a <bos>).
        batch_size: windows that ``continuation`` gets at once.
    """

    def __init__(
        self, continuation: Continuation, tokenizer: Any, tagger: Tagger, skip: int, batch_size: int
    ) -> None:
        self._continuation = continuation
        self._tokenizer = tokenizer
        self._special = set(tokenizer.all_special_ids)
        self._tagger = tagger
        self._skip = skip
        self._batch_size = batch_size

    def __call__(self, windows: Int[Tensor, "n t"], texts: Sequence[str]) -> list[OwnWord]:
        """The next word of every window.

        Args:
            windows: tokens.
            texts: the windows' own texts, with what white space there is at their end.

        Raises:
            UserError: if ``continuation`` does not return token numbers, one row per window.
        """
        added = [row for batch in windows.split(self._batch_size) for row in self._continue(batch)]
        reasons = [_find_reason(row, self._special) for row in added]
        ready = [i for i, reason in enumerate(reasons) if not reason]
        found = [OwnWord("", "", reason) for reason in reasons]
        prompts = self._decode_added(
            [windows[i].tolist() for i in ready], [added[i] for i in ready]
        )
        whole, places, kept = [], [], []
        for i, (tail, new) in zip(ready, prompts, strict=True):
            if not new.strip():
                found[i] = OwnWord("", "", EMPTY)
                continue
            # the space before a word is part of the window or of what is added, never of both
            before = texts[i].rstrip() + tail
            whole.append(before + new)
            places.append(len(before) + len(new) - len(new.lstrip()))
            kept.append(i)
        for i, text, place, words in zip(kept, whole, places, self._tagger(whole), strict=True):
            word = int(np.searchsorted(words.spans[:, 0], place, side="right")) - 1
            start, end = words.spans[word].tolist()
            if start != place:
                found[i] = OwnWord("", "", GOES_ON)
            else:
                found[i] = OwnWord(text[start:end], words.tags[word], "")
        return found

    def _continue(self, batch: Int[Tensor, "b t"]) -> list[list[int]]:
        """New tokens of every window, up to the first special one."""
        with torch.no_grad():
            new = self._continuation(batch)
        if not isinstance(new, Tensor) or new.ndim != 2 or len(new) != len(batch):
            shape = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
            raise UserError(
                f"continuation returned {shape} for {len(batch)} windows: return the new token "
                f"numbers alone, an integer tensor ({len(batch)}, m)."
            )
        if new.is_floating_point():
            raise UserError("continuation returned floats: return token numbers, not logits.")
        return [self._cut_at_special(row) for row in new.tolist()]

    def _cut_at_special(self, row: list[int]) -> list[int]:
        special = [k for k, token in enumerate(row) if token in self._special]
        # a leading special token stays, as an empty row means something else
        return row[: max(special[0], 1)] if special else row

    def _decode_added(
        self, windows: list[list[int]], added: list[list[int]]
    ) -> list[tuple[str, str]]:
        """White space at the end of each window, and the text that its new tokens add."""
        bodies = [window[self._skip :] for window in windows]
        # decoded with the window before them, as a first token may lose its space
        both = (
            self._decode(bodies),
            self._decode([a + b for a, b in zip(bodies, added, strict=True)]),
        )
        found = []
        for short, long in zip(*both, strict=True):
            if not long.startswith(short):
                raise UserError(
                    "this tokenizer decodes a longer text otherwise than its beginning, so that "
                    "the continuation cannot be read: leave continuation out."
                )
            # the last bytes may be half a character
            found.append((short[len(short.rstrip()) :], long[len(short) :].rstrip("\ufffd")))
        return found

    def _decode(self, rows: list[list[int]]) -> list[str]:
        return [self._tokenizer.decode(row, clean_up_tokenization_spaces=False) for row in rows]


def _find_reason(row: list[int], special: set[int]) -> str:
    if not row:
        return EMPTY
    return SPECIAL if row[0] in special else ""
