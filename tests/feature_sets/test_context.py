import numpy as np
import pytest

from feature_sets import context_labels, load_pipeline
from feature_sets.context import CONTEXT, PRESENT
from tests.feature_sets.test_grammar import STORY, column, windows_before

pytestmark = pytest.mark.plain
WORDS = ["had", "dogs", "They", "are", "happy", "said", "She", "big", "bone", "Her", "very"]


@pytest.fixture(scope="module")
def nlp():
    return load_pipeline("embedded")


def test_the_present_word_is_the_last_one_read(nlp):
    found = context_labels(windows_before(WORDS), nlp)
    assert set(found.families) == {PRESENT, CONTEXT}
    # Lily two . They are happy", Lily. the a . was
    assert column(found, "present PROPN") == [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    assert column(found, "present PRON") == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert column(found, "present DET") == [0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0]
    assert column(found, "present PUNCT") == [0, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0]
    assert column(found, "present PronType=Prs") == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert "present dep=nsubj" in found.names


def test_the_context_is_what_stands_before_the_word(nlp):
    found = context_labels(windows_before(WORDS), nlp)
    assert column(found, "a quotation is open") == [0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert column(found, "a quotation mark in the window") == [0, 0] + [1] * 9
    assert column(found, "a verb in the sentence so far") == [0, 1, 0, 0, 1, 1, 0, 1, 1, 0, 1]
    assert column(found, "the end of a sentence in the window") == [0, 0] + [1] * 9


def test_a_window_sees_no_further_back_than_it_begins(nlp):
    start = STORY.index("She")
    found = context_labels(
        windows_before(["gave", "dogs", "Her", "proud"], window_start=start), nlp
    )
    assert "a quotation mark in the window" not in found.names  # none has one
    assert column(found, "the end of a sentence in the window") == [0, 0, 1, 1]


def test_the_start_of_a_text_has_no_present_word(nlp):
    found = context_labels(windows_before(["Lily", "had", "dogs", "big"]), nlp)
    assert all(column(found, name)[0] == 0 for name in found.family(PRESENT).names)
    assert column(found, "a verb in the sentence so far") == [0, 0, 1, 1]


def test_what_comes_after_the_window_decides_nothing(nlp):
    before = 'Lily had two dogs. "They are happy," said Lily. She gave'
    found = [
        context_labels(windows_before(["dogs", "happy", "gave", *word], f"{before} {text}"), nlp)
        for word, text in (
            (["cats"], "cats a bone."),
            (["up"], "up! Why? No."),
            (["."], ". The end"),
        )
    ]
    for other in found[1:]:
        assert other.family(CONTEXT).names == found[0].family(CONTEXT).names
        np.testing.assert_array_equal(other.family(CONTEXT).values, found[0].family(CONTEXT).values)
