"""Texts read by a pipeline: every character kept, and texts of any length."""

import pytest
import spacy
from spacy.tokens import Doc

from feature_sets import UserError, context_windows, grammar, load_pipeline
from feature_sets.documents import PART, read_documents, split_text
from tests.feature_sets.tokenizing import byte_level, stories, tiny_pipeline

pytestmark = pytest.mark.plain

GAPS = "Once  upon a time the fox ran.\nThe dog saw the  cat and it ran. " * 3


class Splitting:
    """A tokenizer that splits on white space, as many have written."""

    def __init__(self, vocab):
        self.vocab = vocab

    def __call__(self, text):
        return Doc(self.vocab, words=text.split())


def splitting_pipeline():
    nlp = tiny_pipeline()
    nlp.tokenizer = Splitting(nlp.vocab)
    return nlp


def test_a_tokenizer_that_drops_white_space_is_refused():
    message = (
        r"tokenizer of pipeline 'pipeline' \(Splitting\) does not keep every character: ' upon a "
        r"time the fox' at character 5 is read as 'upon .*spacy\.blank\('en'\)\.tokenizer"
    )
    nlp = splitting_pipeline()
    with pytest.raises(UserError, match=message):
        context_windows([GAPS], byte_level(), nlp, length=4, per_tag=1, tags=["NOUN"])
    whole = context_windows([GAPS], byte_level(), tiny_pipeline(), length=4, per_tag=1,
                            tags=["NOUN"])  # fmt: skip
    nlp.add_pipe("sentencizer")
    with pytest.raises(UserError, match=message):
        grammar(whole, nlp)


def test_a_tokenizer_that_splits_on_single_spaces_is_taken():
    (text,) = stories(1)
    windows = context_windows([text], byte_level(), splitting_pipeline(), length=4, per_tag=2,
                              tags=["CCONJ"], per_story=2)  # fmt: skip
    for i, word in enumerate(windows.words):
        start = int(windows.start[i])
        assert text[start : start + len(word)] == word in ("and", "but", "and,")


def test_parts_end_where_it_hurts_least():
    assert split_text("a b. c d\ne f\n\ng h", 15) == ["a b. c d\ne f", "\n\ng h"]
    assert split_text("aaaa b. c. d eeee", 13) == ["aaaa b. c. ", "d eeee"]
    assert split_text("aaaa bbbbb cc", 11) == ["aaaa bbbbb ", "cc"]
    assert split_text("abcdefg", 3) == ["abc", "def", "g"]
    assert split_text("", 3) == [""]
    text = GAPS * 9
    parts = split_text(text, 100)
    assert "".join(parts) == text
    assert max(map(len, parts)) <= 100


def test_a_text_longer_than_the_pipeline_takes_gives_the_same_windows_and_labels():
    texts = [
        "\n\n".join(story.rstrip(",.") + "." for story in stories(12, seed)) for seed in range(2)
    ]
    tags = ["NOUN", "VERB", "DET"]

    def found(nlp):
        windows = context_windows(texts, byte_level(), nlp, length=8, per_tag=8, tags=tags,
                                  per_story=12)  # fmt: skip
        return windows, grammar(windows, nlp)

    whole, short = tiny_pipeline(), tiny_pipeline()
    short.max_length = 300
    for nlp in (whole, short):
        nlp.add_pipe("sentencizer")
    assert max(map(len, texts)) > 5 * short.max_length
    windows, labels = found(whole)
    again, same = found(short)
    assert again.tokens.equal(windows.tokens)
    assert (again.words, again.tags) == (windows.words, windows.tags)
    assert same.names == labels.names
    assert (same.values == labels.values).all()


def test_all_that_a_pipeline_says_survives_the_parts():
    nlp = load_pipeline("embedded")
    text = "\n\n".join(f"Lily had {n} dogs. They ran home, and she saw them." for n in range(8))
    (whole,) = read_documents(nlp, [text])
    nlp.max_length = 60
    (joined,) = read_documents(nlp, [text])
    assert joined.text == whole.text == text
    # labels of line breaks mean nothing
    words = [[token for token in doc if not token.is_space] for doc in (whole, joined)]
    for name in ("idx", "text", "pos_", "tag_", "lemma_", "is_sent_start", "dep_", "morph"):
        one, other = ([getattr(token, name) for token in doc] for doc in words)
        assert one == other, name
    assert [t.head.i for t in words[0]] == [t.head.i for t in words[1]]


def test_a_book_in_one_text_is_read():
    nlp = spacy.blank("en")
    (document,) = read_documents(nlp, ["a fox. " * (nlp.max_length // 7 + 1)])
    assert len(document.text) > nlp.max_length > PART
