import numpy as np
import pytest
import torch

from tl_entk.directions.laplacians import kernel_laplacian, torus_laplacians

pytestmark = pytest.mark.plain

P = 7
A, B = np.divmod(np.arange(P * P), P)
DIRECTIONS = ("a", "b", "a+b", "a-b")


def random_kernel(n=20, seed=0):
    rows = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return rows @ rows.T


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("p", [1, 2, 3, 6, 7])
def test_torus_is_a_union_of_cycles(p, direction):
    dense = torus_laplacians(*np.divmod(np.arange(p * p), p), p)[direction].toarray()
    np.testing.assert_array_equal(dense, dense.T)
    np.testing.assert_array_equal(dense.sum(1), 0)
    cycle = 2 - 2 * np.cos(2 * np.pi * np.arange(p) / p)
    expected = np.sort(np.repeat(cycle, p))
    np.testing.assert_allclose(np.linalg.eigvalsh(dense), expected, atol=1e-12)


def test_torus_is_the_kronecker_product_of_cycles():
    eye = np.eye(P)
    cycle = 2 * eye - np.roll(eye, 1, 0) - np.roll(eye, -1, 0)
    laplacians = torus_laplacians(A, B, P)
    np.testing.assert_array_equal(laplacians["a"].toarray(), np.kron(cycle, eye))
    np.testing.assert_array_equal(laplacians["b"].toarray(), np.kron(eye, cycle))


@pytest.mark.parametrize("k", [1, 3])
def test_waves_are_eigenvectors_along_their_own_direction_only(k):
    for direction, phase in {"a+b": A + B, "a-b": A - B}.items():
        wave = np.cos(2 * np.pi * k * phase / P + 0.3)
        for other, laplacian in torus_laplacians(A, B, P).items():
            steps = {direction: 2}.get(other, 0 if other in ("a+b", "a-b") else 1)
            value = 2 - 2 * np.cos(2 * np.pi * k * steps / P)
            np.testing.assert_allclose(laplacian @ wave, value * wave, atol=1e-12)


def test_permuting_examples_permutes():
    order = np.random.default_rng(0).permutation(P * P)
    plain, permuted = torus_laplacians(A, B, P), torus_laplacians(A[order], B[order], P)
    assert set(plain) == set(DIRECTIONS)
    for direction, laplacian in permuted.items():
        expected = plain[direction].toarray()[np.ix_(order, order)]
        np.testing.assert_array_equal(laplacian.toarray(), expected)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("a", "b", "p", "problem"),
    [
        (A[1:], B[1:], P, "has 49 pairs"),
        (A, B[1:], P, "has 49 pairs"),
        (A, B, P + 1, "has 64 pairs"),
        (A + 1, B, P, "a goes from 1 to 7"),
        (A, B - 1, P, "b goes from -1 to 5"),
        (A, A, P, "42 of the 49 pairs are missing"),
        (A, B, 0, "at least 1"),
    ],
)
def test_anything_but_all_pairs_is_refused(a, b, p, problem):
    with pytest.raises(ValueError, match=problem):
        torus_laplacians(a, b, p)


def test_small_integers_do_not_overflow():
    a, b = (x.astype(np.int8) for x in np.divmod(np.arange(13 * 13), 13))
    assert torus_laplacians(a, b, 13)["a+b"].diagonal().tolist() == [2.0] * 169


@pytest.mark.parametrize("neighbours", [1, 4, 19])
def test_kernel_graph_joins_the_nearest(neighbours):
    laplacian = kernel_laplacian(random_kernel(), neighbours).toarray()
    np.testing.assert_array_equal(laplacian, laplacian.T)
    np.testing.assert_array_equal(laplacian.sum(1), 0)
    assert set(laplacian[~np.eye(20, dtype=bool)]) <= {0.0, -1.0}
    assert laplacian.diagonal().min() >= neighbours
    assert np.linalg.eigvalsh(laplacian).min() > -1e-10


def test_kernel_graph_equals_scikit_learns():
    from sklearn.neighbors import kneighbors_graph

    kernel = random_kernel().numpy()
    middle = np.eye(20) - 1 / 20
    graph = kneighbors_graph(middle @ kernel @ middle, 4, metric="cosine").toarray()
    joined = np.maximum(graph, graph.T)
    expected = np.diag(joined.sum(1)) - joined
    laplacian = kernel_laplacian(torch.from_numpy(kernel), 4).toarray()
    np.testing.assert_array_equal(laplacian, expected)


def test_kernel_graph_keeps_all_ties_whatever_the_order():
    kernel = torch.from_numpy((A[:, None] == A).astype(float) + (B[:, None] == B))
    laplacian = kernel_laplacian(kernel, 3).toarray()
    assert laplacian.diagonal().tolist() == [2.0 * (P - 1)] * P * P
    order = np.random.default_rng(0).permutation(P * P)
    permuted = kernel_laplacian(kernel[order][:, order], 3).toarray()
    np.testing.assert_array_equal(permuted, laplacian[np.ix_(order, order)])


@pytest.mark.parametrize("neighbours", [0, 20])
def test_so_many_neighbours_there_are_not(neighbours):
    with pytest.raises(ValueError, match="pass 1 to 19"):
        kernel_laplacian(random_kernel(), neighbours)


def test_an_example_like_the_mean_is_refused():
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    with pytest.raises(ValueError, match="row 2"):
        kernel_laplacian(rows @ rows.T, 2)
