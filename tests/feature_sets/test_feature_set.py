import numpy as np
import pandas as pd
import pytest
import torch

from feature_sets import FeatureSet
from feature_sets.errors import UserError

pytestmark = pytest.mark.plain


def test_columns_of_any_kind_become_features():
    features = FeatureSet.from_dict(
        {
            "list": [True, False, True],
            "array": np.array([1, 2, 3]),
            "tensor": torch.tensor([0.5, 0.25, 1.0], requires_grad=True),
            "series": pd.Series([0, 1, 0], index=[7, 8, 9]),
        },
        families={"array": "lengths"},
        groups={"array": "both", "tensor": "both"},
    )
    assert features.values.tolist() == [[1, 1, 0.5, 0], [0, 2, 0.25, 1], [1, 3, 1, 0]]
    assert features.families == ("features", "lengths", "features", "features")
    assert features.groups == ("list", "both", "both", "series")
    assert features.is_binary == [True, False, False, True]
    assert FeatureSet.from_dict({"a": [0, 1]}, families="tags").families == ("tags",)


def test_a_column_of_texts_becomes_a_family():
    frame = pd.DataFrame(
        {
            "tag": pd.Categorical(["NOUN", "VERB", "NOUN", "DET"], ["DET", "NOUN", "VERB"]),
            "plural": [True, False, False, True],
            "length": [3, 4, 4, 1],
        }
    )
    features = FeatureSet.from_frame(frame, families={"length": "words"})
    assert features.names == ("tag=NOUN", "tag=VERB", "tag=DET", "plural", "length")
    assert features.families == ("tag", "tag", "tag", "features", "words")
    assert features.family("tag").values.sum(1).tolist() == [1, 1, 1, 1]
    assert features.values[:, 4].tolist() == [3, 4, 4, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FeatureSet.from_dict({}), "one or more"),
        (lambda: FeatureSet.from_dict({"a": [1, 2], "b": [1, 2, 3]}), "{'a': 2, 'b': 3}"),
        (lambda: FeatureSet.from_dict({"a": [[1], [2]]}), "one number or truth value"),
        (lambda: FeatureSet.from_dict({"a": ["x", "y"]}), "FeatureSet.from_frame"),
        (lambda: FeatureSet.from_dict({"a": [1, 1]}), "constant"),
        (lambda: FeatureSet.from_dict({"a": [1, np.nan]}), "not finite"),
        (lambda: FeatureSet.from_dict({"a": [0, 1]}, groups={"b": "x"}), "groups of \\['b'\\]"),
        (lambda: FeatureSet.from_dict({"a": [0, 1]}, families={"b": "x"}), "families of"),
        (lambda: FeatureSet.from_frame(pd.DataFrame({"a": [None, "x"]})), "1 missing"),
        (lambda: FeatureSet.from_frame(pd.DataFrame(index=[0, 1])), "one or more"),
        (lambda: FeatureSet.from_frame(pd.DataFrame([[0, 1]], columns=["a", "a"])), "unique"),
        (
            lambda: FeatureSet.from_frame(pd.DataFrame({"a": [0, 1]}), families={"b": "x"}),
            "families of",
        ),
    ],
)
def test_what_a_caller_can_fix_is_said(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_a_table_is_no_matrix_of_values(untyped):
    frame = pd.DataFrame({"a": [0, 1]})
    with pytest.raises(UserError, match=r"FeatureSet\.from_frame"):
        FeatureSet(frame, ("a",), ("f",), ("a",))
    with pytest.raises(UserError, match=r"FeatureSet\.from_dict"):
        FeatureSet({"a": [0, 1]}, ("a",), ("f",), ("a",))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            (np.zeros((3, 0)), (), (), ()),
            "there are no features: pass one",
        ),
        ((np.zeros((0, 1)), ("a",), ("f",), ("a",)), "there are no examples: pass one"),
        ((np.eye(2), "ab", ("f", "f"), ("a", "b")), "names is one text, 'ab': pass a list"),
        ((np.eye(2), ("a", "b"), "ff", ("a", "b")), "families is one text"),
        ((np.eye(2), ("a", "b"), ("f", "f"), "ab"), "groups is one text"),
        ((np.array([["a"], ["b"]]), ("a",), ("f",), ("a",)), "<U1: pass an array of real numbers"),
    ],
)
def test_what_is_no_feature_set_is_refused(given, message, untyped):
    with pytest.raises(UserError, match=message):
        FeatureSet(*given)


def test_a_selection_without_features_is_refused():
    features = FeatureSet.from_dict({"a": [0, 1], "b": [0.5, 1]})
    for empty in (
        lambda: features.without(["a", "b"]),
        lambda: features.take([]),
        lambda: features.without(["a"]).binary(),
    ):
        with pytest.raises(UserError, match=r"no features are left|there are no features"):
            empty()
