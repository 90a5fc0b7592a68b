"""Tokens of labels are counted in texts; next tokens are those that the text goes on with."""

from collections import Counter

import pytest

from feature_sets import UserError, context_windows, load_pipeline
from feature_sets.grammar import split_morphology
from feature_sets.lexicon import label_tokens, next_token_ids
from tl_entk.language.loading import load_language_model

pytestmark = pytest.mark.plain
STORIES = [
    "One day, a little dog ran to the park. The dog saw a big cat. They played all day.",
    'The cat ran to the park. A dog said, "Let\'s play!" They ran and ran.',
]


@pytest.fixture(scope="module")
def tokenizer():
    return load_language_model("stories").tokenizer


def test_tokens_are_those_that_most_of_a_labels_words_begin_with(tokenizer):
    nlp = load_pipeline("embedded")
    found = label_tokens(STORIES, nlp, tokenizer, least=1)
    total, of_label = Counter(), Counter()
    for story in STORIES:
        for word in nlp(story):
            before = story[word.idx - 1 : word.idx] if word.idx else ""
            text = word.text if before not in (" ", "") else f" {word.text}"
            first = tokenizer.encode(text, add_special_tokens=False)[0]
            total[first] += 1
            of_label.update((label, first) for label in {word.pos_, *split_morphology(word)})
    checked = 0
    for label, chosen in found.items():
        for token in chosen:
            if total[token]:
                assert 2 * of_label[label, token] >= total[token], (label, token)
                checked += 1
    assert checked > 20
    words = {tokenizer.decode([token]).strip() for token in found["VERB"]}
    assert {"ran", "saw"} <= words
    assert "dog" not in words
    fewer = label_tokens(STORIES, nlp, tokenizer, least=3)
    assert set(fewer["VERB"]) < set(found["VERB"])
    with pytest.raises(UserError, match="no texts"):
        label_tokens([], nlp, tokenizer)


@pytest.mark.filterwarnings("ignore:the texts ended")
def test_next_tokens_begin_the_next_words(tokenizer):
    nlp = load_pipeline("embedded")
    windows = context_windows(
        STORIES, tokenizer, nlp, length=6, per_tag=2, per_story=9, seed=0, missing="skip"
    )
    ids = next_token_ids(windows, tokenizer)
    assert len(ids) == len(windows) > 3
    for token, word in zip(ids, windows.words, strict=True):
        text = tokenizer.decode([token]).strip()
        assert word.startswith(text) or text.startswith(word)
