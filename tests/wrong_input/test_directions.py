"""Directions, activations and states that are no matrix of the examples, where they are taken."""

import numpy as np
import pytest
import torch

import tl_entk
from tests.wrong_input.cases import (
    ACTIVATIONS,
    BLOCKS,
    EIGEN,
    FAST,
    FEATURES,
    MATRICES,
    OTHER_LENGTH,
    VECTOR,
    Case,
    at,
    crossed,
    every,
)

pytestmark = pytest.mark.plain

TAKES_DIRECTIONS = {
    "subspace_overlap": lambda x: tl_entk.subspace_overlap(x, FEATURES),
    "abs_cosines": lambda x: tl_entk.abs_cosines(x, FEATURES),
    "group_projections": lambda x: tl_entk.group_projections(x, FEATURES),
    "purity": lambda x: tl_entk.purity(x, FEATURES),
    "best_directions": lambda x: tl_entk.best_directions(x, FEATURES, **FAST),
    "compare": lambda x: tl_entk.compare(x, FEATURES, ACTIVATIONS, **FAST),
    "center_within": lambda x: tl_entk.center_within(x, ["a", "b"] * 6),
    "plot.alignment": lambda x: tl_entk.plot.alignment(x, FEATURES),
}
TAKES_STATES = {
    "pca_scores": lambda x: tl_entk.pca_scores(x, 2),
    "compare's activations": lambda x: tl_entk.compare(EIGEN.take([0]), FEATURES, x, **FAST),
    "compare's baselines": lambda x: tl_entk.compare(
        EIGEN, FEATURES, ACTIVATIONS, baselines={"mine": x}, **FAST
    ),
    "probe_bases": lambda x: tl_entk.probe_bases({"mine": x, "e": EIGEN}, FEATURES, **FAST),
    "embedding_spectrum": tl_entk.embedding_spectrum,
}
TAKES_ONE = {
    "component_shares": lambda x: tl_entk.component_shares(BLOCKS, x),
    "rotate_by_varimax": tl_entk.rotate_by_varimax,
    "rotate_by_ica": tl_entk.rotate_by_ica,
    "rotate_by_kernel": tl_entk.rotate_by_kernel,
    "rotate_by_smoothness": lambda x: tl_entk.rotate_by_smoothness(x, [np.eye(12)]),
    "subspace_overlap's features": lambda x: tl_entk.subspace_overlap(EIGEN, x),
    "abs_cosines' features": lambda x: tl_entk.abs_cosines(EIGEN, x),
    "top_examples": lambda x: tl_entk.top_examples(x, 0),
    "plot.windows": lambda x: tl_entk.plot.windows(x, 0),
}
# these say themselves what they take
OWN_WORDS = {"a feature set", "no example", "four axes", "NaN", "infinite", "infinite array"}
ZERO = torch.cat([ACTIVATIONS[:, :1], torch.zeros(12, 1)], 1)

CASES = [
    *(
        case
        for case in crossed(
            TAKES_DIRECTIONS, MATRICES | {"vector": VECTOR, "other length": OTHER_LENGTH}
        )
        if case.name != "plot.alignment, another result"  # which it draws, without features
    ),
    *crossed(TAKES_STATES, MATRICES | {"vector": VECTOR}),
    *crossed(TAKES_ONE, {name: MATRICES[name] for name in MATRICES if name not in OWN_WORDS}),
    *crossed(
        TAKES_DIRECTIONS,
        {
            "vectors of many outputs": (
                torch.ones(12, 3, 2),
                r"shape \(12, 3, 2\).*pass their scores",
            )
        },
    ),
    Case(
        "an orthonormal basis of dependent directions",
        lambda: tl_entk.rotate_by_varimax(torch.ones(12, 2)),
        "span 1 dimensions only: drop the dependent ones",
    ),
    Case(
        "a direction that is not finite, rotated",
        lambda: tl_entk.rotate_by_ica(at(ACTIVATIONS[:, :2], np.nan)),
        "not finite",
    ),
    Case(
        "overlap of zeros",
        lambda: tl_entk.subspace_overlap(torch.zeros(12, 2), FEATURES),
        "all directions are zero: leave them out",
    ),
    Case(
        "cosine of a direction of zeros",
        lambda: tl_entk.abs_cosines(ZERO, FEATURES),
        "direction 1 is zero.*leave it out",
    ),
    Case(
        "projection of a direction of zeros",
        lambda: tl_entk.group_projections(ZERO, FEATURES),
        "direction 1 is zero.*leave it out",
    ),
    Case(
        "shares of a direction of zeros",
        lambda: tl_entk.component_shares(BLOCKS, torch.zeros(12)),
        "is it zero",
    ),
    Case(
        "shares of directions of another length",
        lambda: tl_entk.component_shares(BLOCKS, ACTIVATIONS[:7]),
        "direction has 7 entries, the blocks are 12 x 12",
    ),
    Case(
        "shares of directions of many outputs",
        lambda: tl_entk.component_shares(BLOCKS, torch.ones(12, 3, 2)),
        r"shape \(12, 3, 2\)",
    ),
    Case(
        "activations of other examples",
        lambda: tl_entk.compare(EIGEN, FEATURES, ACTIVATIONS[:7], **FAST),
        "activations of 7.*same examples",
    ),
    Case(
        "a baseline of other examples",
        lambda: tl_entk.compare(
            EIGEN, FEATURES, ACTIVATIONS, baselines={"mine": ACTIVATIONS[:7]}, **FAST
        ),
        "'mine'.* of 7 examples.*same examples",
    ),
    Case(
        "baselines that are no mapping",
        lambda: tl_entk.compare(EIGEN, FEATURES, ACTIVATIONS, baselines=[ACTIVATIONS], **FAST),
        "baselines is a list: pass a mapping from names",
    ),
    Case(
        "a baseline of a taken name",
        lambda: tl_entk.compare(
            EIGEN, FEATURES, ACTIVATIONS, baselines={"PCA": ACTIVATIONS}, **FAST
        ),
        "'PCA' has the name of another: choose a new one",
    ),
    Case(
        "more directions than activations are wide",
        lambda: tl_entk.compare(EIGEN, FEATURES, ACTIVATIONS[:, :2], **FAST),
        "4 directions.*width 2.*compare fewer",
    ),
    Case(
        "bases that are no mapping",
        lambda: tl_entk.probe_bases([ACTIVATIONS, ACTIVATIONS], FEATURES, **FAST),
        "bases is a list: pass a mapping from names",
    ),
    Case(
        "a single basis",
        lambda: tl_entk.probe_bases({"mine": ACTIVATIONS}, FEATURES, **FAST),
        "1 bases: pass two or more",
    ),
    Case(
        "groups of another length",
        lambda: tl_entk.center_within(EIGEN, ["a"] * 5),
        "5 groups for 12 examples: pass one per example",
    ),
    Case(
        "no groups",
        lambda: tl_entk.center_within(EIGEN, None),
        "groups is a NoneType: pass a list of one per example",
    ),
    Case(
        "groups as one number",
        lambda: tl_entk.best_directions(EIGEN, FEATURES, groups=3, **FAST),
        "groups is a int: pass a list of one per example",
    ),
    Case(
        "groups that are lists",
        lambda: tl_entk.center_within(EIGEN, [[1]] * 12),
        "groups.*hashable|groups has a list: pass",
    ),
    Case(
        "groups in two columns",
        lambda: tl_entk.center_within(EIGEN, np.zeros((12, 2))),
        r"groups has shape \(12, 2\): pass one per example",
    ),
]


@every(CASES)
def test_wrong_directions_are_refused(case, untyped):
    case.check()


def test_arrays_and_tensors_are_taken_alike():
    array = EIGEN.scores.numpy()
    slow = {"best_directions", "compare"}  # tests of arrays have those
    for name, call in {**TAKES_DIRECTIONS, **TAKES_ONE}.items():
        if "plot" not in name and "features" not in name and name not in slow:
            assert str(call(array)) == str(call(EIGEN.scores)), name
