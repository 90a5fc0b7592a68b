"""Both Gram formulas against the plainest sum, and the rule that chooses between them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tl_entk.kernel.gram import _by_gradients, _by_pairs, gram, gram_diagonal, pairs_are_cheaper
from tl_entk.model.factors import Direct, OneHot, Outer

pytestmark = pytest.mark.plain

BIG = 2**30


def plain(x, g):
    """K[h, n, m] = <sum_t x_nt (outer) g_nt, sum_s x_ms (outer) g_ms>, one head at a time."""
    heads = max(len(x), len(g))
    gradients = torch.einsum(
        "htni,htno->hnio", x.expand(heads, -1, -1, -1), g.expand(heads, -1, -1, -1)
    )
    flat = gradients.flatten(2)
    return flat @ flat.mT


@settings(max_examples=40, deadline=None)
@given(
    heads=st.sampled_from([(1, 1), (3, 1), (1, 3)]),
    uses=st.integers(1, 5),
    n=st.integers(1, 9),
    widths=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    budget=st.sampled_from([1, 200, 1000, BIG]),
)
def test_both_formulas_equal_the_plain_sum(heads, uses, n, widths, budget):
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(heads[0], uses, n, widths[0], generator=generator, dtype=torch.float64)
    g = torch.randn(heads[1], uses, n, widths[1], generator=generator, dtype=torch.float64)
    expected = plain(x, g)
    torch.testing.assert_close(gram(Outer(x, g), budget), expected)
    torch.testing.assert_close(_by_gradients(x, g, budget), expected)
    upper = _by_pairs(x, g, budget)
    torch.testing.assert_close(upper.triu(), expected.triu())
    diagonal = gram_diagonal(Outer(x, g))
    torch.testing.assert_close(diagonal, expected.diagonal(dim1=1, dim2=2))


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 7), length=st.integers(1, 6), vocabulary=st.integers(1, 4))
def test_embedding_equals_its_one_hot_form(n, length, vocabulary):
    generator = torch.Generator().manual_seed(n * length)
    tokens = torch.randint(0, vocabulary, (n, length), generator=generator)
    g = torch.randn(length, n, 3, generator=generator, dtype=torch.float64)
    one_hot = torch.nn.functional.one_hot(tokens.T, vocabulary).double()[None]
    expected = plain(one_hot, g[None])
    torch.testing.assert_close(gram(OneHot(tokens, g), BIG), expected)
    diagonal = gram_diagonal(OneHot(tokens, g))
    torch.testing.assert_close(diagonal, expected.diagonal(dim1=1, dim2=2))


def test_direct_is_a_product():
    v = torch.randn(2, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(gram(Direct(v), 100), v @ v.mT)
    torch.testing.assert_close(gram_diagonal(Direct(v)), (v * v).sum(2))


def test_a_weight_that_is_never_reached_has_a_zero_kernel():
    factors = Outer(torch.zeros(1, 0, 4, 2), torch.zeros(1, 0, 4, 3))
    assert torch.equal(gram(factors, BIG), torch.zeros(1, 4, 4))


@pytest.mark.parametrize(("d_in", "d_out"), [(640, 2048), (64, 16), (128, 128), (2048, 640)])
def test_break_even_is_where_the_costs_meet_not_where_ghost_norms_say(d_in, d_out):
    break_even = math.sqrt(d_in * d_out / (d_in + d_out))
    n = 10**9  # many examples: forming the gradients costs nothing beside their products
    assert pairs_are_cheaper(n, math.floor(break_even), d_in, d_out)
    assert not pairs_are_cheaper(n, math.ceil(break_even + 1e-9), d_in, d_out)
    ghost = math.sqrt(d_in * d_out / 2)
    assert not pairs_are_cheaper(n, math.floor(ghost), d_in, d_out)


def test_the_rule_chooses_the_formula(monkeypatch):
    import tl_entk.kernel.gram as module

    chosen = []
    for name in ("_by_pairs", "_by_gradients"):
        function = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, f=function, name=name: chosen.append(name) or f(*a)
        )
    for uses in (1, 3):
        module.gram(Outer(torch.randn(1, uses, 50, 4), torch.randn(1, uses, 50, 4)), BIG)
    assert chosen == ["_by_pairs", "_by_gradients"]
