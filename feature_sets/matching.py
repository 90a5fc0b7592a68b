"""Patterns of spaCy's matcher as labels of one's own, checked and bounded in time."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import regex

from feature_sets.errors import UserError

# spaCy is slow to import
if TYPE_CHECKING:
    from spacy.matcher import Matcher
    from spacy.tokens import Token
    from spacy.vocab import Vocab

# all searches of one regular expression, in all texts, together
SECONDS = 10.0


def check_pattern(pattern: Any) -> None:
    """Refuse what spaCy's matcher does not take.

    Raises:
        UserError: says what to pass.

    Example:
        >>> check_pattern([{"POS": "ADJ"}, {"TEXT": {"REGEX": "s$"}}])
    """
    from spacy.vocab import Vocab

    _build_matcher(pattern, Vocab())


def match_positions(
    pattern: Sequence[Mapping[str, Any]], tokens: Sequence[Token], vocab: Vocab
) -> dict[int, set[int]]:
    """Positions that a match of the pattern covers, by document.

    Args:
        pattern: a description of each token.
        tokens: whose documents are searched.
        vocab: of the pipeline.

    Returns:
        ``id`` of a document to positions.

    Raises:
        UserError: if the matcher does not take the pattern, or a regular expression of it does not
            come to an end.
    """
    matcher = _build_matcher(pattern, vocab)
    documents = {id(token.doc): token.doc for token in tokens}
    return {
        key: {i for _, first, end in matcher(doc) for i in range(first, end)}
        for key, doc in documents.items()
    }


def _build_matcher(pattern: Any, vocab: Vocab) -> Matcher:
    """A matcher of the pattern, whose regular expressions come to an end."""
    from spacy.errors import MatchPatternError
    from spacy.matcher import Matcher

    matcher = Matcher(vocab, validate=True)
    try:
        described = isinstance(pattern, Sequence) and all(isinstance(i, Mapping) for i in pattern)
        if not pattern or not described:
            raise UserError("it is no list of descriptions")
        matcher.add("own", [[dict(item) for item in pattern]])
        # spaCy has no place to say how regular expressions are searched for
        for predicate in matcher._extra_predicates:  # type: ignore[attr-defined]
            if isinstance(predicate.value, re.Pattern):
                predicate.value = _BoundedSearch(predicate.value.pattern)
            elif getattr(predicate, "regex", False):
                raise UserError('REGEX with a list: write one expression, {"REGEX": "a|b"}')
    except (re.error, regex.error) as error:
        raise UserError(f"the regular expression of a pattern is broken ({error}): fix it.") from (
            error
        )
    except (MatchPatternError, ValueError, KeyError, RecursionError) as error:
        raise UserError(
            f"spaCy's matcher does not take the pattern ({_shorten(error)}): pass a list of "
            'descriptions such as [{"POS": "ADJ"}].'
        ) from error
    return matcher


class _BoundedSearch:
    """Searches for a regular expression, each text once, and in a bounded time."""

    def __init__(self, expression: str) -> None:
        self._expression = regex.compile(expression)
        self._found: dict[str, bool] = {}
        self._left = SECONDS

    def search(self, text: str) -> bool:
        """Whether the text has it.

        Raises:
            UserError: if all searches together take too long.
        """
        if text not in self._found:
            start = time.monotonic()
            try:
                found = self._expression.search(text, timeout=self._left) is not None
            except TimeoutError as error:
                raise UserError(
                    f"the regular expression {self._expression.pattern!r} takes too long (it was "
                    f"at {text[:40]!r}): it can match one text in very many ways; write it without "
                    "repeats of repeats, such as a+ for (a+)+."
                ) from error
            self._left = max(self._left - (time.monotonic() - start), 1e-3)
            self._found[text] = found
        return self._found[text]


def _shorten(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) < 300 else text[:300] + " ..."
