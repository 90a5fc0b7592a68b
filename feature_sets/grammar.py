"""Grammatical labels of each window's next word, from spaCy."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_sets.documents import read_documents
from feature_sets.errors import UserError
from feature_sets.feature_set import FeatureSet
from feature_sets.matching import match_positions
from feature_sets.texts import is_missing

# the package binds its function of this module's name, and importing spaCy and torch is slow
if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Token

    from feature_sets.windows import Windows

# what a user's own label may be: a function of the word (a spaCy token), the name of a column that
# the windows kept, or a spaCy matcher pattern (a list of token descriptions) that the word is in
Rule = Callable[[Any], bool] | str | Sequence[Mapping[str, Any]]

_BLANK_LINES = re.compile(r"\n\s*\n")
_LINE_BREAK = re.compile(r"\n")

# whole numbers of a column that may be classes
MOST_CLASSES = 20

FREQUENCY_CLASSES = ((0, 3), (4, 6), (7, 9), (10, 99))


def next_tokens(windows: Windows, nlp: Language) -> list[Token]:
    """The spaCy token of every window's next word, in the context of its whole story.

    Raises:
        UserError: if the pipeline's words begin elsewhere than the windows' (another tokenizer).
    """
    starts = windows.start.tolist()
    found: list[Token | None] = [None] * len(starts)
    by_story: dict[int, list[int]] = {}
    for row, story in enumerate(windows.story.tolist()):
        by_story.setdefault(story, []).append(row)
    for story, doc in enumerate(read_documents(nlp, windows.stories)):
        tokens = {token.idx: token for token in doc}
        for row in by_story.get(story, []):
            token = tokens.get(starts[row])
            if token is None:
                raise UserError(
                    f"no word of pipeline {nlp.meta['name']} begins at character {starts[row]} of "
                    f"story {story}: label the windows with the pipeline that made them."
                )
            found[row] = token
    return [token for token in found if token is not None]


def grammar(
    windows: Windows,
    nlp: Language | None = None,
    *,
    own: Mapping[str, Rule] | None = None,
) -> FeatureSet:
    """Labels of every window's next word, as the text has it.

    Families: ``tag`` (universal part of speech), ``morphology`` (every feature and value that the
    pipeline gives, "Number=Sing"), ``relation`` (dependency, where there is a parser),
    ``position`` (first word of its sentence, inside a quotation, sentence ends within three words;
    a quotation ends with its paragraph at the latest, its marks are outside, and paragraphs are
    parted by blank lines or, in a story without any, by line breaks),
    ``word`` (capitalized, occurred in the window before, one token of the model or several,
    frequency class), ``distance`` (words to the sentence's end, a number) and ``own``.

    Args:
        windows: from :func:`context_windows`.
        nlp: the pipeline that made them; default :func:`load_pipeline`.
        own: your labels: name to a function of the spaCy token, the name of a column that the
            windows kept (text gives one label per value; so do up to 20 different whole numbers,
            beside the number itself; other numbers are no binary label), or a spaCy matcher
            pattern whose match covers the word.

    Returns:
        (N, F) values; labels that are the same for every window are left out.

    Raises:
        UserError: if the pipeline does not fit the windows, a column is missing, spaCy's matcher
            does not take a pattern, a regular expression of it takes too long, or a rule gives the
            same for every window, or all labels are.

    Source: arXiv 2510.00468, section 5 (tags and morphology; the other families are ours).
    """
    from feature_sets.pipelines import load_pipeline, with_sentences

    nlp = with_sentences(nlp or load_pipeline())
    tokens = next_tokens(windows, nlp)
    columns = LabelColumns(len(tokens))
    columns.one_per_value("tag", [token.pos_ for token in tokens])
    _add_morphology(columns, tokens)
    if tokens[0].doc.has_annotation("DEP"):
        columns.one_per_value("relation", [f"dep={token.dep_}" for token in tokens])
    _add_position(columns, tokens)
    _add_word(columns, windows, tokens)
    columns.add(
        "distance", "words to the sentence's end", [_words_to_end(token) for token in tokens]
    )
    for name, rule in (own or {}).items():
        _add_own(columns, name, rule, windows, tokens, nlp)
    return columns.to_features()


class LabelColumns:
    """Labels under construction; constant ones are left out, but for a user's own."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.found: dict[str, tuple[str, np.ndarray]] = {}

    def add(
        self, family: str, name: str, values: Sequence[float] | Sequence[bool] | Sequence[int]
    ) -> None:
        """One label, a value per window.

        Raises:
            UserError: for a name that is there, or a label of a user's own that is constant.
        """
        column = np.asarray(values, dtype=float)
        if name in self.found:
            raise UserError(f"two labels are called {name!r}: choose another name for yours.")
        if np.ptp(column) > 0:
            self.found[name] = (family, column)
        elif family == "own":
            raise UserError(
                f"your label {name!r} is {column[0]:g} for every window: fix its rule, or drop it."
            )

    def one_per_value(self, family: str, values: Sequence[str], prefix: str = "") -> None:
        """One label for every value that there is, the most frequent first; not for ""."""
        for value, _ in Counter(filter(None, values)).most_common():
            self.add(family, f"{prefix}{value}", [other == value for other in values])

    def to_features(self) -> FeatureSet:
        """The labels that are not the same for every window.

        Raises:
            UserError: if there are none.
        """
        if not self.found:
            raise UserError("every label is the same for all windows: pass more windows.")
        names = tuple(self.found)
        families = tuple(family for family, _ in self.found.values())
        values = np.stack([column for _, column in self.found.values()], 1)
        return FeatureSet(values, names, families, names)


def _add_morphology(columns: LabelColumns, tokens: Sequence[Token]) -> None:
    marks = [split_morphology(token) for token in tokens]
    for label in sorted(set().union(*marks)):
        columns.add("morphology", label, [label in mark for mark in marks])


def split_morphology(token: Token) -> set[str]:
    """Every feature and value: a feature may have several at once ("PronType=Int,Rel")."""
    return {
        f"{name}={value}"
        for name, values in token.morph.to_dict().items()
        for value in values.split(",")
    }


def _add_position(columns: LabelColumns, tokens: Sequence[Token]) -> None:
    columns.add(
        "position", "first word of the sentence", [_opens_sentence(token) for token in tokens]
    )
    columns.add("position", "inside a quotation", [_is_quoted(token) for token in tokens])
    near = [_words_to_end(token) <= 3 and not token.is_punct for token in tokens]
    columns.add("position", "sentence ends within 3 words", near)


def _opens_sentence(token: Token) -> bool:
    """Whether only punctuation (an opening quotation mark) comes before it in its sentence."""
    before = token.doc[token.sent.start : token.i]
    return not token.is_punct and all(word.is_punct or word.is_space for word in before)


def _is_quoted(token: Token) -> bool:
    """Whether a quotation mark is open in its paragraph, and it is none itself."""
    return token.text not in ('"', "“", "”") and opens_quotation(token.doc.text, token.idx)


def opens_quotation(story: str, end: int) -> bool:
    """Whether a quotation mark is open at a character of a story, in its paragraph."""
    # hard-wrapped stories break lines within paragraphs
    between = _BLANK_LINES if _BLANK_LINES.search(story.strip()) else _LINE_BREAK
    before = between.split(story[:end])[-1]
    straight = before.count('"') % 2 == 1
    return straight or before.count("“") > before.count("”")


def _words_to_end(token: Token) -> int:
    """Words after this one in its sentence, punctuation and white space left out."""
    rest = token.doc[token.i + 1 : token.sent.end]
    return sum(not (word.is_punct or word.is_space) for word in rest)


def _add_word(columns: LabelColumns, windows: Windows, tokens: Sequence[Token]) -> None:
    columns.add("word", "capitalized", [token.text[:1].isupper() for token in tokens])
    repeated = [
        token.text.lower() in {word.lower() for word in _words_before(token, first)}
        for token, first in zip(tokens, windows.window_start.tolist(), strict=True)
    ]
    columns.add("word", "occurred in the window", repeated)
    columns.add("word", "several tokens", [count > 1 for count in windows.pieces.tolist()])
    classes = frequency_classes(tokens)
    for low, high in FREQUENCY_CLASSES:
        name = f"frequency class {low}-{high}" if high < 99 else f"frequency class {low} on"
        columns.add("word", name, [low <= c <= high for c in classes])


def _words_before(token: Token, first: int) -> list[str]:
    return [word.text for word in token.doc[: token.i] if word.idx >= first]


def frequency_classes(tokens: Sequence[Token]) -> list[int]:
    """log2 of how many times rarer a word is than the most frequent one, rounded; 0 is that one.

    Counted in the stories that the words are of, without regard to case; punctuation counts.
    """
    documents: dict[int, Doc] = {id(token.doc): token.doc for token in tokens}
    counts = Counter(word.lower_ for doc in documents.values() for word in doc if not word.is_space)
    most = max(counts.values())
    return [round(math.log2(most / counts[token.lower_])) for token in tokens]


def _add_own(
    columns: LabelColumns,
    name: str,
    rule: Rule,
    windows: Windows,
    tokens: Sequence[Token],
    nlp: Language,
) -> None:
    if isinstance(rule, str):
        if rule not in windows.columns:
            raise UserError(
                f"no column {rule!r}: the windows kept {sorted(windows.columns)}; pass "
                "keep_columns to context_windows."
            )
        _add_column(columns, name, windows.columns[rule])
    elif callable(rule):
        columns.add("own", name, [bool(rule(token)) for token in tokens])
    else:
        covered = match_positions(rule, tokens, nlp.vocab)
        columns.add("own", name, [token.i in covered[id(token.doc)] for token in tokens])


def _add_column(columns: LabelColumns, name: str, values: Sequence[Any]) -> None:
    """Labels of a kept column: a label for every text, numbers as numbers.

    Whole numbers may be names of classes: where they are few, each is a label too.
    """
    missing = [row for row, value in enumerate(values) if is_missing(value)]
    if missing:
        raise UserError(
            f"your label {name!r} is of a column without a value for {len(missing)} windows, such "
            f"as {missing[0]}: fill it in, or leave those windows out."
        )
    if any(isinstance(value, str) for value in values):
        columns.one_per_value("own", [str(value) for value in values], prefix=f"{name}=")
        return
    numbers = [float(value) for value in values]
    columns.add("own", name, numbers)
    classes = sorted(set(numbers))
    if 2 < len(classes) <= MOST_CLASSES and all(number.is_integer() for number in classes):
        for number in classes:
            columns.add("own", f"{name}={number:.0f}", [other == number for other in numbers])
