"""Every kind of weight map, forward and back, against the plain layer and autograd in float64."""

import pytest
import torch

from tl_entk.model.sites import Heads, Site, Tap
from tl_entk.operator.weight_maps import TokenMap, WeightMap

pytestmark = pytest.mark.plain

N, T, D_IN, D_OUT = 3, 4, 9, 6
TOKENS = torch.tensor([[5, 2, 2, 7], [7, 7, 2, 9], [5, 9, 5, 5]])
ROWS = torch.tensor([2, 5, 7, 9])
INDEX = torch.tensor([[1, 0, 0, 2], [2, 2, 0, 3], [1, 3, 1, 1]])
# entries of heads 2 and 0 of three, 3 wide in the input and 2 wide in the output
IN, OUT = [6, 7, 8, 0, 1, 2], [4, 5, 0, 1]
PLACE = Tap(torch.nn.Identity(), "output")


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def weight_map(kind, heads=None, along="output", count=3, **options):
    width = 0 if kind in ("embedding", "position", "bias") else D_IN
    split = Heads(along, count) if heads else None
    site = Site("w", kind, torch.nn.Parameter(torch.zeros(1)), PLACE, D_OUT, None, width, split)
    return WeightMap(site, heads, rows=ROWS if kind == "embedding" else None, **options)


def into(width, columns, part):
    """Some columns of zeros."""
    return torch.zeros(*part.shape[:-1], width, dtype=part.dtype).index_copy(
        -1, torch.tensor(columns), part
    )


# name -> the map, its weight's shape, and y of the input and the weight
CASES = {
    "linear": (weight_map("linear"), (D_IN, D_OUT), lambda x, W: x @ W),
    "linear, transposed": (
        weight_map("linear", transposed=True), (D_OUT, D_IN), lambda x, W: x @ W.T,
    ),
    "linear, heads of the output": (
        weight_map("linear", (2, 0)), (D_IN, 4), lambda x, W: x @ into(D_OUT, OUT, W),
    ),
    "linear, a head of the output": (
        weight_map("linear", (1,)), (D_IN, 2), lambda x, W: x @ into(D_OUT, [2, 3], W),
    ),
    "linear, heads of the input": (
        weight_map("linear", (2, 0), "input"), (6, D_OUT), lambda x, W: x[..., IN] @ W,
    ),
    "linear, a head of the input": (
        weight_map("linear", (1,), "input"), (3, D_OUT), lambda x, W: x[..., 3:6] @ W,
    ),
    "embedding": (weight_map("embedding"), (4, D_OUT), lambda _, W: W[INDEX]),
    "embedding, scaled": (
        weight_map("embedding", scale=2.5), (4, D_OUT), lambda _, W: 2.5 * W[INDEX],
    ),
    "position": (weight_map("position"), (T, D_OUT), lambda _, W: W.expand(N, T, D_OUT)),
    "scale": (weight_map("scale"), (D_OUT,), lambda x, w: x[..., :D_OUT] * w),
    "bias": (weight_map("bias"), (D_OUT,), lambda _, b: b.expand(N, T, D_OUT)),
    "bias, heads": (
        weight_map("bias", (2, 0)), (4,), lambda _, b: into(D_OUT, OUT, b).expand(N, T, D_OUT),
    ),
}  # fmt: skip


def input_of(m):
    return randn(N, T, D_OUT if m.site.kind == "scale" else D_IN)


@pytest.mark.parametrize("case", CASES)
def test_forward_is_the_layer_and_adjoint_its_gradient(case):
    m, shape, layer = CASES[case]
    x, G, g = input_of(m), randn(*shape).requires_grad_(), randn(N, T, D_OUT)
    y = layer(x, G)
    torch.testing.assert_close(m.forward(TOKENS, x, G.detach(), g), y.detach())
    expected = torch.autograd.grad(y, G, g)[0]
    torch.testing.assert_close(m.adjoint(TOKENS, [x], [g]), expected)


@pytest.mark.parametrize("case", CASES)
def test_calls_add_up_and_unread_ones_count_for_nothing(case):
    m = CASES[case][0]
    xs, gs = [input_of(m) for _ in range(3)], [randn(N, T, D_OUT) for _ in range(3)]
    expected = m.adjoint(TOKENS, xs[:1], gs[:1]) + m.adjoint(TOKENS, xs[2:], gs[2:])
    torch.testing.assert_close(m.adjoint(TOKENS, xs, [gs[0], None, gs[2]]), expected)
    assert m.adjoint(TOKENS, xs, [None] * 3) is None


def test_the_output_decides_the_format():
    m = CASES["linear"][0]
    x, G, single = input_of(m), randn(D_IN, D_OUT), torch.randn(N, T, D_OUT)
    back = x.float().flatten(0, 1).T @ single.flatten(0, 1)
    torch.testing.assert_close(m.adjoint(TOKENS, [x], [single]), back)
    torch.testing.assert_close(m.forward(TOKENS, x, G, single), x.float() @ G.float())


@pytest.mark.parametrize("case", [c for c in CASES if c.startswith("linear")])
def test_token_space_gives_the_same_products_of_few_tokens(case):
    m = CASES[case][0]
    x, g = randn(1, 4, D_IN), randn(1, 4, D_OUT)
    short = m.in_token_space([x])
    assert isinstance(short, TokenMap) is not m.transposed
    expected = m.forward(TOKENS[:1], x, m.adjoint(TOKENS[:1], [x], [g]), g)
    found = short.forward(TOKENS[:1], x, short.adjoint(TOKENS[:1], [x], [g]), g)
    torch.testing.assert_close(found, expected)


def test_token_space_is_for_one_call_of_a_linear_map_of_few_tokens():
    for case, (m, _, _) in CASES.items():
        # more tokens than twice the input's width, or than twice the width of its heads
        width = {"linear, a head of the input": 3, "linear, heads of the input": 6}.get(case, D_IN)
        assert m.in_token_space([randn(1, 2 * width + 1, D_IN)]) is m
        assert m.in_token_space([randn(1, 2, D_IN), randn(1, 2, D_IN)]) is m
        few = m.in_token_space([randn(1, 2 * width - 1, D_IN)])
        assert isinstance(few, TokenMap) is (case.startswith("linear") and not m.transposed)
