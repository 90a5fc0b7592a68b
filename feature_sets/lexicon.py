"""Which tokens the words of a grammatical label begin with."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_sets.boundaries import check_tokenizer, find_boundaries, tokenize
from feature_sets.documents import read_documents
from feature_sets.errors import UserError
from feature_sets.grammar import split_morphology

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Token

    from feature_sets.windows import Windows

# a token is a label's where at least this share of the words that begin with it have the label,
# among at least so many words
SHARE, LEAST = 0.5, 2


def label_tokens(
    texts: Sequence[str], nlp: Language, tokenizer: Any, *, share: float = SHARE, least: int = LEAST
) -> dict[str, tuple[int, ...]]:
    """The tokens that words with a tag or a morphological feature begin with.

    A token is a label's where most of the words of the texts that begin with it have the label, so
    that one token may be of several labels ("VERB", "Tense=Past"), or of none.

    Args:
        texts: that the tokens are counted in.
        nlp: a spaCy pipeline that tags.
        tokenizer: of the model.
        share: of a token's words that must have the label.
        least: words a token must begin.

    Returns:
        Label, as :func:`feature_sets.grammar` names them, to token numbers; labels without any
        token are left out.

    Raises:
        UserError: for no texts, or a slow tokenizer.

    Example:
        >>> from feature_sets.pipelines import load_pipeline
        >>> from tl_entk.language.loading import load_language_model
        >>> tokenizer = load_language_model("stories").tokenizer
        >>> story = "The dog ran. The cat ran. The dog saw the cat. The dog ran."
        >>> found = label_tokens([story], load_pipeline("embedded"), tokenizer)
        >>> sorted(tokenizer.decode([token]).strip() for token in found["NOUN"])
        ['cat', 'dog']
    """
    check_tokenizer(tokenizer)
    if not texts:
        raise UserError("there are no texts: pass one or more.")
    total: Counter[int] = Counter()
    of_label: dict[str, Counter[int]] = defaultdict(Counter)
    documents = read_documents(nlp, texts)
    for text, tokens, document in zip(texts, tokenize(tokenizer, texts), documents, strict=True):
        words = [word for word in document if not word.is_space]
        if not words:
            continue
        spans = np.array([(word.idx, word.idx + len(word)) for word in words])
        places = find_boundaries(text, tokens.offsets, spans, 0)
        for word, place in zip(places.word.tolist(), places.token.tolist(), strict=True):
            token = int(tokens.ids[place])
            total[token] += 1
            for label in _labels_of(words[word]):
                of_label[label][token] += 1
    found = {
        label: tuple(
            sorted(t for t, n in counts.items() if total[t] >= least and n >= share * total[t])
        )
        for label, counts in of_label.items()
    }
    return {label: chosen for label, chosen in found.items() if chosen}


def _labels_of(word: Token) -> set[str]:
    return {word.pos_, *split_morphology(word)} - {""}


def next_token_ids(windows: Windows, tokenizer: Any) -> tuple[int, ...]:
    """The token that the text goes on with after each window.

    Args:
        windows: from :func:`feature_sets.context_windows`.
        tokenizer: that they were made with.

    Raises:
        UserError: for a slow tokenizer.
    """
    check_tokenizer(tokenizer)
    read = tokenize(tokenizer, windows.stories)
    found = []
    for story, start in zip(windows.story.tolist(), windows.start.tolist(), strict=True):
        tokens = read[story]
        reach = np.maximum.accumulate(tokens.offsets[:, 1])
        found.append(int(tokens.ids[np.searchsorted(reach, start, side="right")]))
    return tuple(found)
