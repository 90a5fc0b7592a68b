"""Windows and labels of the language-model experiment."""

import json

import pytest

import tl_entk
from feature_sets import FeatureSet
from feature_sets.errors import UserError
from feature_sets.pipelines import load_pipeline
from tl_entk.experiments.language import data
from tl_entk.experiments.language.inputs import NEXT_WORDS
from tl_entk.experiments.language.settings import LanguageSettings
from tl_entk.language.next_words import greedy_continuation
from tl_entk.language.story_model import EMBEDDED

SETTINGS = LanguageSettings(pipeline="embedded", per_tag=8, length=12, sampled=40, per_story=4)


def test_an_interrupted_search_gives_the_same_windows(tmp_path, monkeypatch):
    model, nlp = tl_entk.load_language_model(EMBEDDED), load_pipeline("embedded")
    asked = []

    def interrupted(model, tokens):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(len(tokens))
        return greedy_continuation(model, tokens)

    def windows(folder):
        folder.mkdir(exist_ok=True)
        return data._make_or_load_windows(SETTINGS, model, nlp, folder, [], False)

    whole = windows(tmp_path / "whole")
    assert not (tmp_path / "whole" / NEXT_WORDS).exists()
    monkeypatch.setattr(data, "greedy_continuation", interrupted)
    with pytest.raises(KeyboardInterrupt):
        windows(tmp_path / "parts")
    assert (tmp_path / "parts" / NEXT_WORDS).exists()
    again = []

    def counted(model, tokens):
        again.append(len(tokens))
        return greedy_continuation(model, tokens)

    monkeypatch.setattr(data, "greedy_continuation", counted)
    parts = windows(tmp_path / "parts")
    assert parts.tokens.equal(whole.tokens)
    assert parts.tags == whole.tags
    assert not (tmp_path / "parts" / NEXT_WORDS).exists()
    # what was asked before the interruption is not asked again
    tried = sum(counts["tried"] for counts in whole.tag_counts.values())
    assert sum(asked) + sum(again) == pytest.approx(tried, abs=2)


def test_own_labels_that_are_numbers_are_told_among_those_left_out():
    labels = FeatureSet.from_dict(
        {"length": [0.5, 1.5, 2.5], "topic=1": [0, 1, 0], "words to the end": [3, 4, 5]},
        families={"length": "own", "topic=1": "own", "words to the end": "distance"},
    )
    assert list(data._own_numbers(labels)) == ["length"]


def test_a_column_that_the_text_lacks_is_refused_before_a_model_is_loaded(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "Once.", "topic": 1}))
    found = LanguageSettings(dataset=str(path), labels=("topic=topic",))
    data.check_texts(found, tmp_path)
    with pytest.raises(UserError, match=r"label 'x': .*rows.jsonl has no column 'kind'; .*'topic'"):
        data.check_texts(LanguageSettings(dataset=str(path), labels=("x=kind",)), tmp_path)
    with pytest.raises(UserError, match="has no column 'story'"):
        data.check_texts(LanguageSettings(dataset=str(path), column="story"), tmp_path)
    # windows that are kept need no text
    (tmp_path / data.WINDOWS).touch()
    data.check_texts(LanguageSettings(dataset=str(path), column="story"), tmp_path)
