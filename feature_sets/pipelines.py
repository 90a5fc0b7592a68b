"""Which spaCy pipeline labels the words: the best English one installed, else the embedded one.

Which is best is said by the packages' meta data: the part-of-speech accuracy that they state, not
their names, since the same pipeline is packaged under several.
"""

from __future__ import annotations

import json
from pathlib import Path

import spacy
from spacy import util
from spacy.language import Language

from feature_sets.errors import UserError
from feature_sets.warn import warn_user

EMBEDDED = "embedded"
EMBEDDED_FOLDER = Path(__file__).parent / "english" / "pipeline"
# any of these gives parts of speech
_TAGGERS = {"morphologizer", "attribute_ruler"}


def load_pipeline(name: str | None = None) -> Language:
    """A spaCy pipeline with a part-of-speech tagger.

    Args:
        name: a package that is installed, whatever it is called, a folder, or ``"embedded"``; by
            default the installed English one that states the highest tagging accuracy, else the
            embedded one. :func:`describe` says which.

    Raises:
        UserError: if there is no such pipeline, or it gives no parts of speech.

    Example:
        >>> [token.pos_ for token in load_pipeline("embedded")("The dog ran.")]
        ['DET', 'NOUN', 'VERB', 'PUNCT']
    """
    if name is None:
        name = next(iter(installed_pipelines()), EMBEDDED)
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


def installed_pipelines() -> list[str]:
    """Installed English pipelines with parts of speech, the one of the best tagging first.

    Left out are those that say they are for another spaCy.
    """
    found = []
    for name in util.get_installed_models():
        try:
            # spaCy's own reader warns of pipelines that are not loaded
            path = util.get_package_path(name) / "meta.json"
            meta = json.loads(path.read_text(encoding="utf-8"))
        except (ImportError, OSError, ValueError) as error:
            warn_user(
                f"the pipeline {name} is passed over: its meta data cannot be read ({error})."
            )
            continue
        fits = util.is_compatible_version(spacy.__version__, meta.get("spacy_version", ""))
        if meta.get("lang") == "en" and _TAGGERS.intersection(meta.get("pipeline", ())) and fits:
            accuracy = (meta.get("performance") or {}).get("tag_acc") or 0.0
            found.append((-accuracy, name))
    return [name for _, name in sorted(found)]


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
