"""Which spaCy pipeline labels the words: an installed English one, else the embedded one."""

from __future__ import annotations

from pathlib import Path

import spacy
from spacy.language import Language
from spacy.util import is_package

from feature_sets.errors import UserError
from feature_sets.warn import warn_user

EMBEDDED = "embedded"
EMBEDDED_FOLDER = Path(__file__).parent / "english" / "pipeline"
# best first
INSTALLED = ("en_core_web_trf", "en_core_web_lg", "en_core_web_md", "en_core_web_sm")


def load_pipeline(name: str | None = None) -> Language:
    """A spaCy pipeline with a part-of-speech tagger.

    Args:
        name: a package that is installed, a folder, or ``"embedded"``; by default the best
            English one that is installed, else the embedded one. :func:`describe` says which.

    Raises:
        UserError: if there is no such pipeline, or it gives no parts of speech.

    Example:
        >>> [token.pos_ for token in load_pipeline("embedded")("The dog ran.")]
        ['DET', 'NOUN', 'VERB', 'PUNCT']
    """
    if name is None:
        name = next((package for package in INSTALLED if is_package(package)), EMBEDDED)
    try:
        nlp = spacy.load(EMBEDDED_FOLDER if name == EMBEDDED else name)
    except OSError as error:
        raise UserError(
            f"no spaCy pipeline {name!r}: install it (python -m spacy download {name}), or pass "
            f"a folder or {EMBEDDED!r}."
        ) from error
    if not any(token.pos_ for token in nlp("The dog ran.")):
        raise UserError(
            f"pipeline {name!r} gives no parts of speech (it has {nlp.pipe_names}): pass one with "
            f"a tagger or a morphologizer, or {EMBEDDED!r}."
        )
    return nlp


def describe(nlp: Language) -> str:
    """Name, version and components of a pipeline, for provenance.

    Example:
        >>> describe(load_pipeline("embedded")).split(" (")[0]
        'en_ewt_tl_entk 0.1.0'
    """
    meta = nlp.meta
    return f"{meta['lang']}_{meta['name']} {meta['version']} ({', '.join(nlp.pipe_names)})"


def with_sentences(nlp: Language) -> Language:
    """The pipeline itself if it marks sentences, else a copy of it that does by punctuation."""
    sample = nlp("The dog ran. It fell.")
    if sample.has_annotation("SENT_START"):
        return nlp
    warn_user(f"{describe(nlp)} marks no sentences: a rule by punctuation is used for them.")
    copy = nlp.from_config(nlp.config)
    copy.from_bytes(nlp.to_bytes())
    copy.add_pipe("sentencizer", first=True)
    return copy
