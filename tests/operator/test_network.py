"""The chunked network by itself: runs, times, examples apart, what is not finite."""

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch

import tl_entk.operator.network as module
from tests.models import HAS_HOOKED, build, tokens
from tl_entk import kernel_blocks, kernel_operator
from tl_entk.operator.plan import OperatorPlan
from tl_entk.tools.ranks import Ranks

NAME = "blocks.1.mlp.W_in"


@cache
def made(n, name):
    return kernel_operator(build("native:layer_norm"), tokens(n), name, readout="logits").network


def network_of(*, n=5, name=NAME, chunk=2, kept=1, cached=True, columns=3):
    """J J^T of all logits, in several chunks."""
    found = copy.copy(made(n, name))
    found._chunks, found.plan = [], OperatorPlan(chunk, kept, cached, columns, memory=0)
    return found


def dense(network, width=7):
    """J J^T as a matrix (n d, n d), a column at a time."""
    size = network.n * width
    unit = torch.eye(size, dtype=torch.float64).reshape(size, network.n, width)
    return torch.stack([p.flatten() for p in network.multiply(list(unit))], 1)


@pytest.mark.parametrize("options", [{}, {"kept": 3}, {"kept": 0, "cached": False}])
def test_examples_apart_are_the_diagonal_blocks(options):
    network = network_of(**options)
    blocks = dense(network).reshape(5, 7, 5, 7)[range(5), :, range(5)]
    vectors = torch.randn(4, 5, 7, dtype=torch.float64)  # more than one sweep takes
    found = network.multiply_apart(list(vectors))
    torch.testing.assert_close(torch.stack(found), torch.einsum("nde,bne->bnd", blocks, vectors))


@pytest.mark.parametrize("several", [1, 2, 3, 4])
@pytest.mark.parametrize(("kept", "cached"), [(1, True), (0, True), (0, False)])
def test_derivatives_of_every_way_agree(several, kept, cached):
    vectors = list(torch.randn(several, 5, 7, dtype=torch.float64))
    expected = network_of(kept=3).multiply(vectors)
    ways = [(True, True), (False, True), (True, False)]
    for forward_mode, double_backward in ways if kept == 0 else ways[:1]:
        network = network_of(kept=kept, cached=cached)
        network.suffix = replace(
            network.suffix, forward_mode=forward_mode, double_backward=double_backward
        )
        torch.testing.assert_close(network.multiply(vectors), expected)


@pytest.mark.parametrize("several", [1, 3])
def test_forward_derivatives_are_not_asked_of_a_network_without_any(several, monkeypatch):
    network = network_of(kept=0)
    network.suffix = replace(network.suffix, forward_mode=False)
    monkeypatch.setattr(type(network.suffix), "push", lambda *_: pytest.fail("asked for"))
    network.multiply([torch.ones(5, 7, dtype=torch.float64)] * several)


@pytest.mark.parametrize("name", ["blocks.1.mlp.*", "*.ln1*", "pos_*", "blocks.0.attn.*[2]"])
def test_products_are_those_of_the_flattened_block(name):
    model, vectors = build("native:layer_norm"), torch.randn(2, 5, 7, dtype=torch.float64)
    block = kernel_blocks(model, tokens(5), "logits", name).total()
    expected = (vectors.flatten(1) @ block).reshape(2, 5, 7)
    # one chunk that is kept goes past the weights, by the inputs' inner products
    for options in ({"chunk": 5}, {"kept": 3}, {"kept": 0}):
        found = network_of(name=name, **options).multiply(list(vectors))
        torch.testing.assert_close(torch.stack(found), expected)


@pytest.mark.skipif(not HAS_HOOKED, reason="whose ln1 is called for queries, keys and values")
def test_calls_of_one_module_have_their_own_inputs():
    model, batch = build("hooked:gpt2"), tokens(3)
    block = kernel_blocks(model, batch, "logits", "*.ln1*").total()
    found = kernel_operator(model, batch, "*.ln1*", readout="logits")
    found.prepare()
    graph = found.network._chunks[0].graph
    assert len(graph.calls) > len({tap for tap, _ in graph.calls})
    torch.testing.assert_close(found.to_dense(), block)


def test_a_kept_graph_is_made_once_and_never_run_again(monkeypatch):
    network = network_of(chunk=2, kept=3)
    ran, run = [], type(network.suffix).run
    monkeypatch.setattr(
        type(network.suffix),
        "run",
        lambda s, rows, *a, **o: ran.append(rows) or run(s, rows, *a, **o),
    )
    network.prepare()
    assert ran == [slice(0, 2), slice(2, 4), slice(4, 5)]
    network.prepare()
    for several in (1, 4):
        network.multiply([torch.ones(5, 7, dtype=torch.float64)] * several)
    assert len(ran) == 3


@pytest.mark.parametrize(("kept", "forwards"), [(0, 6), (1, 4), (2, 2)])
def test_chunks_that_are_not_kept_run_twice_for_each_product(monkeypatch, kept, forwards):
    network = network_of(kept=kept)
    network.prepare()
    ran, run = [], type(network.suffix).run
    monkeypatch.setattr(
        type(network.suffix),
        "run",
        lambda s, rows, *a, **o: ran.append(rows) or run(s, rows, *a, **o),
    )
    network.multiply([torch.ones(5, 7, dtype=torch.float64)] * 3)
    assert len(ran) == forwards


@pytest.mark.parametrize(
    ("n", "chunk", "kept", "setup", "product"),
    # a second for an example's set-up; 10 for its product from a kept graph, 100 from none
    [(7, 3, 1, 7.0, 30 + 400), (7, 3, 0, 7.0, 700), (7, 3, 3, 7.0, 70)],
)
def test_times_of_some_rows_are_scaled_to_all(monkeypatch, n, chunk, kept, setup, product):
    network = network_of(n=n, chunk=chunk, kept=kept)
    timed = []

    def clock(prepare, _):
        prepare()
        timed.append(made[-1])
        return float(timed[-1].rows.stop - timed[-1].rows.start)

    def clock_of_products(work, _):
        rows = timed[-1].rows.stop - timed[-1].rows.start
        vectors = work.__defaults__[0]
        return rows * (10.0 if timed[-1].graph else 100.0) * (1 + 0.25 * (vectors - 1))

    made, prepare = [], network._prepare_chunk
    monkeypatch.setattr(network, "_prepare_chunk", lambda *a: made.append(prepare(*a)) or made[-1])
    monkeypatch.setattr(module, "seconds", clock)
    monkeypatch.setattr(module, "best_seconds", clock_of_products)
    found = network.measure(torch.zeros(n, 7, 4, dtype=torch.float64))
    assert found == pytest.approx((setup, product, product / 4))
    assert {one.rows.stop for one in made} == {min(network.plan.chunk, 52)}


def test_times_are_of_a_few_rows(monkeypatch):
    network = network_of(n=80, chunk=80, kept=0)
    rows = []
    monkeypatch.setattr(network, "_measure_rows", lambda r, *_: rows.append(r) or (1.0, 2.0, 1.0))
    found = network.measure(torch.zeros(80, 7, 2, dtype=torch.float64))
    assert rows == [slice(0, 52)]  # 256 tokens in windows of five
    assert found == (1.0, 2.0, 0.0)  # never a vector that takes less than nothing


def test_what_is_not_finite_is_the_kernels_only_if_the_vector_is():
    network = network_of()
    vector = torch.ones(5, 7, dtype=torch.float64)
    vector[1, 2] = float("nan")
    assert not network.multiply([vector])[0].isfinite().all()
    with pytest.raises(RuntimeError, match="product with the kernel"):
        network.multiply([torch.full_like(vector, 1e308)])


def test_the_exchange_is_added_and_sees_all_gradients():
    network = network_of()
    vectors = list(torch.randn(2, 5, 7, dtype=torch.float64))
    plain, seen = network.multiply(vectors), []
    total = network._pull_all(vectors)

    def exchange(cotangents, gradients, ranks):
        seen.append((cotangents, gradients, ranks))
        return [torch.full_like(c, 2.0 + i) for i, c in enumerate(cotangents)]

    network._exchange = exchange
    found = network.multiply(vectors)
    for i in range(2):
        torch.testing.assert_close(found[i], plain[i] + 2.0 + i)
        assert seen[0][0][i] is vectors[i]
        for key, gradient in total[i].items():
            torch.testing.assert_close(seen[0][1][i][key], gradient)


def test_a_weight_that_nothing_reads_adds_nothing(model):
    names = ["blocks.0.mlp.W_in", "blocks.1.mlp.W_in"]
    model.add_hook("blocks.1.hook_resid_pre", lambda value, hook: value.detach())
    both, one = (
        kernel_operator(model, tokens(5), name, readout="logits").to_dense()
        for name in (names, names[1])
    )
    model.reset_hooks()
    torch.testing.assert_close(both, one)


def test_gradients_are_added_up_over_the_processes(monkeypatch):
    vectors = list(torch.randn(2, 5, 7, dtype=torch.float64))
    alone = network_of().multiply(vectors)
    # two processes of the same examples
    monkeypatch.setattr(Ranks, "add_up", lambda _, *parts: [part.mul_(2) for part in parts])
    for both, one in zip(network_of().multiply(vectors), alone, strict=True):
        torch.testing.assert_close(both, 2 * one)


def test_a_smaller_plan_has_half_the_examples_and_keeps_no_graph():
    network = network_of(chunk=5, kept=1)
    network.prepare()
    for chunk, half in ((5, 2), (2, 1)):
        with pytest.warns(RuntimeWarning, match=f"with {chunk} examples at a time; .* {half}, and"):
            network._shrink()
        assert (network.plan.chunk, network.plan.kept, network._chunks) == (half, 0, [])
    with pytest.raises(torch.OutOfMemoryError, match="single example"):
        network._shrink()
