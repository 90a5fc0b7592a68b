"""Structured features: what is present with what, how often, and what is refused."""

import pytest
import torch

from feature_sets.structured_features import structured_features
from feature_sets.structures import STRUCTURES, check_sparsity, family_of, feature_kinds
from feature_sets.superposition import sparse_features

pytestmark = pytest.mark.plain

N, P = 20000, 0.1


def draw(structure, features=30, n=N):
    return structured_features(n, features, 1 - P, structure, torch.Generator().manual_seed(0))


def families(structure):
    """Presence (N, families, size)."""
    x = draw(structure) > 0
    return x.reshape(N, -1, len(family_of(structure).kinds))


# how often each member of a family is present, in units of p
RATES = {
    "independent": (1,),
    "correlated": (1, 1),
    "anticorrelated": (1, 1),
    "hierarchical": (2, 1, 1, 1, 1),
    "sums": (2, 2, 3),
    "conjunctions": (2, 2, 1),
}


@pytest.mark.parametrize("structure", STRUCTURES)
def test_features_are_as_frequent_as_they_should_be_and_families_independent(structure):
    present = families(structure)
    rates = present.double().mean((0, 1))
    assert torch.allclose(rates, P * torch.tensor(RATES[structure]).double(), atol=0.005)
    first, second = present[:, 0, 0].double(), present[:, 1, 0].double()
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.03
    norms = draw(structure).norm(dim=1)
    assert torch.allclose(norms[norms > 0], torch.ones(()), atol=1e-5)


def test_independent_features_are_the_paper_s():
    expected = sparse_features(50, 6, 0.9, torch.Generator().manual_seed(0))
    assert torch.equal(draw("independent", 6, 50), expected)


def test_pairs():
    together = families("correlated")
    assert torch.equal(together[:, :, 0], together[:, :, 1])
    x = draw("correlated").reshape(N, -1, 2)
    assert not torch.allclose(x[:, :, 0], x[:, :, 1])
    assert not families("anticorrelated").all(2).any()


def test_a_child_is_never_without_its_parent_and_siblings_are_independent_given_it():
    present = families("hierarchical")
    parent, children = present[:, :, 0], present[:, :, 1:]
    assert not (children & ~parent[..., None]).any()
    given = children[parent].double()
    assert torch.allclose(given.mean(0), torch.full((4,), 0.5).double(), atol=0.02)
    assert (torch.corrcoef(given.T) - torch.eye(4)).abs().max() < 0.03


@pytest.mark.parametrize(
    ("structure", "whole"),
    [("sums", lambda a, b: a + b), ("conjunctions", torch.minimum)],
)
def test_a_whole_is_made_of_its_parts(structure, whole):
    x = draw(structure).reshape(N, -1, 3)
    a, b = x[..., 0], x[..., 1]
    # scaled with its example: both functions scale with their arguments
    assert torch.allclose(x[..., 2], whole(a, b), atol=1e-6)
    ways = [float(((a > 0) == first).logical_and((b > 0) == second).double().mean())
            for first, second in ((True, False), (False, True), (True, True))]  # fmt: skip
    assert ways == pytest.approx([P] * 3, abs=0.005)


def test_kinds():
    assert feature_kinds(5, "hierarchical") == ["parent", *["child"] * 4]
    assert feature_kinds(4, "correlated") == ["paired"] * 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: feature_kinds(7, "hierarchical"), "multiple of 5"),
        (lambda: feature_kinds(0, "sums"), "1 or more"),
        (lambda: family_of("fractal"), "one of independent, correlated"),
        (lambda: check_sparsity(0.4, "anticorrelated"), "0.5 or more"),
        (lambda: check_sparsity(0.6, "sums"), "0.667 or more"),
        (lambda: structured_features(5, 4, 0.9, "sums", torch.Generator()), "multiple of 3"),
        (lambda: structured_features(0, 3, 0.9, "sums", torch.Generator()), "n = 0"),
        (lambda: structured_features(5, 3, 1.0, "sums", torch.Generator()), "below 1"),
        (lambda: structured_features(5, 3, 0.9, "sums", 0), "pass a torch.Generator"),
        (lambda: structured_features(5, 5, 0.1, "hierarchical", torch.Generator()), "0.5 or more"),
    ],
)
def test_what_is_refused(call, message, untyped):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_family_may_be_present_always():
    assert draw("sums", 3, 9).shape == (9, 3)
    check_sparsity(2 / 3, "sums")
    check_sparsity(0.5, "hierarchical")
