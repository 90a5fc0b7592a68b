"""Tensors and numpy arrays, (n, d) and (n, t, d), wherever directions or activations go in."""

import numpy as np
import pytest
import torch

import tl_entk
from feature_sets import FeatureSet
from feature_sets.errors import UserError
from tl_entk.tools.arrays import to_matrix, to_tensor

pytestmark = pytest.mark.plain
RNG = np.random.default_rng(0)
N = 60
STATES = RNG.standard_normal((N, 8))
FEATURES = FeatureSet.from_dict({"positive": STATES[:, 0] > 0, "large": STATES[:, 1] > 0.3})
KERNEL = STATES @ STATES.T
FAST = {"n_bootstrap": 10}
EIGEN = tl_entk.eigendecompose(KERNEL, k=3)
BLOCKS = tl_entk.KernelBlocks({"a": torch.from_numpy(KERNEL)})

# every public function that takes numbers of examples, as a function of those numbers
TAKES = {
    "eigendecompose": lambda x: tl_entk.eigendecompose(x @ x.T, k=3).eigenvalues,
    "pca_scores": lambda x: tl_entk.pca_scores(x, 3).abs(),
    "subspace_overlap": lambda x: tl_entk.subspace_overlap(x[:, :3], x[:, 2:6]).singular_values,
    "subspace_overlap, features": lambda x: tl_entk.subspace_overlap(x[:, :3], FEATURES).overlap,
    "abs_cosines": lambda x: tl_entk.abs_cosines(x, FEATURES),
    "group_projections": lambda x: tl_entk.group_projections(x, FEATURES)[0],
    "purity": lambda x: tl_entk.purity(x, FEATURES),
    "component_shares": lambda x: list(tl_entk.component_shares(BLOCKS, x[:, 0]).values()),
    "best_directions": lambda x: [
        row.ap.value for row in tl_entk.best_directions(x, FEATURES, n_permutations=2, **FAST).rows
    ],
    "compare": lambda x: [
        found.value
        for row in tl_entk.compare(
            x[:, :2], FEATURES, x, baselines={"own": x[:, :5]}, probe="ridge", **FAST
        ).rows
        for found in row.scores.values()
    ],
    "probe_bases": lambda x: [
        row.difference.value
        for row in tl_entk.probe_bases({"a": x, "b": x[:, :2]}, FEATURES, **FAST).rows
    ],
    "rotate_by_varimax": lambda x: tl_entk.rotate_by_varimax(x[:, :3]).vectors,
    "rotate_by_smoothness": lambda x: (
        tl_entk.rotate_by_smoothness(x[:, :3], [np.diag(np.arange(1.0, N + 1))]).vectors
    ),
    "rotate_by_kernel": lambda x: tl_entk.rotate_by_kernel(x[:, :3], x @ x.T).vectors,
    "center_within": lambda x: tl_entk.center_within(x, [i // 4 for i in range(N)]),
    "kernel_laplacian": lambda x: tl_entk.kernel_laplacian(x @ x.T).toarray(),
    "find_cliffs": lambda x: [cliff.ratio for cliff in tl_entk.find_cliffs(0 * x[:5, 0] + 1)],
    "embedding_spectrum": lambda x: list(tl_entk.embedding_spectrum(x).values()),
    "top_examples": lambda x: [one.score for one in tl_entk.top_examples(x, 1).highest],
}


def read_only(values):
    values = values.copy()
    values.flags.writeable = False
    return values


@pytest.mark.parametrize("name", TAKES)
@pytest.mark.parametrize(
    "kind",
    [lambda x: x, read_only, np.asfortranarray, lambda x: x[::-1][::-1]],
    ids=["numpy", "read-only", "by columns", "turned twice"],
)
def test_arrays_are_taken_as_tensors_are(name, kind):
    expected = TAKES[name](torch.from_numpy(STATES))
    np.testing.assert_allclose(TAKES[name](kind(STATES)), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["abs_cosines", "purity", "best_directions", "top_examples"])
def test_directions_are_taken_by_their_scores(name):
    np.testing.assert_allclose(TAKES[name](EIGEN), TAKES[name](EIGEN.scores))


@pytest.mark.parametrize("kind", [torch.from_numpy, np.asarray])
def test_the_last_of_several_positions_is_taken_and_said(kind):
    wide = RNG.standard_normal((N, 4, 8))
    for call in (
        lambda x: tl_entk.pca_scores(x, 2),
        lambda x: [
            row.scores["PCA"].value
            for row in tl_entk.compare(STATES[:, :2], FEATURES, x, probe="ridge", **FAST).rows
        ],
    ):
        with pytest.warns(UserWarning, match=r"last position.*activations\[:, position\]"):
            found = call(kind(wide))
        np.testing.assert_allclose(found, call(kind(wide[:, -1])))


def test_number_formats():
    assert to_tensor(np.float16([1, 2]), "x").dtype == torch.float16
    assert to_tensor(np.array([1, 2], ">f4"), "x").dtype == torch.float32
    assert to_tensor(np.array([True]), "x").dtype == torch.float64
    assert to_tensor(torch.ones(2, dtype=torch.bfloat16), "x").dtype == torch.bfloat16
    assert to_tensor(torch.tensor([1]), "x").dtype == torch.float64
    grad = torch.ones(2, requires_grad=True)
    assert not to_tensor(grad, "x").requires_grad


def test_an_array_that_is_taken_is_not_shared():
    values = STATES.copy()
    taken = to_matrix(values, "x")
    values[:] = 0
    assert taken.abs().sum() > 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(3), r"One column is activations\[:, None\]"),
        (np.ones((2, 2, 2, 2)), r"shape \(2, 2, 2, 2\)"),
        (np.array([[1.0, np.nan], [1.0, 2.0]]), "1 of 2 examples .the first is 0"),
        (torch.tensor([[1.0], [torch.inf]]), "the first is 1"),
        (np.array([["a"]]), "array of real numbers"),
        (np.array([[1j]]), "array of real numbers"),
        (torch.tensor([[1j]]), "complex"),
        ({"a": 1}, "pass a tensor or a numpy array"),
        (np.ones((5, 2)), "activations of 5 examples beside 3"),
    ],
)
def test_what_cannot_be_meant_is_said(values, message, untyped):
    n = 3 if getattr(values, "shape", ()) == (5, 2) else None
    with pytest.raises(UserError, match=message):
        to_matrix(values, "activations", n)


@pytest.mark.parametrize("name", ["pca_scores", "abs_cosines", "best_directions", "compare"])
def test_numbers_that_are_not_finite_are_refused_everywhere(name):
    broken = STATES.copy()
    broken[4, 2 if name != "compare" else 0] = np.nan
    with pytest.raises(UserError, match="not finite in 1 of 60"):
        TAKES[name](broken)


def test_other_numbers_of_examples_are_refused(untyped):
    for call in (
        lambda: tl_entk.compare(STATES[:, :2], FEATURES, STATES[:-1]),
        lambda: tl_entk.best_directions(STATES[:-1], FEATURES),
        lambda: tl_entk.abs_cosines(STATES[:-1], FEATURES),
        lambda: tl_entk.probe_bases({"a": STATES, "b": STATES[:-1]}, FEATURES),
    ):
        with pytest.raises(UserError, match="same examples"):
            call()
