"""What holds of windows and labels of any text: property tests."""

import warnings
from collections import Counter

import numpy as np
import pytest
import spacy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

import tl_entk
from feature_sets import UserError, context_windows, grammar, select_labels
from feature_sets.documents import read_documents, split_text
from feature_sets.grammar import LabelColumns, next_tokens
from tests.feature_sets.tokenizing import byte_fallback, byte_level

pytestmark = pytest.mark.plain

# the same cases in every run; a first call imports what is slow
EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True)
PIECES = [
    "The fox ran. ", "a", "é", "e\u0301", "🦊", "👩\u200d🚀", "שלום עולם", "مرحبا", "\u202eab",
    "日本語", "\r\n", "\n\n", "\t", "\u00a0", "\u2028", "\0", "<bos>", "<|endoftext|>", "“said”",
    "don't", "  ", " ", "\ufeff", "x" * 40, ".", "…",
]  # fmt: skip
ANY = st.sampled_from(PIECES) | st.text(max_size=8)
TEXTS = st.lists(ANY, max_size=24).map("".join)
MANY = st.lists(TEXTS | st.lists(ANY, min_size=9, max_size=24).map("".join), min_size=1, max_size=6)
TAGS = ["NOUN", "PUNCT"]


def without_normalizer(tokenizer):
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([])
    return tokenizer


TOKENIZERS = {"bytes": without_normalizer(byte_level()), "byte fallback": byte_fallback()}


def every_word_a_noun():
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    rules = nlp.add_pipe("attribute_ruler")
    rules.add([[{"IS_SPACE": False}]], {"POS": "NOUN"})
    rules.add([[{"IS_PUNCT": True}]], {"POS": "PUNCT"})
    return nlp


NLP, SHORT = every_word_a_noun(), every_word_a_noun()
SHORT.max_length = 12


def draw(texts, tokenizer="bytes", **options):
    """Windows of three tokens; None where the texts have none."""
    options = {"length": 4, "per_tag": 200, "tags": TAGS, "per_story": 200} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            return context_windows(texts, TOKENIZERS[tokenizer], NLP, **options)
        except UserError as error:
            assert "no window was kept" in str(error)  # noqa: PT017
            return None


def rows(windows):
    """Tokens of every window, in any order."""
    return Counter() if windows is None else Counter(map(tuple, windows.tokens.tolist()))


@pytest.mark.parametrize("name", TOKENIZERS)
@given(texts=MANY)
@EXAMPLES
def test_a_window_is_the_text_before_its_word(name, texts):
    windows = draw(texts, name)
    if windows is None:
        return
    tokenizer = TOKENIZERS[name]
    for i, row in enumerate(windows.tokens.tolist()):
        story, start = windows.stories[windows.story[i]], int(windows.start[i])
        assert story in texts
        assert story[start:].startswith(windows.words[i])
        assert windows.words[i].strip()
        assert windows.text(i) == story[windows.window_start[i] : start]
        assert row[0] == tokenizer.bos_token_id not in row[1:]
        assert tokenizer.decode(row[1:]).strip() == windows.text(i).strip()
    words = next_tokens(windows, NLP)
    assert [word.text for word in words] == list(windows.words)
    assert [word.idx for word in words] == windows.start.tolist()
    assert [word.pos_ for word in words] == list(windows.tags)


@given(texts=MANY, order=st.randoms(use_true_random=False))
@EXAMPLES
def test_the_order_of_texts_and_their_repeats_make_no_other_windows(texts, order):
    shuffled = texts * 2
    order.shuffle(shuffled)
    found = rows(draw(texts))
    assert rows(draw(shuffled)) == found
    assert max(found.values(), default=1) == 1


@given(texts=MANY, seed=st.integers(0, 9), per_story=st.integers(1, 3))
@EXAMPLES
def test_the_seed_decides_and_a_story_gives_no_more_than_it_may(texts, seed, per_story):
    options = {"seed": seed, "per_story": per_story, "per_tag": 4}
    first, again = (draw(texts, **options) for _ in range(2))
    # repeats that follow are never drawn from
    repeated = draw([text for text in texts for _ in range(3)], **options)
    if first is None:
        assert again is repeated is None
        return
    for other in (again, repeated):
        assert torch.equal(other.tokens, first.tokens)
        assert torch.equal(other.start, first.start)
        assert other.words == first.words
    assert max(Counter(first.story.tolist()).values()) <= per_story
    assert len(set(first.stories)) == len(first.stories)
    assert max(Counter(first.tags).values()) <= 4
    assert first.counts["kept"] == len(first)


@given(texts=MANY, number=st.sampled_from([1, 2]))
@EXAMPLES
def test_one_and_two_windows(tmp_path_factory, texts, number):
    windows = draw([*texts, "The fox ran and the dog saw it."], per_tag=number, tags=["NOUN"])
    assert len(windows) <= number
    path = tl_entk.save(windows, tmp_path_factory.mktemp("windows") / "few")
    loaded = tl_entk.load(path)
    assert torch.equal(loaded.tokens, windows.tokens)
    assert (loaded.words, loaded.stories) == (windows.words, windows.stories)
    assert windows.to_pandas().text.tolist() == [windows.text(i) for i in range(len(windows))]
    words = {"is first": lambda token: token.idx == int(windows.start[0])}
    try:
        labels = grammar(windows, NLP, own=words)
    except UserError as error:
        assert "for every window" in str(error)  # noqa: PT017
        assert len(windows) == 1 or len(set(windows.start.tolist())) == 1
    else:
        assert labels.values.shape == (2, len(labels))


@given(text=TEXTS, most=st.integers(1, 30))
@EXAMPLES
def test_parts_are_the_text(text, most):
    parts = split_text(text, most)
    assert "".join(parts) == text
    assert max(map(len, parts)) <= most
    assert all(parts) or parts == [""]


@given(texts=MANY)
@EXAMPLES
def test_documents_are_the_texts_whatever_the_parts(texts):
    for text, document in zip(texts, read_documents(SHORT, texts), strict=True):
        assert document.text == text
        assert all(text[t.idx :].startswith(t.text) for t in document)


LABELS = st.integers(2, 30).flatmap(
    lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=8)
)


@given(table=LABELS, least=st.integers(1, 4))
@EXAMPLES
def test_labels_that_are_all_positive_or_all_negative_are_left_out(table, least):
    n = len(table[0])
    columns = LabelColumns(n)
    for i, values in enumerate(table):
        columns.add("tag", f"label {i}", values)
    varying = [f"label {i}" for i, values in enumerate(table) if len(set(values)) == 2]
    if not varying:
        with pytest.raises(UserError, match="same for all windows"):
            columns.to_features()
        return
    features = columns.to_features()
    assert list(features.names) == varying
    supported = [
        name
        for name, column in zip(features.names, features.values.T, strict=True)
        if least <= column.sum() <= n - least
    ]
    words = [f"word {i}" for i in range(n)]
    if not supported:
        with pytest.raises(UserError, match="no label is left"):
            select_labels(features, words, min_positives=least)
        return
    found = select_labels(features, words, min_positives=least)
    assert list(found.features.names) == supported
    assert {*found.dropped} == {*varying} - {*supported}
    assert np.array_equal(
        found.features.values, features.values[:, [varying.index(name) for name in supported]]
    )
