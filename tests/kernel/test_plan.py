"""The memory plan of blocks and its counts, by themselves."""

import itertools

import pytest
import torch

from tl_entk.kernel.gram import _by_gradients, _by_pairs, _tile, _upper_tiles, gram, gram_flops
from tl_entk.kernel.plan import Pass, Work, chunks_of, plan_passes
from tl_entk.model.factors import Outer
from tl_entk.model.sites import Site, Tap
from tl_entk.tools.ranks import Ranks

pytestmark = pytest.mark.plain

PLACE = Tap(torch.nn.Identity(), "output")
N, USES, OUTPUTS = 10, 3, 8


def site(name, kind="linear", d_in=5, d_out=7, parameter=None):
    parameter = torch.nn.Parameter(torch.zeros(1)) if parameter is None else parameter
    return Site(name, kind, parameter, PLACE, d_out, d_in=d_in)


def work_of(*sites, **options):
    uses = {one.name: USES for one in sites}
    given = dict(n=N, outputs=OUTPUTS, example_floats=1000, itemsize=4) | options
    return Work(sites, uses, **given)


# a site's factors take this many bytes, and this many more for every output
INPUT, OUTPUT = N * USES * 5 * 4, N * USES * 7 * 4


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(("n", "uses"), [(100, 1), (100, 2), (100, 40), (3, 40)])
def test_operations_of_a_kernel_are_counted(n, uses, outputs):
    d = 7 * outputs
    pairs = n * n * uses * uses * (5 + d)  # every pair of examples and positions
    gradients = n * uses * 5 * d + n * n * 5 * d  # forming them, and their products
    assert gram_flops(site("a"), n, uses, outputs) == 2 * min(pairs, gradients)
    for kind, positions in (("embedding", uses), ("position", uses), ("scale", 1), ("bias", 1)):
        assert gram_flops(site("a", kind), n, uses, outputs) == 2 * n * n * positions * d


def test_factors_are_an_input_and_each_outputs_gradient():
    two = (site("a"), site("b"))
    assert work_of(*two).factor_bytes(two[:1], 1) == INPUT + OUTPUT
    assert work_of(*two).factor_bytes(two, 3) == 2 * (INPUT + 3 * OUTPUT)
    # as rows of their own, outputs need the input as often
    flattened = work_of(*two, flattened=True)
    assert flattened.factor_bytes(two[:1], 8) == 8 * (INPUT + OUTPUT)
    assert (work_of(*two).rows, flattened.rows) == (N, N * OUTPUTS)


def test_widths_are_halved_down_to_one():
    assert work_of(site("a"), outputs=11).widths == [11, 6, 3, 2, 1]
    assert work_of(site("a"), outputs=1).widths == [1]
    assert work_of(site("a"), outputs=11, flattened=True).widths == [11]


def test_roles_of_one_parameter_stay_together():
    shared = torch.nn.Parameter(torch.zeros(1))
    a, b, c = site("a", parameter=shared), site("b"), site("c", parameter=shared)
    assert work_of(a, b, c).groups == [(a, c), (b,)]


def test_a_pass_is_a_forward_and_a_backward_for_every_output():
    one = site("a")
    forward = 2 * N * USES * 5 * 7
    for width, chunks in ((8, [8]), (3, [3, 3, 2])):
        kernels = sum(gram_flops(one, N, USES, outputs) for outputs in chunks)
        expected = 2 * (len(chunks) * forward + OUTPUTS * 2 * forward) + kernels
        assert work_of(one).operations(2, width) == expected
    flattened = work_of(one, flattened=True)
    rows = gram_flops(one, N * OUTPUTS, USES, 1)
    assert flattened.operations(1, 8) == forward + 2 * OUTPUTS * forward + rows


@pytest.mark.parametrize(
    ("room", "sites", "width"),
    [
        (2 * (INPUT + 8 * OUTPUT), ["ab"], 8),  # all at once
        (2 * (INPUT + 8 * OUTPUT) - 1, ["ab"], 4),  # a second forward pass is the cheapest
        (2 * (INPUT + 2 * OUTPUT), ["ab"], 2),
        (2 * (INPUT + OUTPUT) - 1, ["a", "b"], 2),
        (INPUT + OUTPUT, ["a", "b"], 1),
    ],
)
def test_passes_are_the_cheapest_that_fit(room, sites, width):
    a, b = site("a"), site("b")
    plan = plan_passes(work_of(a, b), 4 * room)
    together = ["".join(one.name for one in step.sites) for step in plan.passes]
    assert list(dict.fromkeys(together)) == sites
    assert [step.columns for step in plan.passes] == chunks_of(OUTPUTS, width) * len(sites)
    assert plan.tile_bytes == room


def test_every_output_of_every_site_is_in_one_pass():
    a, b = site("a"), site("b")
    plan = plan_passes(work_of(a, b, outputs=11), 4 * (INPUT + 3 * OUTPUT))
    seen = [(s.name, r) for p in plan.passes for s in p.sites for r in range(11)[p.columns]]
    assert sorted(seen) == list(itertools.product("ab", range(11)))
    assert Pass((a,), slice(3, 5)).outputs == 2


def test_memory_is_the_kernels_and_the_budget():
    budget = 4 * (INPUT + 8 * OUTPUT)
    plan = plan_passes(work_of(site("a")), budget, kernels=3)
    assert plan.memory_bytes == 3 * N**2 * 4 + budget


def test_the_budget_that_is_named_would_do():
    one, bytes_needed = site("a"), INPUT + OUTPUT
    with pytest.raises(ValueError, match=f"the factors of a .*memory_budget={4 * bytes_needed} "):
        plan_passes(work_of(one), 4 * bytes_needed - 1)
    assert len(plan_passes(work_of(one), 4 * bytes_needed).passes) == OUTPUTS
    # the largest group decides
    with pytest.raises(ValueError, match="the factors of large "):
        plan_passes(work_of(one, site("large", d_out=8)), 4 * bytes_needed)
    needed = 2 * (N * OUTPUTS) ** 2 * 4
    with pytest.raises(ValueError, match=f"2 flattened kernels of 80 rows .*={needed}"):
        plan_passes(work_of(one, flattened=True), needed - 1, kernels=2)
    assert plan_passes(work_of(one, flattened=True), needed, kernels=2).passes


# parts of a Gram matrix


@pytest.mark.parametrize("n", [1, 5, 12])
@pytest.mark.parametrize("tile", [1, 4, 12, 20])
def test_tiles_cover_the_upper_triangle_once(n, tile):
    count = torch.zeros(n, n)
    for rows, columns in _upper_tiles(n, tile):
        assert rows.stop - rows.start <= tile
        count[rows, columns] += 1
    assert torch.equal(count.triu(), torch.ones(n, n).triu())
    assert count.max() == 1


def test_a_tile_stays_in_the_budget_and_in_the_cache():
    for budget in (1, 1000, 2**30):
        for bytes_per_pair in (4, 64):
            side = _tile(1000, bytes_per_pair, budget)
            assert side == 1 or side**2 * bytes_per_pair <= min(budget, 16 * 2**20)
    assert _tile(10**6, 4, 2**30) == 2048  # 16 MiB
    assert _tile(1000, 1, 2**30) == 250  # four a side
    assert _tile(100, 1, 2**30) == 128  # but no small ones


def test_where_the_device_is_full_pieces_are_halved_down_to_a_mebibyte(monkeypatch):
    factors, tried = Outer(torch.ones(1, 1, 3, 2), torch.ones(1, 1, 3, 2)), []

    def scarce(given, budget, ranks):
        tried.append(budget)
        if budget > fits:
            raise torch.OutOfMemoryError
        return torch.full((1, 3, 3), 4.0)

    monkeypatch.setattr("tl_entk.kernel.gram._gram", scarce)
    fits = 3
    for asked, expected in ((2**20, [2**20]), (2**21, [2**21, 2**20])):
        tried.clear()
        with pytest.raises(torch.OutOfMemoryError, match="take fewer, or pass a smaller"):
            gram(factors, asked)
        assert tried == expected
    fits = 2**21
    assert torch.equal(gram(factors, 2**21), torch.full((1, 3, 3), 4.0))
    with pytest.warns(RuntimeWarning, match="of a kernel of 8 MiB; went on with 2 MiB"):
        gram(factors, 2**23)
    tried.clear()
    with pytest.raises(torch.OutOfMemoryError):
        gram(factors, 2**23, Ranks(2, 0))  # processes must agree on the pieces
    assert tried == [2**23]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("formula", [_by_pairs, _by_gradients])
@pytest.mark.parametrize("heads", [(1, 1), (2, 1), (1, 2)])
def test_parts_of_several_processes_add_up(formula, count, heads):
    x, g = torch.randn(heads[0], 2, 9, 5).double(), torch.randn(heads[1], 2, 9, 4).double()
    parts = [formula(x, g, 2**20, Ranks(count, rank)) for rank in range(count)]
    assert sum(bool(part.any()) for part in parts) == count  # they take turns
    expected = gram(Outer(x, g), 2**20)
    torch.testing.assert_close(sum(parts).triu(), expected.triu())
