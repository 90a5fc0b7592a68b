"""What an operator says of itself, and that eigenpairs will take, with a clock of our own."""

import pytest
import torch

import tl_entk.operator.operator as module
from tests.models import build, tokens
from tl_entk import kernel_operator
from tl_entk.directions.cost import best_block_size, expected_products
from tl_entk.operator.network import Timing
from tl_entk.operator.operator import KernelOperator
from tl_entk.operator.plan import OperatorPlan
from tl_entk.tools.ranks import Ranks

TIMING = Timing(setup=3.0, product=2.0, further=0.5)


@pytest.fixture
def closed(model):
    """An operator that runs no network."""
    return kernel_operator(model, tokens(5), "unembed.W_U")


@pytest.fixture
def network(model, monkeypatch):
    """One that runs its forward pass again for each product."""
    op = kernel_operator(model, tokens(5), "blocks.1.mlp.W_in")
    op.network.plan = OperatorPlan(2, 0, True, columns=3, memory=123)
    monkeypatch.setattr(op.network, "measure", lambda vectors: TIMING)
    return op


def test_an_operator_is_exact_or_not_and_has_an_identity_of_its_own(model, closed, network):
    assert closed.exact
    assert network.exact
    single = build("native:layer_norm", torch.float32)
    assert not kernel_operator(single, tokens(5), "blocks.*", precision="bfloat16").exact
    assert (network.space, closed.space) == ("final_hidden", "final_hidden")
    assert kernel_operator(model, tokens(5), "unembed.W_U", readout="logits").space == "outputs"
    identities = [
        closed.identity,
        network.identity,
        kernel_operator(model, tokens(5), "*").identity,
    ]
    assert all(identities)
    assert len({tuple(sorted(one.items())) for one in identities}) == 3


def test_an_operator_has_its_own_processs_examples(closed):
    options = {"dtype": closed.dtype, "device": closed.device, "provenance": {}, "identity": {}}
    for rank, own in enumerate((3, 2)):
        found = KernelOperator(
            closed._parts,
            closed.components,
            5,
            12,
            memory_budget=2**30,
            ranks=Ranks(2, rank),
            **options,
        )
        assert (found.ranks, found._own) == (Ranks(2, rank), own)


def test_one_vector_and_four_are_timed(closed, monkeypatch):
    ran = []

    def clock(work, device):
        assert device == closed.device
        ran.append(work().shape)
        return 5.0 + 2.0 * work.__defaults__[0]

    monkeypatch.setattr(module, "best_seconds", clock)
    estimate = closed.estimate(3)
    assert ran == [(5, 12, 1), (5, 12, 4)]
    assert (estimate.setup_seconds, estimate.product_seconds) == (0.0, 7.0)
    assert estimate.further_seconds == 2.0
    monkeypatch.setattr(module, "best_seconds", lambda work, _: 5.0 - work.__defaults__[0])
    assert closed.estimate(3).further_seconds == 0.0  # never less than nothing


def test_an_estimate_is_of_the_networks_times(network):
    estimate = network.estimate(2, block_size=4)
    assert (estimate.setup_seconds, estimate.product_seconds) == (3.0, 2.0)
    assert (estimate.further_seconds, estimate.block_size) == (0.5, 4)
    assert estimate.products == min(expected_products(2, 4), 60)
    assert estimate.memory_bytes == 123


def test_vectors_and_products_are_no_more_than_rows(network, closed):
    assert network.estimate(60, block_size=1000).block_size == 60
    for op in (network, closed):
        assert op.estimate(60).products == 60


def test_default_block_size(network, closed):
    assert closed.default_block_size(7) == closed.estimate(7).block_size == 7
    expected = best_block_size(2.0, 0.5)
    assert network.default_block_size(7) == network.estimate(7).block_size == expected > 1
    other = Timing(0.0, 1.0, 1.0)  # a further vector costs what the first does
    assert network.default_block_size(7, other) == best_block_size(1.0, 1.0) < expected
    network.network.plan = OperatorPlan(2, 3, False, columns=3, memory=0)
    assert network.default_block_size(7) == 1  # every graph is kept


@pytest.mark.usefixtures("untyped")
def test_numbers_that_cannot_be_meant_are_refused(closed):
    with pytest.raises(ValueError, match="k = 0"):
        closed.estimate(0)
    with pytest.raises(ValueError, match="block_size = 0"):
        closed.estimate(3, block_size=0)
    assert closed.estimate(1, block_size=1).block_size == 1


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_a_sweep_is_of_as_many_vectors_as_the_plan_says(network, closed, columns, monkeypatch):
    x, swept = torch.randn(60, 5, dtype=torch.float64), []
    for op in (network, closed):
        expected, some = op @ x, op._multiply_some
        plan = OperatorPlan(2, 0, True, columns, memory=0)
        if op is network:
            op.network.plan = plan
        else:
            op.__dict__["_closed_form_plan"] = plan
        monkeypatch.setattr(op, "_multiply_some", lambda v, f=some: swept.append(v) or f(v))
        swept.clear()
        torch.testing.assert_close(op @ x, expected)
        assert max(v.shape[2] for v in swept) == columns


@pytest.mark.parametrize(("budget", "columns"), [(2**40, 64), (80 * 4 * 5 * 12 * 8, 9)])
def test_closed_forms_take_as_many_vectors_as_fit(closed, budget, columns):
    closed._budget = budget
    assert closed.plan.columns == columns  # an eighth of the room, 4 copies of a vector each
    closed.prepare()  # there is nothing to do
