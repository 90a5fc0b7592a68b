"""Universal Dependencies treebanks as spaCy documents."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from spacy.tokens import Doc
from spacy.vocab import Vocab

# annotations of the writing, not of the grammar
DROPPED_FEATURES = frozenset({"ExtPos", "Typo", "Abbr", "Style", "Foreign", "CorrectForm"})

# share of the names put into copies that are made up, so that unseen ones are known as names
INVENTED = 0.3
_ONSETS = "b br ch d dr f fl g gr h j k kr l m n p ph pl qu r s sh sn sp st t th tr v w y z"
_VOWELS = "a a ai e e ee i i ie o o oo u y"
_CODAS = "- - - ck d f g k l ll m n nn p r rt s sh ss t tt x z"
_ENDINGS = "- - - y ie o a er ers ly ey ina ette et us on"


@dataclass(frozen=True)
class Word:
    """One syntactic word; ``head`` counts within the sentence, and the root is its own."""

    text: str
    lemma: str
    pos: str
    tag: str
    morph: str
    head: int
    relation: str
    space_after: bool


Sentence = list[Word]


def read_conllu(path: Path) -> list[list[Sentence]]:
    """Documents of a CoNLL-U file as lists of sentences.

    The parts of a contraction stay words of their own, without a space between them; words that
    were elided in the text are left out.

    Args:
        path: the file.
    """
    documents: list[list[Sentence]] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for filled, block in groupby(lines, key=bool):
        if not filled:
            continue
        rows = list(block)
        if not documents or any(row.startswith("# newdoc") for row in rows):
            documents.append([])
        documents[-1].append(_sentence([row.split("\t") for row in rows if row[0] != "#"]))
    return documents


def _sentence(rows: Sequence[Sequence[str]]) -> Sentence:
    spaces: dict[int, bool] = {}
    words: Sentence = []
    for row in rows:
        index, text, lemma, pos, tag, morph, head, relation, _, misc = row
        if "." in index:
            continue
        spaced = "SpaceAfter=No" not in misc
        if "-" in index:
            first, last = map(int, index.split("-"))
            spaces.update(dict.fromkeys(range(first, last), False))
            spaces[last] = spaced
            continue
        number = int(index)
        words.append(
            Word(
                text,
                lemma,
                pos,
                tag,
                _features(morph),
                int(head) - 1 if head != "0" else number - 1,
                relation if head != "0" else "ROOT",
                spaces.get(number, spaced),
            )
        )
    return words


def _features(morph: str) -> str:
    kept = [f for f in morph.split("|") if f != "_" and f.split("=")[0] not in DROPPED_FEATURES]
    return "|".join(kept)


def with_names(
    sentences: Sequence[Sentence], names: Sequence[str], rng: random.Random
) -> list[Sentence]:
    """Copies of the sentences that hold proper nouns, given names put in their place.

    A treebank of web text knows few given names, and a small tagger goes by the ending of a word
    it has not seen ("Lily" looks like an adverb).
    """
    copies = []
    for sentence in sentences:
        if not any(_replaceable(word) for word in sentence):
            continue
        copy = []
        for word in sentence:
            if _replaceable(word):
                name = invented_name(rng) if rng.random() < INVENTED else rng.choice(names)
                word = replace(word, text=name, lemma=name)
            copy.append(word)
        copies.append(copy)
    return copies


def invented_name(rng: random.Random) -> str:
    """A name that nobody has, of one to three syllables.

    Example:
        >>> invented_name(random.Random(0)).istitle()
        True
    """
    parts: list[str] = []
    for _ in range(rng.choice((1, 1, 2))):
        parts += [rng.choice(sounds.split()) for sounds in (_ONSETS, _VOWELS, _CODAS)]
    parts.append(rng.choice(_ENDINGS.split()))
    return "".join(parts).replace("-", "").title()


def _replaceable(word: Word) -> bool:
    return word.tag == "NNP" and word.text.isalpha() and word.text.istitle()


def documents_of(
    vocab: Vocab, documents: Sequence[Sequence[Sentence]], sentences_each: int = 10
) -> Iterator[Doc]:
    """Documents of at most so many sentences."""
    for sentences in documents:
        for start in range(0, len(sentences), sentences_each):
            yield _document(vocab, sentences[start : start + sentences_each])


def _document(vocab: Vocab, sentences: Sequence[Sentence]) -> Doc:
    words = [word for sentence in sentences for word in sentence]
    heads: list[int] = []
    starts: list[bool | int | None] = []
    for sentence in sentences:
        first = len(heads)
        heads += [first + word.head for word in sentence]
        starts += [True] + [False] * (len(sentence) - 1)
    return Doc(
        vocab,
        words=[word.text for word in words],
        spaces=[word.space_after for word in words],
        tags=[word.tag for word in words],
        pos=[word.pos for word in words],
        morphs=[word.morph for word in words],
        lemmas=[word.lemma for word in words],
        heads=heads,
        deps=[word.relation for word in words],
        # heads and starts agree: a sentence has one root
        sent_starts=starts,
    )
