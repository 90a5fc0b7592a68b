"""Windows of the language-model experiment: a search that is interrupted goes on where it was."""

import pytest

import tl_entk
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
