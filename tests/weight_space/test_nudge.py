"""A step along a direction changes what is read by sqrt(lambda) v, and the model comes back."""

import pytest
import torch

import tl_entk
from tests.models import HAS_HOOKED, build, tokens
from tl_entk.model.unchanged import ModelState
from tl_entk.weight_space.project import first_order_change

N, K = 5, 2
# step of a central difference, and what it may be off by: some models round to float32 within
FINE, COARSE = (1e-5, 1e-6), (2e-3, 2e-3)
MODELS = {"native:layer_norm": FINE, "hf:gpt2": FINE, "hf:opt": COARSE, "hf:gemma3": COARSE}
MODELS |= {"hooked:gpt2": FINE, "hooked:gemma3": FINE} if HAS_HOOKED else {}

pytestmark = [
    pytest.mark.filterwarnings("ignore:the weights look processed"),
    pytest.mark.filterwarnings("ignore:the model caps or scales"),
]


def everything_but(model, *left_out):
    return [
        name
        for name in tl_entk.list_components(model)
        if "[" not in name and not name.startswith(left_out) and name != "tied_embedding"
    ]


def slope(model, batch, direction, step):
    """The derivative of logsumexp along a direction, by a central difference."""
    found = []
    for signed in (step, -step):
        with tl_entk.nudge(model, direction, signed), torch.no_grad():
            found.append(model(batch)[:, -1].logsumexp(-1))
    return (found[0] - found[1]) / (2 * step)


@pytest.mark.parametrize("name", MODELS)
def test_the_change_of_what_is_read_is_the_kernels(name):
    model, batch = build(name), tokens(N)
    step, error = MODELS[name]
    names = everything_but(model, "embed", "unembed")
    blocks = tl_entk.kernel_blocks(model, batch, "logsumexp", names)
    eigen = tl_entk.eigendecompose(blocks, K)
    u = eigen.weight_directions()
    new = tokens(3, seed=7)
    for i, direction in enumerate(u):
        found = slope(model, batch, direction, step)
        expected = eigen.eigenvalues[i].sqrt() * eigen.vectors[:, i]
        assert torch.allclose(found, expected, atol=error * float(eigen.eigenvalues[0].sqrt()))
        elsewhere = slope(model, new, direction, step)
        change = first_order_change(u, model, new)[:, i]
        assert torch.allclose(elsewhere, change, atol=error * float(change.abs().max()))


def test_a_head_moves_alone():
    model, batch = build("native:layer_norm"), tokens(N)
    eigen = tl_entk.top_eigendirections(model, batch, "blocks.1.attn.W_O[2]", 1, tol=1e-10)
    direction, before = eigen.weight_direction(0), model.W_O[1].clone()
    with tl_entk.nudge(model, direction, 0.5) as nudged:
        change = nudged.W_O[1] - before
        assert torch.allclose(change[2], 0.5 * direction["blocks.1.attn.W_O[2]"])
        assert not bool(change[[0, 1, 3]].any())
    assert torch.equal(model.W_O[1], before)


def test_the_model_comes_back_after_an_error_too():
    model, batch = build("native:layer_norm"), tokens(N)
    eigen = tl_entk.top_eigendirections(model, batch, "blocks.*.mlp.*", 1, tol=1e-8)
    direction, state, before = eigen.weight_direction(0), ModelState(model), model(batch)
    with tl_entk.nudge(model, direction, 1.0):
        assert not torch.equal(model(batch), before)
    with pytest.raises(IndexError), tl_entk.nudge(model, direction, 1.0):
        model(batch)[:, 99]
    with pytest.raises(IndexError), tl_entk.ablate(model, direction):
        model(batch)[:, 99]
    assert state.difference() == ""
    assert torch.equal(model(batch), before)


def test_ablated_weights_have_nothing_along_the_direction():
    model, batch = build("native:layer_norm"), tokens(N)
    names = ["blocks.0.mlp.W_out", "blocks.1.attn.W_V"]
    blocks = tl_entk.kernel_blocks(model, batch, "logsumexp", names)
    u = tl_entk.eigendecompose(blocks, 1).weight_direction(0)
    own = {names[0]: lambda: model.W_out[0].detach(), names[1]: lambda: model.W_V[1].detach()}
    before = {name: own[name]().clone() for name in names}
    with tl_entk.ablate(model, u):
        along = sum(float((own[name]() * u[name]).sum()) for name in names)
        assert abs(along) < 1e-12
        for name in names:  # and nothing else is taken away
            change = own[name]() - before[name]
            cosine = (change * u[name]).sum() / (change.norm() * u[name].norm())
            assert abs(abs(float(cosine)) - 1) < 1e-10
    with tl_entk.ablate(model, u, span=2):
        for name in names:
            left, _, right = torch.linalg.svd(u[name])
            assert float((left[..., :2].mT @ own[name]()).abs().max()) < 1e-12
            assert float((own[name]() @ right[..., :2, :].mT).abs().max()) < 1e-12
            rank = torch.linalg.matrix_rank(own[name](), rtol=1e-9)
            assert bool((rank <= min(own[name]().shape[-2:]) - 2).all())


def test_what_cannot_be_meant_is_refused():
    model, batch = build("native:layer_norm"), tokens(N)
    direction = tl_entk.top_eigendirections(model, batch, "*W_out", 1).weight_direction(0)
    other = {"blocks.0.mlp.W_out": torch.ones(3, 2)}
    nothing = {"blocks.0.mlp.W_out": torch.zeros(10, 12)}
    bias = {"blocks.0.mlp.b_out": torch.ones(12)}
    for given, match in (
        ((direction, float("nan")), "a finite number"),
        ((other, 1.0), "has shape"),
        (({"W": torch.ones(2)}, 1.0), "no component 'W'"),
    ):
        with pytest.raises(tl_entk.UserError, match=match), tl_entk.nudge(model, *given):
            pass
    for given, span, match in (
        (nothing, None, "is zero"),
        (bias, 1, "no matrix"),
        (bias, 0, "span"),
    ):
        with pytest.raises(tl_entk.UserError, match=match), tl_entk.ablate(model, given, span=span):
            pass
    tied = build("hf:gemma3")
    change = {"embed.W_E": torch.ones_like(tied.W_E)}
    with pytest.raises(tl_entk.UserError, match="one parameter"), tl_entk.nudge(tied, change, 1.0):
        pass


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_span_is_no_wider_than_the_direction(dtype):
    """Beyond its rank singular vectors are any, and taking them out would say nothing of it."""
    model = build("native:layer_norm")
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, generator=generator, dtype=dtype) for size in (10, 12))
    direction = {"blocks.0.mlp.W_out": a[:, None] * b, "blocks.1.mlp.W_out": torch.zeros(10, 12)}
    found = []
    for span in (1, 4):
        with tl_entk.ablate(model, direction, span=span):
            found.append([model.W_out[layer].detach().clone() for layer in (0, 1)])
    assert torch.allclose(found[0][0], found[1][0], atol=1e-6)
    assert float((a.double() @ found[1][0]).abs().max()) < 1e-5
    assert torch.equal(found[1][1], model.W_out[1])
    nothing = {name: torch.zeros_like(part) for name, part in direction.items()}
    with pytest.raises(tl_entk.UserError, match="is zero"), tl_entk.ablate(model, nothing, span=1):
        pass
