"""Scores taken apart by position add up again, and each part is what autograd says."""

import pytest
import torch

import tl_entk
from tests.models import HAS_HOOKED, build, tokens
from tl_entk.directions.default import default_patterns
from tl_entk.kernel.normalize import normalize
from tl_entk.model.adapters import adapt_transformer
from tl_entk.weight_space.position_contributions import position_contributions

N, K = 5, 3
MODELS = ["native:layer_norm", "hf:qwen2", *(["hooked:gpt2"] if HAS_HOOKED else [])]
WEIGHTS = ["blocks.0.mlp.W_out", "blocks.1.attn.W_V", "blocks.0.attn.W_Q[1]", "embed.W_E", "*b_out"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:the weights look processed"),
    pytest.mark.filterwarnings("ignore:the model caps or scales"),
]


def of(model, weight):
    names = tl_entk.list_components(model)
    return weight if "*" in weight or weight in names else None


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_parts_of_all_logits_add_up_to_the_scores(name, weight):
    model, batch = build(name), tokens(N)
    if weight == "*b_out" and not any(n.endswith("b_out") for n in tl_entk.list_components(model)):
        pytest.skip("no bias")
    if weight == "embed.W_E" and adapt_transformer(model).tied:
        pytest.skip("tied")
    eigen = tl_entk.top_eigendirections(model, batch, weight, K, tol=1e-10)
    rows = torch.tensor([3, 0])
    parts = position_contributions(model, batch, weight, eigen, rows=rows, memory_budget=2**20)
    assert parts.values.shape == (2, batch.shape[1], K)
    assert torch.allclose(parts.scores, eigen.scores[rows], atol=1e-7)
    biases = weight == "*b_out"
    assert bool((parts.values == 0).all()) == biases
    assert bool((parts.elsewhere == 0).all()) != biases


@pytest.mark.parametrize("normalization", ["plain", "centered", "cosine", "cosine+centered"])
@pytest.mark.parametrize("readout", ["logsumexp", "class_trace"])
def test_parts_of_dense_kernels_add_up_to_the_scores(readout, normalization):
    model, batch = build("native:layer_norm"), tokens(N)
    blocks = tl_entk.kernel_blocks(model, batch, readout, "blocks.*")
    kernel = normalize(blocks.total(), normalization)
    eigen = tl_entk.eigendecompose(kernel, K)
    parts = position_contributions(
        model, batch, "blocks.*", eigen, readout=readout, normalization=normalization
    )
    assert torch.allclose(parts.scores, eigen.scores, atol=1e-8)
    assert bool((parts.offset != 0).all()) == ("centered" in normalization)
    assert float(parts.elsewhere.abs().max()) > 0


def test_parts_of_the_default_kernel_whose_weights_are_normalized_one_by_one():
    model, batch = build("native:layer_norm"), tokens(N)
    eigen = tl_entk.default_directions(model, batch, k=K)
    parts = position_contributions(
        model,
        batch,
        default_patterns(adapt_transformer(model).n_layers),
        eigen,
        readout="logsumexp",
        normalization="cosine",
        each_component=True,
    )
    assert torch.allclose(parts.scores, eigen.scores, atol=1e-8)


def test_each_part_is_the_gradient_at_its_position():
    """Autograd at the output of W_out, with u written out: sum_n v_n J_n of a plain jacobian."""
    model, batch = build("native:layer_norm"), tokens(N)
    weight = "blocks.0.mlp.W_out"
    blocks = tl_entk.kernel_blocks(model, batch, "logsumexp", weight)
    eigen = tl_entk.eigendecompose(blocks[weight], 1)
    parts = position_contributions(model, batch, weight, eigen, readout="logsumexp")
    out, seen = model.blocks[0].mlp, {}

    def keep(module, inputs, output):
        seen["y"] = output
        output.retain_grad()

    def enter(module, inputs):
        seen["x"] = inputs[0]

    named = dict(out.named_modules())
    last = next(m for n, m in named.items() if n.endswith("fc_out"))
    hooks = [last.register_forward_hook(keep), last.register_forward_pre_hook(enter)]
    model(batch)[:, -1].logsumexp(-1).sum().backward()
    for hook in hooks:
        hook.remove()
    x, g = seen["x"].detach(), seen["y"].grad
    J = torch.einsum("ntp,ntq->npq", x, g)
    u = torch.einsum("n,npq->pq", eigen.vectors[:, 0], J)
    expected = ((x @ u) * g).sum(-1) / eigen.eigenvalues[0]
    model.zero_grad(set_to_none=True)
    assert torch.allclose(parts.values[..., 0], expected, atol=1e-9)


def test_what_does_not_belong_together_is_refused():
    model, batch = build("native:layer_norm"), tokens(N)
    weight = "blocks.0.mlp.W_out"
    eigen = tl_entk.top_eigendirections(model, batch, weight, 2, tol=1e-6)
    with pytest.raises(tl_entk.UserError, match="windows that they were made of"):
        position_contributions(model, batch[:3], weight, eigen)
    with pytest.raises(tl_entk.UserError, match="pass the readout"):
        position_contributions(model, batch, weight, eigen, readout="logsumexp")
    with pytest.raises(tl_entk.UserError, match="plain or the centered"):
        position_contributions(model, batch, weight, eigen, normalization="cosine")
    zero = tl_entk.eigendecompose(torch.zeros(N, N), 1)
    with pytest.raises(tl_entk.UserError, match="eigenvalue 0"):
        position_contributions(model, batch, weight, zero, readout="logsumexp")


def test_parts_of_a_centered_kernel_of_all_logits_add_up_to_the_scores():
    """The mean is over all windows, whichever are taken apart."""
    model, batch = build("native:layer_norm"), tokens(N)
    weight = "blocks.0.mlp.W_out"
    eigen = tl_entk.top_eigendirections(
        model, batch, weight, K, normalization="centered", tol=1e-10
    )
    rows = torch.tensor([4, 1])
    parts = position_contributions(model, batch, weight, eigen, normalization="centered", rows=rows)
    assert torch.allclose(parts.scores, eigen.scores[rows], atol=1e-7)
    assert bool((parts.offset != 0).all())
