"""Feature sets that are none, and what they are made of."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import tl_entk
from feature_sets import FeatureSet, fourier, select_labels
from feature_sets.superposition import sparse_features, superposition
from tests.wrong_input.cases import (
    ACTIVATIONS,
    EIGEN,
    FAST,
    FEATURE_SETS,
    FEATURES,
    KERNEL,
    PLACES,
    REAL,
    Case,
    crossed,
    every,
    whole_numbers,
)

pytestmark = pytest.mark.plain

TAKES_FEATURES = {
    "group_projections": lambda x: tl_entk.group_projections(EIGEN, x),
    "purity": lambda x: tl_entk.purity(EIGEN, x),
    "best_directions": lambda x: tl_entk.best_directions(EIGEN, x, **FAST),
    "compare": lambda x: tl_entk.compare(EIGEN, x, ACTIVATIONS, **FAST),
    "probe_bases": lambda x: tl_entk.probe_bases({"a": EIGEN, "b": ACTIVATIONS}, x, **FAST),
    "kernel_spectrum": lambda x: tl_entk.kernel_spectrum(KERNEL, x),
    "select_labels": lambda x: select_labels(x, ["a"] * 12, min_positives=1, min_words=1),
    "judge_sweep": lambda x: tl_entk.judge_sweep({"a": {"0": EIGEN}}, x),
}
LENGTHLESS = {name: value for name, value in FEATURE_SETS.items() if name != "other length"}
A, B = np.divmod(np.arange(25), 5)
VALUES, TWO = FEATURES.values, ("even", "odd")


def make(values=VALUES, names=TWO, families=("f", "f"), groups=TWO, frequencies=()):
    return FeatureSet(values, names, families, groups, frequencies)


def of(values):
    return FeatureSet.from_dict({"x": values})


CLASS_CASES = [
    Case("no feature", lambda: make(np.ones((12, 0)), (), (), ()), "no features.*pass"),
    Case("no example", lambda: make(np.ones((0, 2))), "no examples.*pass"),
    Case("one axis", lambda: make(VALUES[:, 0]), r"shape \(12,\): pass \(examples, features\)"),
    Case("texts", lambda: make(np.full((12, 2), "a")), "of <U1: pass .*numbers"),
    Case("objects", lambda: make(np.full((12, 2), None)), "of object: pass .*numbers"),
    Case("complex", lambda: make(VALUES * 1j), "of complex128: pass .*numbers"),
    Case("ragged", lambda: make([[1.0, 0.0], [1.0]]), "values is a list.*pass"),
    Case("none", lambda: make(None), "values.*NoneType.*pass"),
    Case("mapping", lambda: make({"x": [0, 1]}), r"call FeatureSet.from_dict"),
    Case("frame", lambda: make(pd.DataFrame(VALUES)), r"call FeatureSet.from_frame"),
    Case("NaN", lambda: make(np.where(VALUES > 0, np.nan, 0)), "'even' is not finite: drop it"),
    Case("constant", lambda: make(np.ones((12, 2))), "'even' is constant.*drop it"),
    Case("one example", lambda: make(VALUES[:1]), "'even' is constant.*drop it"),
    Case("too few names", lambda: make(names=("even",)), "2 features need as many names"),
    Case("one name twice", lambda: make(names=("even", "even")), "one name: make .* unique"),
    Case("names as one text", lambda: make(names="ab"), "names is one text.*pass a list of texts"),
    Case(
        "families as one text",
        lambda: make(families="ff"),
        "families is one text.*pass a list of texts",
    ),
    Case(
        "groups as one text", lambda: make(groups="ab"), "groups is one text.*pass a list of texts"
    ),
    Case("no names", lambda: make(names=None), "names is a NoneType: pass a list of texts"),
    Case("names as numbers", lambda: make(names=(1, 2)), "names has 1: pass a list of texts"),
    Case("frequencies", lambda: make(frequencies=(1,)), "1 frequencies for 2 features"),
    Case("no frequencies", lambda: make(frequencies=None), "frequencies is a NoneType: pass"),
    Case("half frequencies", lambda: make(frequencies=(1, 1.5)), "frequencies has 1.5: pass int"),
    Case("negative ones", lambda: make(frequencies=(1, -2)), "frequencies has -2: pass integers"),
    Case(
        "mixed group",
        lambda: make(np.stack([PLACES % 2, PLACES], 1), groups=("g", "g")),
        "'g' mixes binary and real features: split it",
    ),
    Case("unknown family", lambda: FEATURES.family("nope"), r"no family 'nope': there are"),
    Case("unknown group", lambda: FEATURES.group("nope"), r"no group 'nope': there are"),
    Case("no family left", lambda: FEATURES.family(), "no features.*pass"),
    Case("nothing taken", lambda: FEATURES.take([]), "no features.*pass"),
    Case("column out of range", lambda: FEATURES.take([5]), "column 5: there are 0 to 1"),
    Case("column by name", lambda: FEATURES.take(["even"]), "column 'even': there are 0 to 1"),
    Case("real alone, binary", lambda: REAL.binary(), "no features.*pass|no binary features"),
    Case("all names left out", lambda: FEATURES.without(TWO), "no features.*pass"),
    Case("left out as one text", lambda: FEATURES.without("even"), "names is one text.*pass"),
    Case("unknown left out", lambda: FEATURES.without(["nope"]), "no feature 'nope': there are"),
    Case("row out of range", lambda: FEATURES.rows([0, 99]), "row 99: there are 0 to 11"),
    Case("no rows", lambda: FEATURES.rows([]), "no examples.*pass"),
    Case("rows as a number", lambda: FEATURES.rows(3), "rows is a int: pass"),
    Case("a feature constant over rows", lambda: FEATURES.rows([0, 2]), "constant.*drop it"),
    Case("from an empty mapping", lambda: FeatureSet.from_dict({}), "no features: pass"),
    Case("from none", lambda: FeatureSet.from_dict(None), "features is a NoneType: pass a mapping"),
    Case(
        "from an array", lambda: FeatureSet.from_dict(VALUES), "features is a ndarray: pass a map"
    ),
    Case("from a frame", lambda: FeatureSet.from_dict(pd.DataFrame(VALUES)), "from_frame"),
    Case("a column of texts", lambda: of(["a"] * 12), "pass one number or truth value.*from_frame"),
    Case("a ragged column", lambda: of([[1], [1, 2]]), "'x'.*pass one number or truth value"),
    Case("a column of None", lambda: of([None, 1, 0]), "'x'.*pass one number or truth value"),
    Case("a column that is a number", lambda: of(3), "'x'.*pass one number or truth value"),
    Case("a column with NaN", lambda: of([0, 1, np.nan]), "'x' is not finite: drop it"),
    Case(
        "columns of two lengths",
        lambda: FeatureSet.from_dict({"x": [0, 1], "y": [0, 1, 0]}),
        "different numbers of examples",
    ),
    Case(
        "families of unknown features",
        lambda: FeatureSet.from_dict({"x": [0, 1]}, families={"y": "f"}),
        r"families of \['y'\]: there are the features",
    ),
    Case(
        "a family that is a number",
        lambda: FeatureSet.from_dict({"x": [0, 1]}, families=3),
        "families is a int: pass",
    ),
    Case(
        "groups that are one text",
        lambda: FeatureSet.from_dict({"x": [0, 1]}, groups="g"),
        "groups is a str: pass a mapping",
    ),
    Case(
        "from no frame", lambda: FeatureSet.from_frame(VALUES), "frame is a ndarray: pass a pandas"
    ),
    Case(
        "a frame with a gap",
        lambda: FeatureSet.from_frame(pd.DataFrame({"x": [0.0, None]})),
        "1 missing values: drop those examples",
    ),
    Case(
        "a frame without columns",
        lambda: FeatureSet.from_frame(pd.DataFrame(index=range(3))),
        "no features: pass",
    ),
    Case(
        "a frame with one name twice",
        lambda: FeatureSet.from_frame(pd.DataFrame(VALUES, columns=["x", "x"])),
        "one name: make the names unique",
    ),
]
FOURIER_CASES = [
    Case("p of one", lambda: fourier(A, B, 1), "p = 1: pass.*2 or more"),
    Case("p of zero", lambda: fourier(A, B, 0), "p = 0: pass.*2 or more"),
    Case("p that is no integer", lambda: fourier(A, B, 5.5), "p = 5.5: pass.*2 or more"),
    Case("no frequency", lambda: fourier(A, B, 5, []), "no frequencies: pass"),
    Case("frequency out of range", lambda: fourier(A, B, 5, [3]), "frequency 3.*pass 1 to 2"),
    Case("frequency that is a number", lambda: fourier(A, B, 5, 1), "frequencies is a int: pass"),
    Case("half a frequency", lambda: fourier(A, B, 5, [1.5]), "frequency 1.5.*pass 1 to 2"),
    Case("frequency twice", lambda: fourier(A, B, 5, [1, 1]), "frequencies.*twice"),
    Case("no waves", lambda: fourier(A, B, 5, families=[]), "no families: pass"),
    Case(
        "families as one text",
        lambda: fourier(A, B, 5, families="a+b"),
        r"families is one text.*\['a\+b'\]",
    ),
    Case("unknown waves", lambda: fourier(A, B, 5, families=["c"]), "no family 'c': there are"),
    Case("waves twice", lambda: fourier(A, B, 5, families=["a", "a"]), "families.*twice"),
    Case("two lengths", lambda: fourier(A, B[:7], 5), "lengths 25 and 7: pass one of each"),
    Case("numbers with a point", lambda: fourier(A + 0.5, B, 5), "a has .*float64: pass integers"),
    Case(
        "texts", lambda: fourier(np.full(25, "a"), B, 5), "a is a .*pass an array of real numbers"
    ),
    Case("no summand", lambda: fourier(None, B, 5), "a is a .*pass an array of real numbers"),
    Case("two axes", lambda: fourier(A.reshape(5, 5), B.reshape(5, 5), 5), r"shape \(5, 5\)"),
    Case("no examples", lambda: fourier(A[:0], B[:0], 5), "no examples"),
    Case("alike", lambda: fourier(A[:1], B[:1], 5), "alike in all examples|constant"),
    *(
        Case(f"sparsity {name}", lambda value=value: sparse_features(4, 3, value, None), words)
        for name, (value, words) in {
            "one": (1.0, "sparsity = 1.0: pass a probability"),
            "negative": (-0.1, "sparsity = -0.1: pass a probability"),
            "NaN": (float("nan"), "sparsity = nan: pass a probability"),
            "text": ("half", "sparsity = 'half': pass a probability"),
        }.items()
    ),
    *crossed({"examples": lambda n: sparse_features(n, 3, 0.5, None)}, whole_numbers("n")),
    *crossed({"features": lambda n: sparse_features(3, n, 0.5, None)}, whole_numbers("features")),
    Case("no generator", lambda: sparse_features(3, 3, 0.5, 0), "generator is a int: pass a torch"),
    Case(
        "a feature of zeros", lambda: superposition(torch.tensor([[1.0, 0.0]])), "feature 1 is zero"
    ),
    Case("features of one axis", lambda: superposition(torch.ones(3)), r"shape \(3,\)"),
    Case("features with NaN", lambda: superposition(torch.full((2, 2), np.nan)), "not finite"),
    Case("features that are none", lambda: superposition(None), "is a NoneType.*pass a tensor"),
]
OTHER_CASES = [
    *crossed(TAKES_FEATURES, LENGTHLESS),
    *crossed(
        {name: TAKES_FEATURES[name] for name in TAKES_FEATURES if name[0] not in "sj"},
        {"other length": FEATURE_SETS["other length"]},
    ),
    Case(
        "real features have no best direction",
        lambda: tl_entk.best_directions(EIGEN, REAL),
        "only binary features.*Use compare",
    ),
    Case(
        "features without frequencies",
        lambda: tl_entk.kernel_spectrum(KERNEL, FEATURES, "features"),
        "no frequencies: pass those of feature_sets.fourier",
    ),
    Case(
        "purity by something else",
        lambda: tl_entk.purity(EIGEN, FEATURES, by="layer"),
        "by = 'layer': pass .*group.*family",
    ),
    Case(
        "a constant feature",
        lambda: tl_entk.subspace_overlap(EIGEN, torch.ones(12, 1)),
        "feature 0 is constant.*drop it",
    ),
    Case(
        "a feature that is rare",
        lambda: tl_entk.best_directions(EIGEN, FeatureSet.from_dict({"x": PLACES == 3}), **FAST),
        "too rare to split; drop it",
    ),
    Case(
        "all positive but one",
        lambda: tl_entk.compare(
            EIGEN, FeatureSet.from_dict({"x": PLACES != 3}), ACTIVATIONS, **FAST
        ),
        "too rare to split; drop it",
    ),
    Case(
        "words of other windows",
        lambda: select_labels(FEATURES, ["a"]),
        "1 words for 12 examples: pass one word",
    ),
    Case("words as one text", lambda: select_labels(FEATURES, "a" * 12), "words is one text"),
    Case("words as numbers", lambda: select_labels(FEATURES, [1] * 12), "words has 1: pass"),
    *crossed(
        {"labels": lambda x: select_labels(FEATURES, ["a"] * 12, min_positives=x)},
        whole_numbers("min_positives", 0),
    ),
    *crossed(
        {"words": lambda x: select_labels(FEATURES, ["a"] * 12, min_words=x)},
        whole_numbers("min_words", 0),
    ),
    Case(
        "labels that are all too rare",
        lambda: select_labels(FEATURES, ["a"] * 12),
        "no label is left.*lower the bounds",
    ),
]


@every(CLASS_CASES)
def test_no_feature_set_is_made_of_this(case, untyped):
    case.check()


@every(FOURIER_CASES)
def test_no_waves_or_sparse_features_are_made_of_this(case, untyped):
    case.check()


@every(OTHER_CASES)
def test_wrong_features_are_refused(case, untyped):
    case.check()


def test_right_features_are_taken(untyped):
    assert make(values=torch.from_numpy(VALUES)).names == TWO
    assert make(names=["even", "odd"]).families == ("f", "f")
    assert replace(FEATURES).names == TWO
    assert len(fourier(A, B, 5, families=("a",))) == len(
        fourier(torch.tensor(A), B, 5, None, ["a"])
    )
