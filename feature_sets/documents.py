"""Texts read by a spaCy pipeline, of any length and character for character."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from feature_sets.errors import UserError

# characters read at once: parser and entities take about a gigabyte for as many, and a pipeline
# refuses more than its max_length
PART = 100_000
# where a longer text is parted, the best place first
_BORDERS = ("\n\n", "\n", ". ", " ")


def read_documents(nlp: Any, texts: Sequence[str], *, disable: Sequence[str] = ()) -> Iterator[Any]:
    """A spaCy document of every text.

    A text of more than 100,000 characters is read in parts, which end with a paragraph, a line, a
    sentence or a word, and are put together again.

    Args:
        nlp: a spaCy pipeline.
        texts: any number.
        disable: components to leave out.

    Raises:
        UserError: if the pipeline does not keep every character of a text, so that characters
            counted in its document are others in the text.
    """
    from spacy.tokens import Doc

    most = min(PART, nlp.max_length)
    parts = [split_text(text, most) for text in texts]
    found = nlp.pipe(chain.from_iterable(parts), disable=list(disable))
    for text, own in zip(texts, parts, strict=True):
        read = [next(found) for _ in own]
        document = read[0] if len(read) == 1 else Doc.from_docs(read, ensure_whitespace=False)
        _check_characters(nlp, text, document.text)
        yield document


def split_text(text: str, most: int) -> list[str]:
    r"""A text in parts of at most so many characters, cut where it hurts least.

    Example:
        >>> split_text("One day.\nA fox ran.", 12), split_text("One", 12)
        (['One day.', '\nA fox ran.'], ['One'])
    """
    parts, start = [], 0
    while len(text) - start > most:
        end = start + most
        found = ((text.rfind(border, start + most // 2 + 1, end), border) for border in _BORDERS)
        # a line break is a token of its own, a space belongs to the word before it
        cut = next((at + len(border.rstrip("\n")) for at, border in found if at >= 0), end)
        parts.append(text[start:cut])
        start = cut
    return [*parts, text[start:]]


def _check_characters(nlp: Any, text: str, read: str) -> None:
    # some tokenizers put a space behind the last word: nothing comes after it
    if read.rstrip() == text.rstrip():
        return
    pairs = enumerate(zip(text, read, strict=False))
    place = next((i for i, (a, b) in pairs if a != b), min(len(text), len(read)))
    raise UserError(
        f"the tokenizer of pipeline {nlp.meta['name']!r} ({type(nlp.tokenizer).__name__}) does not "
        f"keep every character: {text[place : place + 20]!r} at character {place} is read as "
        f"{read[place : place + 20]!r}, so that words would be other ones. Pass a pipeline whose "
        "doc.text is the text, for example with nlp.tokenizer = spacy.blank('en').tokenizer, or "
        "feature_sets.load_pipeline()."
    )
