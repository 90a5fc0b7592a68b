"""Words and their part-of-speech tags, from a spaCy pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Integer

from feature_sets.documents import read_documents
from feature_sets.errors import UserError

# components that set no tag, and what of theirs the patterns of an attribute_ruler may ask for
_UNUSED = {
    "parser": {"DEP", "HEAD", "SENT_START", "IS_SENT_START"},
    "senter": {"SENT_START", "IS_SENT_START"},
    "sentencizer": {"SENT_START", "IS_SENT_START"},
    "ner": {"ENT_TYPE", "ENT_IOB", "ENT_ID", "ENT_KB_ID"},
    "lemmatizer": {"LEMMA"},
    "trainable_lemmatizer": {"LEMMA"},
}
_TAGGING = {"tok2vec", "transformer", "curated_transformer", "morphologizer", "tagger"}


@dataclass(frozen=True, eq=False)
class TaggedWords:
    """The words of one text; white space is none.

    Attributes:
        spans: first character of every word, and the one after its last.
        tags: universal part-of-speech tag of every word.
    """

    spans: Integer[np.ndarray, "w 2"]
    tags: tuple[str, ...]


class Tagger:
    """Runs of a spaCy pipeline only what the tags need.

    Args:
        nlp: a spaCy pipeline that sets ``token.pos_``.

    Raises:
        UserError: if it is no spaCy pipeline.
    """

    def __init__(self, nlp: Any) -> None:
        if not (hasattr(nlp, "pipe") and hasattr(nlp, "pipe_names") and hasattr(nlp, "vocab")):
            raise UserError(
                f"nlp is a {type(nlp).__name__}: pass a spaCy pipeline, for example "
                "feature_sets.load_pipeline()."
            )
        self.nlp = nlp
        self.unused = unused_components(nlp)
        self._names: dict[int, str] = {}
        self._seen_tags = False

    def __call__(self, texts: Sequence[str]) -> list[TaggedWords]:
        """The words of every text.

        Raises:
            UserError: if the pipeline has given no word a tag yet, or does not keep every
                character.
        """
        found = self.read(texts)
        self._seen_tags = self._seen_tags or any(any(words.tags) for words in found)
        if not self._seen_tags and any(words.tags for words in found):
            raise UserError(
                f"the pipeline {self.name!r} sets no part of speech (token.pos_): pass one with a "
                "morphologizer, or with a tagger and an attribute_ruler, for example "
                "feature_sets.load_pipeline()."
            )
        return found

    def read(self, texts: Sequence[str]) -> list[TaggedWords]:
        """The words of every text, whether or not they have tags.

        Raises:
            UserError: if the pipeline does not keep every character.
        """
        found = []
        for doc in read_documents(self.nlp, texts, disable=self.unused):
            table = doc.to_array(["IDX", "LENGTH", "POS", "IS_SPACE"]).astype(np.int64)
            table = table.reshape(-1, 4)
            table = table[table[:, 3] == 0]
            spans = np.stack([table[:, 0], table[:, 0] + table[:, 1]], 1)
            found.append(TaggedWords(spans, tuple(map(self._tag, table[:, 2].tolist()))))
        return found

    @property
    def name(self) -> str:
        """Language, name and version of the pipeline."""
        return "{lang}_{name} {version}".format(**self.nlp.meta)

    def _tag(self, code: int) -> str:
        if code not in self._names:
            self._names[code] = self.nlp.vocab.strings[code]
        return self._names[code]


def unused_components(nlp: Any) -> list[str]:
    """Components that the tags do not depend on: parser, entities, lemmas, sentences.

    One that an attribute_ruler asks about is needed. Where there is a component of another kind,
    which may ask about anything, all are.

    Example:
        >>> import spacy
        >>> nlp = spacy.blank("en")
        >>> for name in ("sentencizer", "attribute_ruler"):
        ...     _ = nlp.add_pipe(name)
        >>> unused_components(nlp)
        ['sentencizer']
    """
    kinds = {name: nlp.get_pipe_meta(name).factory for name in nlp.pipe_names}
    asked: set[str] = set()
    for name, kind in kinds.items():
        if kind == "attribute_ruler":
            rules = nlp.get_pipe(name).patterns
            patterns = [pattern for rule in rules for pattern in rule["patterns"]]
            asked |= {
                str(key).upper() for pattern in patterns for token in pattern for key in token
            }
        elif kind not in _TAGGING and kind not in _UNUSED:
            return []
    return [name for name, kind in kinds.items() if kind in _UNUSED and not _UNUSED[kind] & asked]
