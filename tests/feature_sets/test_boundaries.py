"""Where windows may end: right before a word, whatever the tokenizer."""

import numpy as np
import pytest
import spacy
from tokenizers import (
    Tokenizer,
    models,
    pre_tokenizers,
)

from feature_sets import context_windows
from feature_sets.boundaries import find_boundaries, find_special, tokenize
from feature_sets.tagging import Tagger, unused_components
from tests.feature_sets.tokenizing import STORY, tiny_pipeline, wrap

pytestmark = pytest.mark.plain


def plain_boundaries(text, offsets, words, size):
    """(word, token) by the definition."""
    found = []
    for word, (first, _) in enumerate(words):
        for token, (start, end) in enumerate(offsets):
            before = offsets[:token]
            holds = start <= first < end and not text[start:first].strip()
            ended = all(stop <= first for _, stop in before)
            if not (holds and ended and token >= size):
                continue
            begin = offsets[token - size][0]
            if all(stop <= begin for _, stop in offsets[: token - size]):
                found.append((word, token))
    return found


@pytest.mark.parametrize("size", [1, 5, 12])
def test_boundaries_are_those_of_the_definition(tokenizer, nlp, size):
    (tokens,) = tokenize(tokenizer, [STORY])
    (words,) = Tagger(nlp)([STORY])
    places = find_boundaries(STORY, tokens.offsets, words.spans, size)
    expected = plain_boundaries(STORY, tokens.offsets.tolist(), words.spans.tolist(), size)
    assert list(zip(places.word.tolist(), places.token.tolist(), strict=True)) == expected
    assert len(expected) > 15
    assert places.window_start.tolist() == [tokens.offsets[t - size, 0] for _, t in expected]


def test_tokens_before_a_boundary_are_the_text_before_the_word(tokenizer, nlp):
    (tokens,) = tokenize(tokenizer, [STORY])
    assert tokens.ids.tolist() == tokenizer(STORY, add_special_tokens=False)["input_ids"]
    (words,) = Tagger(nlp)([STORY])
    spans = words.spans.tolist()
    # a window of one size or the other does not begin inside a character
    sizes = [find_boundaries(STORY, tokens.offsets, words.spans, size) for size in (1, 2, 3)]
    found = {int(w): int(t) for p in sizes for w, t in zip(p.word, p.token, strict=True)}
    texts = [STORY[slice(*spans[word])] for word in found]
    for word in ("🦊", "said", "Tom", "crème", "saw", "”", "and"):
        assert word in texts
    assert not any(word.isspace() for word in texts)
    for word, token in found.items():
        if tokenizer.is_lossless:
            before = tokenizer.decode(tokens.ids[:token])
            assert before.rstrip() == STORY[: spans[word][0]].rstrip()
            after = tokenizer.decode(tokens.ids[token:])
            assert after.lstrip() == STORY[spans[word][0] :]


def test_pieces(nlp):
    offsets = np.array([[0, 3], [3, 7], [7, 10], [10, 14], [14, 16]])  # The| fox|es | don|'t
    words = np.array([[0, 3], [4, 9], [11, 13], [13, 16]])  # The foxes do n't
    text = "The foxes  don't"
    places = find_boundaries(text, offsets, words, 1)
    assert places.word.tolist() == [1, 2]
    assert places.pieces.tolist() == [2, 0]
    assert find_boundaries("", offsets[:0], words[:0], 1).word.tolist() == []


def test_special_tokens_written_out_are_plain_text(tokenizer, nlp):
    special = tokenizer.bos_token
    story = STORY.replace("said", f"said {special} {special}")
    options = dict(length=9, per_tag=3, per_story=9, tags=["NOUN", "DET"], prepend_bos=False)
    if find_special(tokenizer, tokenize(tokenizer, [story])[0]) is None:
        windows = context_windows([story], tokenizer, nlp, **options)
        assert any(special in windows.text(i) for i in range(len(windows)))
    else:
        # its plain vocabulary has the special token
        assert special == "<bos>" in tokenizer.tokenize("<bos>", split_special_tokens=True)
        with pytest.warns(UserWarning, match="a text has '<bos>' written out"):
            windows = context_windows([story, story + " a", STORY], tokenizer, nlp, **options)
        assert windows.stories == (STORY,)
        skipped = {"with a special token written out": 2}
        assert windows.provenance["texts_skipped"] == skipped
    assert len(windows) == 6
    assert tokenizer.bos_token_id not in windows.tokens
    # the tokenizer is as it was
    assert tokenizer.bos_token_id in tokenizer(story, add_special_tokens=False)["input_ids"]


def test_an_unknown_word_is_no_special_token_that_is_written_out():
    words = Tokenizer(models.WordLevel({"The": 0, "fox": 1, "<eos>": 2, "<unk>": 3}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = wrap(words, eos_token="<eos>", unk_token="<unk>")
    cat, end = tokenize(tokenizer, ["The cat", "The fox <eos>"])
    assert cat.ids.tolist() == [0, 3]
    assert (find_special(tokenizer, cat), find_special(tokenizer, end)) == (None, 2)


def test_components_that_tags_do_not_need_are_left_out():
    nlp = tiny_pipeline()
    nlp.add_pipe("sentencizer")
    assert unused_components(nlp) == ["sentencizer"]
    nlp.get_pipe("attribute_ruler").add([[{"IS_SENT_START": True}]], {"POS": "X"})
    assert unused_components(nlp) == []
    other = spacy.blank("en")
    other.add_pipe("sentencizer")
    other.add_pipe("merge_noun_chunks")
    assert unused_components(other) == []
