"""Labels of what a window holds already, not of the word that comes next.

A direction that sorts windows by the predicted word finds labels of that word; whether the network
has a feature of the text read so far shows in these.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from feature_sets.feature_set import FeatureSet
from feature_sets.grammar import LabelColumns, next_tokens, opens_quotation, split_morphology

# spaCy is slow to import
if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Token

    from feature_sets.windows import Windows

PRESENT, CONTEXT = "present word", "context"
# words of the sentence so far that make it a long one
LONG = 8
_SENTENCE_END = re.compile(r"[.!?]+[\"”’)]*(?=\s)")
_QUOTES = set('"“”')


def context_labels(windows: Windows, nlp: Language | None = None) -> FeatureSet:
    """Labels of the last word of every window, and of the text before the next word.

    Families: ``present word`` (universal part of speech, morphology and dependency of the last
    word read, "present NOUN") and ``context`` (a quotation is open, a quotation mark is in the
    window, the sentence is eight words long or more, has a verb already; the window has the end of
    a sentence in it). Sentences of the context end at full stops, exclamation and question marks,
    so that what comes after the window decides nothing.

    Args:
        windows: from :func:`context_windows`.
        nlp: the pipeline that made them; default :func:`load_pipeline`.

    Returns:
        (N, F) values; labels that are the same for every window are left out.

    Raises:
        UserError: if the pipeline does not fit the windows, or all labels are the same.

    Source: none; these are controls of this project.
    """
    from feature_sets.pipelines import load_pipeline, with_sentences

    nlp = with_sentences(nlp or load_pipeline())
    tokens = next_tokens(windows, nlp)
    columns = LabelColumns(len(tokens))
    _add_present(columns, present_tokens(tokens))
    starts = [_sentence_start(token.doc.text, token.idx) for token in tokens]
    so_far = [_words_since(token, start) for token, start in zip(tokens, starts, strict=True)]
    texts = [windows.text(i) for i in range(len(windows))]
    ends = np.array(starts) > windows.window_start.numpy()
    for name, values in (
        ("a quotation is open", [opens_quotation(token.doc.text, token.idx) for token in tokens]),
        ("a quotation mark in the window", [bool(set(text) & _QUOTES) for text in texts]),
        (f"{LONG} words or more of the sentence", [len(words) >= LONG for words in so_far]),
        ("a verb in the sentence so far", [_has_verb(words) for words in so_far]),
        ("the end of a sentence in the window", ends.tolist()),
    ):
        columns.add(CONTEXT, name, values)
    return columns.to_features()


def present_tokens(tokens: Sequence[Token]) -> list[Token | None]:
    """The word before each of these; None at the start of a text."""
    return [_previous(token) for token in tokens]


def _previous(token: Token) -> Token | None:
    words = (token.doc[i] for i in range(token.i - 1, -1, -1))
    return next((word for word in words if not word.is_space), None)


def _add_present(columns: LabelColumns, tokens: Sequence[Token | None]) -> None:
    columns.one_per_value(PRESENT, [token.pos_ if token else "" for token in tokens], "present ")
    marks = [split_morphology(token) if token else set() for token in tokens]
    for label in sorted(set().union(*marks)):
        columns.add(PRESENT, f"present {label}", [label in mark for mark in marks])
    columns.one_per_value(
        PRESENT, [token.dep_ if token else "" for token in tokens], "present dep="
    )


def _sentence_start(story: str, end: int) -> int:
    """Where the sentence that a character stands in begins, by the text before it alone."""
    return max((match.end() for match in _SENTENCE_END.finditer(story, 0, end)), default=0)


def _words_since(token: Token, start: int) -> list[Token]:
    """Words before a token from a character on, punctuation and white space left out."""
    before = token.doc[: token.i]
    return [word for word in before if word.idx >= start and not (word.is_punct or word.is_space)]


def _has_verb(words: Sequence[Token]) -> bool:
    return any(word.pos_ in ("VERB", "AUX") for word in words)
