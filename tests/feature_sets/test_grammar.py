import json
import math

import numpy as np
import pytest
import spacy
import torch

from feature_sets import FeatureSet, Windows, grammar, load_pipeline, select_labels
from feature_sets.errors import UserError
from feature_sets.grammar import frequency_classes, next_tokens
from feature_sets.matching import check_pattern
from feature_sets.pipelines import describe, installed_pipelines, with_sentences

pytestmark = pytest.mark.plain

STORY = (
    'Lily had two dogs. "They are happy," said Lily. She gave the big dogs a bone.\n'
    "Her mom was very proud of her."
)
FAMILIES = {"tag", "morphology", "relation", "position", "word", "distance"}


@pytest.fixture(scope="module")
def nlp():
    return load_pipeline("embedded")


def windows_before(words, story=STORY, window_start=0, columns=None):
    """Windows that end before the first occurrence of each word (after the one before it)."""
    starts, last = [], 0
    for word in words:
        last = story.index(word, last)
        starts.append(last)
    n = len(words)
    return Windows(
        tokens=torch.zeros(n, 4, dtype=torch.long),
        words=tuple(words),
        model_words=None,
        tags=("X",) * n,
        model_tags=None,
        stories=(story,),
        story=torch.zeros(n, dtype=torch.long),
        start=torch.tensor(starts),
        window_start=torch.full((n,), window_start),
        pieces=torch.tensor([1 + (index % 2) for index in range(n)]),
        columns=columns or {},
    )


def column(features, name):
    return features.values[:, features.names.index(name)].astype(int).tolist()


def test_labels_of_plain_words_are_right(nlp):
    words = ["Lily", "had", "dogs", "They", "are", "said", "She", "the", "dogs", "Her", "was"]
    features = grammar(windows_before(words), nlp)
    assert set(features.families) == FAMILIES
    assert column(features, "PROPN") == [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    assert column(features, "NOUN") == [0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0]
    assert column(features, "DET") == [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]
    assert column(features, "Tense=Past") == [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert column(features, "PronType=Prs") == [0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0]
    assert column(features, "first word of the sentence") == [1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0]
    assert column(features, "inside a quotation") == [0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    assert column(features, "capitalized") == [1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0]
    assert column(features, "occurred in the window") == [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]
    assert column(features, "several tokens") == [0, 1] * 5 + [0]


def test_one_window_has_no_labels(nlp):
    with pytest.raises(ValueError, match="same for all windows: pass more windows"):
        grammar(windows_before(["dogs"]), nlp)


def test_a_repetition_counts_within_the_window_only(nlp):
    story = "The dog saw a cat. Then the dog ran to it."
    words = ["dog", "saw", "dog"]
    inside = grammar(windows_before(words, story), nlp)
    assert column(inside, "occurred in the window") == [0, 0, 1]
    outside = grammar(windows_before(words, story, window_start=story.index("saw")), nlp)
    assert "occurred in the window" not in outside.names


def test_every_morphological_value_of_the_pipeline_is_a_label(nlp):
    words = ["Lily", "had", "two", "dogs", "They", "are", "happy", "said", "She", "the", "a"]
    windows = windows_before(words)
    tokens = next_tokens(windows, nlp)
    expected = {f"{k}={v}" for t in tokens for k, vs in t.morph.to_dict().items() for v in [vs]}
    found = grammar(windows, nlp).family("morphology").names
    assert {name for name in expected if "," not in name} <= set(found)


def test_distance_counts_words_not_punctuation(nlp):
    story = "The dog ran home, fast. It slept."
    words = ["The", "dog", "ran", "home", "slept", "."]
    features = grammar(windows_before(words, story), nlp)
    assert column(features, "words to the sentence's end") == [4, 3, 2, 1, 0, 0]
    assert column(features, "sentence ends within 3 words") == [0, 1, 1, 1, 1, 0]


def quoted(nlp, story, words):
    return column(grammar(windows_before(words, story), nlp), "inside a quotation")


@pytest.mark.parametrize(("opening", "closing"), ['""', "“”"])
def test_quotation_marks_are_outside_of_their_quotation(nlp, opening, closing):
    story = f"{opening}Go home now,{closing} said Tom."
    words = [opening, "Go", "now", ",", closing, "said", "Tom", "."]
    assert quoted(nlp, story, words) == [0, 1, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("mark", ['"', "“"])
@pytest.mark.parametrize("gap", ["\n", "\n\n", "\r\n", "\n \n\n"])
def test_a_forgotten_quotation_mark_ends_with_its_paragraph(nlp, gap, mark):
    story = f"{mark}Go home, said Tom.{gap}The dog ran. {mark}I see a cat.{gap}They slept."
    words = ["Go", "Tom", "The", "ran", "see", "They", "slept"]
    assert quoted(nlp, story, words) == [1, 1, 0, 0, 1, 0, 0]


def test_a_line_break_within_a_paragraph_ends_no_quotation(nlp):
    story = 'Tom said, "I see\na cat in the\nhouse."\n\nThe dog ran.\nThey slept.'
    words = ["Tom", "see", "cat", "house", "The", "They"]
    assert quoted(nlp, story, words) == [0, 1, 1, 1, 0, 0]
    # blank lines around a story part no paragraphs
    story = '\n\n"Go home, said Tom.\nThe dog ran.\n\n'
    assert quoted(nlp, story, ["Go", "Tom", "dog", "ran"]) == [1, 1, 0, 0]


def test_frequency_classes_are_octaves_below_the_most_frequent_word(nlp):
    doc = nlp("the the the the the the the The cat cat.")
    assert frequency_classes([doc[0], doc[7], doc[8], doc[10]]) == [0, 0, math.log2(8 / 2), 3]


def test_own_labels_by_function_column_and_pattern(nlp):
    words = ["Lily", "had", "dogs", "They", "said", "She", "big", "dogs"]
    windows = windows_before(
        words, columns={"source": ("a", "b") * 4, "flag": (True,) * 3 + (False,) * 5}
    )
    features = grammar(
        windows,
        nlp,
        own={
            "short": lambda token: len(token.text) < 4,
            "source": "source",
            "flag": "flag",
            "adjective noun": [{"POS": "ADJ"}, {"POS": "NOUN"}],
        },
    )
    assert column(features, "short") == [0, 1, 0, 0, 0, 1, 1, 0]
    assert column(features, "source=a") == [1, 0] * 4
    assert column(features, "flag") == [1, 1, 1, 0, 0, 0, 0, 0]
    assert column(features, "adjective noun") == [0, 0, 0, 0, 0, 0, 1, 1]
    assert set(features.family("own").names) == {
        "short", "source=a", "source=b", "flag", "adjective noun",
    }  # fmt: skip


def test_own_labels_of_a_column_of_numbers(nlp):
    words = ["Lily", "had", "dogs", "They", "said", "She"]
    windows = windows_before(
        words,
        columns={
            "topic": (0, 2, 1, 0, 2, 1),
            "stars": (1.0, 2.0, 5.0, 1.0, 2.0, 5.0),
            "length": (0.5, 1.5, 2.5, 0.5, 1.5, 2.5),
            "flag": (0, 1, 0, 1, 0, 1),
            "mixed": ("a", 1, "a", True, 1, 2.5),
            "ids": tuple(range(100, 106)),
        },
    )
    own = {name: name for name in windows.columns}
    features = grammar(windows, nlp, own=own).family("own")
    assert column(features, "topic") == [0, 2, 1, 0, 2, 1]
    assert column(features, "topic=2") == [0, 1, 0, 0, 1, 0]
    assert column(features, "stars=5") == [0, 0, 1, 0, 0, 1]
    assert column(features, "mixed=1") == [0, 1, 0, 0, 1, 0]
    binary = set(features.binary().names)
    assert {"topic=0", "topic=1", "topic=2", "stars=1", "stars=2", "flag", "mixed=a"} <= binary
    assert {"topic", "stars", "length", "ids"} == {*features.names} - binary
    assert not any(name.startswith(("flag=", "length=")) for name in features.names)
    many = windows_before(words * 4, STORY * 4, columns={"n": tuple(range(24))})
    assert grammar(many, nlp, own={"n": "n"}).family("own").names == ("n",)


def test_a_regular_expression_is_searched_for(nlp):
    own = {"s": [{"LOWER": {"REGEX": "^(th|l).*y$"}}], "plural": [{"MORPH": {"REGEX": "r=Plur"}}]}
    features = grammar(windows_before(["Lily", "had", "dogs", "They"]), nlp, own=own)
    assert column(features, "s") == [1, 0, 0, 1]
    assert column(features, "plural") == [0, 0, 1, 1]


def test_a_regular_expression_without_an_end_is_refused(nlp, monkeypatch):
    monkeypatch.setattr("feature_sets.matching.SECONDS", 0.05)
    story = "A " + "a" * 60 + "b ran."
    own = {"x": [{"TEXT": {"REGEX": "^(a|aa)+$"}}]}
    with pytest.raises(UserError, match=r"'\^\(a\|aa\)\+\$' takes too long \(it was at 'aaaaa"):
        grammar(windows_before(["A", "ran"], story), nlp, own=own)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ([{"TEXT": {"REGEX": "("}}], r"broken \(missing \), unterminated"),
        ([{"TEXT": {"REGEX": {"IN": ["a"]}}}], "write one expression"),
        ([{"NOPE": 1}], "does not take the pattern"),
        ([], "no list of descriptions"),
        (["a"], "no list of descriptions"),
    ],
)
def test_patterns_that_cannot_be_meant(pattern, message):
    with pytest.raises(UserError, match=message):
        check_pattern(pattern)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"x": [{"TEXT": {"REGEX": "("}}]}, "broken"),
        ({"x": ["a"]}, "no list of descriptions"),
        ({"x": 3}, "no list of descriptions"),
        ({"x": "gaps"}, "without a value for 2 windows, such as 1"),
        ({"x": "author"}, "no column 'author'"),
        ({"x": lambda token: True}, "'x' is 1 for every window"),
        ({"NOUN": lambda token: token.text == "Lily"}, "two labels are called 'NOUN'"),
    ],
)
def test_own_labels_that_cannot_be_meant(nlp, own, message):
    columns = {"gaps": ("a", None, float("nan"))}
    windows = windows_before(["Lily", "had", "dogs"], columns=columns)
    with pytest.raises(ValueError, match=message):
        grammar(windows, nlp, own=own)


def test_windows_of_another_tokenizer_are_refused(nlp):
    windows = windows_before(["ily"])
    with pytest.raises(ValueError, match="label the windows with the pipeline that made them"):
        grammar(windows, nlp)


def test_a_pipeline_without_sentences_gets_them_by_punctuation():
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("attribute_ruler")
    ruler.add([[{"IS_ALPHA": True}]], {"POS": "NOUN"})
    ruler.add([[{"LOWER": "ran"}]], {"POS": "VERB"})
    with pytest.warns(UserWarning, match="marks no sentences"):
        features = grammar(windows_before(["The", "ran", "It"], "The dog ran. It fell."), nlp)
    assert column(features, "first word of the sentence") == [1, 0, 1]
    assert "relation" not in features.families
    assert nlp.pipe_names == ["attribute_ruler"]


def test_load_pipeline_says_what_it_is_and_refuses_what_does_not_tag(tmp_path):
    assert describe(load_pipeline("embedded")).startswith("en_ewt_tl_entk")
    with pytest.raises(ValueError, match="no spaCy pipeline 'en_nothing'"):
        load_pipeline("en_nothing")
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(ValueError, match="gives no parts of speech"):
        load_pipeline(str(tmp_path / "blank"))


def test_the_best_installed_pipeline_is_found_by_its_meta_data(monkeypatch, tmp_path):
    tags = ["tagger", "attribute_ruler"]
    metas = {
        "en_core_web_md": dict(lang="en", pipeline=tags, performance={"tag_acc": 0.97}),
        "better_under_another_name": dict(lang="en", pipeline=tags, performance={"tag_acc": 0.98}),
        "en_morphologizer": dict(lang="en", pipeline=["morphologizer"], performance={}),
        "en_names_only": dict(lang="en", pipeline=["ner"], performance={"tag_acc": 0.99}),
        "de_core_news_lg": dict(lang="de", pipeline=tags, performance={"tag_acc": 0.99}),
        "en_of_old": dict(lang="en", pipeline=tags, performance={"tag_acc": 0.99},
                          spacy_version=">=2.0,<2.1"),
    }  # fmt: skip
    for name, meta in metas.items():
        (tmp_path / name).mkdir()
        meta = {"name": name, "version": "1", "spacy_version": ">=3.0", **meta}
        (tmp_path / name / "meta.json").write_text(json.dumps(meta))
    monkeypatch.setattr("feature_sets.pipelines.util.get_installed_models", lambda: list(metas))
    monkeypatch.setattr("feature_sets.pipelines.util.get_package_path", tmp_path.joinpath)
    assert installed_pipelines() == [
        "better_under_another_name", "en_core_web_md", "en_morphologizer"
    ]  # fmt: skip
    asked = []
    monkeypatch.setattr(
        "feature_sets.pipelines.spacy.load", lambda name: asked.append(name) or _tagger()
    )
    load_pipeline()
    assert asked == ["better_under_another_name"]


def _tagger():
    nlp = spacy.blank("en")
    nlp.add_pipe("attribute_ruler").add([[{"IS_ALPHA": True}]], {"POS": "NOUN"})
    return nlp


def test_the_embedded_pipeline_marks_sentences_itself(nlp):
    assert with_sentences(nlp) is nlp


def labels(**columns):
    n = len(next(iter(columns.values())))
    names = tuple(columns)
    families = tuple("tag" if name.isupper() else "morphology" for name in names)
    return FeatureSet(np.array(list(columns.values())).T.reshape(n, -1), names, families, names)


def test_selection_follows_the_papers_rules():
    half = [1] * 20 + [0] * 20
    features = labels(
        NOUN=half,
        rare=[1] * 3 + [0] * 37,
        common=[0] * 2 + [1] * 38,
        few=[0] * 20 + [1] * 8 + [0] * 12,
        one_word=[0] * 8 + [1] * 12 + [0] * 20,
        same=half,
        opposite=[1 - x for x in half],
        kept=[1, 0] * 20,
        PUNCT=[0] * 30 + [1] * 10,
    )
    words = [f"w{i}" for i in range(8)] + ["the"] * 9 + [f"v{i}" for i in range(23)]
    words[20:28] = ["x", "y"] * 4
    words[30:40] = ["."] * 10
    found = select_labels(features, words, min_positives=5, min_words=4)
    assert found.features.names == ("NOUN", "kept", "PUNCT")
    assert {name: reason.split(" ")[0] for name, reason in found.dropped.items()} == {
        "rare": "3", "common": "2", "few": "2", "one_word": "75%", "same": "says",
        "opposite": "says",
    }  # fmt: skip


def test_selection_keeps_numbers_and_refuses_an_empty_rest():
    features = FeatureSet(
        np.array([[0.5, 1], [1.5, 0], [2.5, 0]]), ("x", "y"), ("distance", "morphology"), ("x", "y")
    )
    assert select_labels(features, ["a", "b", "c"]).features.names == ("x",)
    with pytest.raises(ValueError, match="no label is left"):
        select_labels(features.binary(), ["a", "b", "c"])
    with pytest.raises(ValueError, match="2 words for 3 examples"):
        select_labels(features, ["a", "b"])
