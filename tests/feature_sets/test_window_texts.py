"""Texts that windows are cut of: columns, what is missing or repeated, what is refused."""

import math
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
import spacy
import torch
from tokenizers import (
    Tokenizer,
    models,
)

import tl_entk
from feature_sets import UserError, read_texts
from feature_sets.texts import Text
from tests.feature_sets.tokenizing import (
    STORY,
    Parrot,
    same,
    stories,
)

pytestmark = pytest.mark.plain


def test_a_stream_is_read_as_far_as_needed(draw):
    taken = []

    def stream():
        for text in stories(100):
            taken.append(text)
            yield text

    draw(read_texts(stream()), per_tag=10, tags=["NOUN", "VERB"])
    assert len(taken) == 20
    taken.clear()
    draw(stream())
    assert len(taken) <= 8
    taken.clear()
    with pytest.warns(UserWarning, match="missing: NOUN 4"):
        draw(stream(), per_tag=10, max_texts=6)
    assert len(taken) == 6


def test_columns_are_kept_and_everything_is_saved(bpe, draw, tmp_path):
    texts = [Text(text, {"topic": f"t{i}", "n": i}) for i, text in enumerate(stories(40))]
    windows = draw(
        texts, per_tag=3, tags=["NOUN", "DET"], continuation=Parrot(bpe),
        keep_columns=["topic", "n"],
    )  # fmt: skip
    by_text = {text.text: text.row for text in texts}
    for i, topic in enumerate(windows.columns["topic"]):
        assert by_text[windows.stories[windows.story[i]]]["topic"] == topic
    loaded = tl_entk.load(tl_entk.save(windows, tmp_path / "windows"))
    assert same(loaded, windows)
    for name in ("story", "window_start", "pieces"):
        assert torch.equal(getattr(loaded, name), getattr(windows, name))
    for name in ("tags", "model_tags", "stories", "columns", "counts", "tag_counts", "provenance"):
        assert getattr(loaded, name) == getattr(windows, name), name
    assert loaded.report() == windows.report()
    unchecked = draw(texts, per_tag=3)
    loaded = tl_entk.load(tl_entk.save(unchecked, tmp_path / "unchecked"))
    assert loaded.model_words is loaded.model_tags is None
    unsaved = replace(unchecked, columns={"topic": ({1},) * len(unchecked)})
    with pytest.raises(TypeError, match=r"column 'topic'.*keep_columns"):
        tl_entk.save(unsaved, tmp_path / "odd")


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (datetime(2024, 1, 2), TypeError, "a datetime"),
        (["a"], TypeError, "a list"),
        ({"a": 1}, TypeError, "a dict"),
        (np.arange(2), TypeError, "a ndarray"),
        (-math.inf, ValueError, "the float -inf"),
    ],
)
def test_columns_without_a_plain_value_are_refused_as_they_are_read(draw, value, error, message):
    taken = []

    def stream():
        for i, text in enumerate(stories(100)):
            taken.append(text)
            yield Text(text, {"topic": "a", "odd": value if i == 9 else i, "unused": value})

    message = rf"column 'odd' of text 9 holds {message}.*: leave out such rows, fill them in, or "
    with pytest.raises(error, match=message):
        draw(stream(), per_tag=50, keep_columns=["topic", "odd"])
    assert len(taken) == 10


@pytest.mark.parametrize("value", [None, math.nan, np.float32("nan")])
def test_texts_that_lack_a_kept_value_are_skipped_and_counted(draw, value):
    texts = [
        Text(text, {"topic": value if i % 4 == 1 else f"t{i}"})
        for i, text in enumerate(stories(12))
    ]
    with pytest.warns(UserWarning, match="column 'topic' of text 1 is missing") as seen:
        windows = draw(texts, per_tag=9, keep_columns=["topic"])
    assert len(seen) == 1
    assert sorted(windows.columns["topic"]) == sorted(f"t{i}" for i in range(12) if i % 4 != 1)
    assert windows.provenance["texts_skipped"] == {"without 'topic'": 3}
    assert windows.report().startswith(
        "9 windows kept of 9 tried, from 12 texts read; not used: 3 without 'topic'."
    )
    with pytest.raises(UserError, match="column 'topic' of text 1 is missing: fill it in, or pass"):
        draw(texts, keep_columns=["topic"], missing="refuse")


def test_texts_without_text_are_in_the_report(draw):
    with pytest.warns(UserWarning, match="text 1 of the list is missing"):
        windows = draw(read_texts([STORY, None, None, *stories(1)]), per_tag=2)
    assert windows.provenance["texts_skipped"] == {"without text": 2}
    assert "2 texts read; not used: 2 without text." in windows.report()


def test_repeated_texts_are_one_story(draw):
    texts = stories(6)
    once = draw(texts, per_tag=6)
    twice = draw([text for text in texts for _ in range(5)], per_tag=6)
    assert same(once, twice)
    assert twice.provenance["texts_skipped"] == {"repeated": 24}
    assert twice.provenance["texts_read"] == 30
    assert "30 texts read; not used: 24 repeated." in twice.report()
    with pytest.warns(UserWarning, match="missing: NOUN 6"):
        assert len(draw(texts * 4, per_tag=12)) == 6


@pytest.mark.usefixtures("untyped")
def test_half_a_character_is_refused(draw):
    with pytest.raises(UserError, match=r"text 1 holds half a character, '\\ud83e', at 4: repair"):
        draw([STORY, "The \ud83e fox"])


@pytest.mark.usefixtures("untyped")
def test_an_unknown_way_with_missing_values_is_refused(draw):
    with pytest.raises(UserError, match="missing = 'drop'"):
        draw(FOXES, missing="drop")


def test_columns_of_plain_values_are_kept(draw):
    row = {"a": "x", "b": 1, "c": 0.5, "d": True, "e": np.int64(3), "unused": None}
    windows = draw([Text(STORY, row)], length=5, keep_columns="abcde")
    assert windows.columns == {"a": ("x",), "b": (1,), "c": (0.5,), "d": (True,), "e": (3,)}
    assert type(windows.columns["e"][0]) is int


class Slow:
    is_fast = False


FOXES = ["The fox ran. " * 9]


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"tokenizer": Slow()}, ValueError, "slow tokenizer.*use_fast=True"),
        ({"tokenizer": Tokenizer(models.BPE())}, TypeError, "PreTrainedTokenizerFast"),
        ({"pipeline": spacy.blank("en")}, ValueError, r"sets no part of speech.*load_pipeline"),
        ({"pipeline": "en"}, TypeError, "load_pipeline"),
        ({"tags": ["NUON"]}, ValueError, "universal tags.*'NOUN'"),
        ({"tags": ["NOUN", "NOUN"]}, ValueError, "different universal tags"),
        ({"tags": []}, ValueError, "different universal tags"),
        ({"length": 0}, ValueError, "length = 0"),
        ({"length": 1}, ValueError, "beside <bos>"),
        ({"per_story": 0}, ValueError, "per_story = 0"),
        ({"max_texts": 0}, ValueError, "max_texts = 0"),
        ({"keep_columns": ["topic"]}, ValueError, r"no column 'topic' to keep: there are \[\]"),
        ({"continuation": lambda t: t[0]}, ValueError, r"integer tensor \(1, m\)"),
        ({"continuation": lambda t: [[1]]}, ValueError, r"returned list"),
        ({"continuation": lambda t: t.float()}, ValueError, "not logits"),
        ({"texts": ["The end."]}, ValueError, "no window was kept.*more text"),
        (
            {"texts": []},
            ValueError,
            r"(?s)no window was kept.*0 windows kept of 0 tried, from 0 texts",
        ),
        ({"texts": "stories.txt"}, TypeError, "read_texts"),
        ({"texts": [b"a"]}, TypeError, "holds a bytes"),
    ],
)
def test_refusals(draw, wrong, error, message):
    with pytest.raises(error, match=message):
        draw(**{"texts": FOXES} | wrong)


@pytest.mark.usefixtures("untyped")
def test_missing_windows_are_named(draw):
    with pytest.warns(UserWarning, match=r"missing: NOUN 6, VERB 6\. .*per_story"):
        windows = draw(FOXES, tags=["NOUN", "VERB"], per_tag=7, per_story=2)
    assert len(windows) == 2
