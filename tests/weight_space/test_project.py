"""Scores of new windows are the kernel's extension K(new, old) v / lambda, at any position."""

import copy

import pytest
import torch

import tl_entk
from tests.model.test_whole_gradient import pad_with
from tests.models import HAS_HOOKED, V, build, tokens
from tl_entk.model.adapters import adapt_transformer
from tl_entk.weight_space import project as project_module

OLD, NEW, K = 6, 4, 2
MODELS = ["native:layer_norm", "hf:opt", "hf:qwen2", *(["hooked:gpt2"] if HAS_HOOKED else [])]
WEIGHTS = ["blocks.*", "blocks.1.attn.W_Q[1]", "pos_embed.W_pos", "embed.W_E"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:the weights look processed"),
    pytest.mark.filterwarnings("ignore:the model caps or scales"),
]


def windows():
    both = tokens(OLD + NEW, seed=3)
    return both[:OLD], both


def rounding(name):
    """Attention of Hugging Face's rounds to float32, in two passes differently."""
    return 1e-5 if name.startswith("hf:") else 1e-9


def extended(kernel, eigen):
    """K(every, old) v / lambda."""
    return kernel[:, :OLD] @ eigen.vectors / eigen.eigenvalues


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_scores_of_dense_kernels_are_recomputed_ones(name, weight):
    model, (old, every) = build(name), windows()
    if weight not in (*tl_entk.list_components(model), "blocks.*"):
        pytest.skip("no such weight")
    eigen = tl_entk.eigendecompose(tl_entk.kernel_blocks(model, old, "logsumexp", weight), K)
    kernel = tl_entk.kernel_blocks(model, every, "logsumexp", weight).total()
    found = eigen.project(model, every)
    assert torch.allclose(found, extended(kernel, eigen), atol=1e-8)
    assert torch.allclose(found[:OLD], eigen.scores, atol=1e-8)
    one = eigen.project(model, every[-1:])
    assert torch.allclose(one, found[-1:], atol=1e-10)


@pytest.mark.parametrize("normalization", ["plain", "centered", "cosine", "cosine+centered"])
def test_scores_of_normalized_kernels_are_recomputed_ones(normalization):
    model, (old, every) = build("native:layer_norm"), windows()
    weights = "blocks.*.mlp.W_out"
    blocks = tl_entk.kernel_blocks(model, old, "logsumexp", weights)
    eigen = tl_entk.eigendecompose(blocks, K, normalization=normalization)
    both = tl_entk.kernel_blocks(model, every, "logsumexp", weights)
    cosine = "cosine" if "cosine" in normalization else "plain"
    kernel = both.sum(weights, cosine)
    expected = extended(kernel, eigen)
    if "centered" in normalization:  # by the mean of the old windows' gradients
        expected = expected - expected[:OLD].mean(0)
    assert torch.allclose(eigen.project(model, every), expected, atol=1e-8)
    assert torch.allclose(eigen.project(model, old), eigen.scores, atol=1e-8)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("readout", ["final_hidden", "logits"])
def test_scores_of_all_logits_are_recomputed_ones(name, readout):
    model, (old, every) = build(name), windows()
    weight = "blocks.0.mlp.W_out"
    given = dict(readout=readout)
    eigen = tl_entk.top_eigendirections(model, old, weight, K, tol=1e-12, **given)
    operator = tl_entk.kernel_operator(model, every, weight, **given)
    n, d = eigen.vectors.shape[:2]
    padded = torch.zeros(len(every), d, K, dtype=torch.float64)
    padded[:n] = eigen.vectors
    images = (operator @ padded.reshape(-1, K)).reshape(len(every), d, K) / eigen.eigenvalues
    along = torch.einsum("ndk,nk->dk", eigen.vectors, eigen.scores)
    expected = torch.einsum("ndk,dk->nk", images, along / along.norm(dim=0))
    found = eigen.project(model, every)
    assert torch.allclose(found, expected, atol=1e-8)
    assert torch.allclose(found[:OLD], eigen.scores, atol=1e-8)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("readout", ["final_hidden", "logsumexp", "target_logprob"])
def test_every_position_is_the_same_as_one_by_one(name, readout):
    model, (old, every) = build(name), windows()
    weights = ["blocks.0.mlp.W_out", "blocks.1.attn.W_K"]
    if readout == "final_hidden":
        eigen = tl_entk.top_eigendirections(model, old, weights, 2, tol=1e-8)
    else:
        eigen = tl_entk.eigendecompose(tl_entk.kernel_blocks(model, old, readout, weights), 2)
    found = eigen.project(model, every, position="all")
    each = [eigen.project(model, every, position=p) for p in range(every.shape[1])]
    assert torch.allclose(found, torch.stack(each, 1), atol=rounding(name))
    mixed = torch.arange(len(every)) % every.shape[1]
    at = eigen.project(model, every, position=mixed)
    assert torch.allclose(at, found[torch.arange(len(every)), mixed], atol=rounding(name))


@pytest.mark.parametrize("name", ["native:layer_norm", "hf:opt"])
@pytest.mark.parametrize("weight", ["embed.W_E", "pos_embed.W_pos", "*b_out", "*.ln*.w"])
def test_every_position_of_weights_that_are_no_matrices(name, weight):
    model, (old, every) = build(name), windows()
    if weight == "embed.W_E" and adapt_transformer(model).tied:
        pytest.skip("tied")
    eigen = tl_entk.eigendecompose(tl_entk.kernel_blocks(model, old, "logsumexp", weight), 2)
    found = eigen.project(model, every, position="all")
    each = [eigen.project(model, every, position=p) for p in range(every.shape[1])]
    assert torch.allclose(found, torch.stack(each, 1), atol=rounding(name))


def test_a_network_without_forward_derivatives_and_cosines_go_by_positions(monkeypatch):
    model, (old, every) = build("native:layer_norm"), windows()
    eigen = tl_entk.default_directions(model, old, 2)
    found = eigen.project(model, every[:, :3], position="all")
    assert torch.allclose(found[:, 2], eigen.project(model, every[:, :3]), atol=1e-10)
    plain = tl_entk.eigendecompose(tl_entk.kernel_blocks(model, old, "logsumexp", "*W_out"), 2)
    expected = plain.project(model, every, position="all")

    def refuse(*_):
        raise NotImplementedError("no formula")

    monkeypatch.setattr(project_module.Tangent, "push", refuse)
    assert torch.allclose(plain.project(model, every, position="all"), expected, atol=1e-9)


def test_windows_are_few_at_a_time_and_of_any_length():
    model, (old, every) = build("native:layer_norm"), windows()
    eigen = tl_entk.top_eigendirections(model, old, "blocks.1.mlp.*", K, tol=1e-8)
    u = tl_entk.weight_directions(eigen, memory_budget=2**20)
    whole = u.project(model, every)
    assert torch.allclose(u.project(model, every, memory_budget=2**20), whole, atol=1e-12)
    assert torch.allclose(
        u.project(model, every, position="all")[:, 2], u.project(model, every[:, :3]), atol=1e-10
    )
    again = [part.project(model, every) for part in (u, eigen)]
    assert torch.allclose(*again, atol=1e-12)


def test_what_cannot_be_scored_is_refused():
    model, (old, every) = build("native:layer_norm"), windows()
    positions = torch.tensor([4, 3, 4, 3, 4, 4])
    blocks = tl_entk.kernel_blocks(model, old, "logsumexp", "*W_out", position=positions)
    eigen = tl_entk.eigendecompose(blocks, 1)
    with pytest.raises(tl_entk.UserError, match="a position of each window"):
        eigen.project(model, every)
    assert eigen.project(model, old, position=positions).shape == (OLD, 1)
    other = build("native:rms_grouped")
    with pytest.raises(tl_entk.UserError, match=r"no component|have shape"):
        tl_entk.eigendecompose(tl_entk.kernel_blocks(model, old, "logsumexp", "*b_out"), 1).project(
            other, every
        )


@pytest.mark.parametrize("readout", ["logsumexp", ("class", 2), "final_hidden"])
def test_a_saved_detector_scores_as_before(readout, tmp_path):
    model, (old, every) = build("native:layer_norm"), windows()
    names = ["blocks.0.mlp.W_out", "blocks.1.attn.W_V[1]"]
    if readout == "final_hidden":
        eigen = tl_entk.top_eigendirections(model, old, names, 2, tol=1e-8)
    else:
        blocks = tl_entk.kernel_blocks(model, old, readout, names, class_slice=slice(1, 6))
        eigen = tl_entk.eigendecompose(blocks, 2, normalization="centered")
    u = eigen.weight_directions()
    again = tl_entk.load(tl_entk.save(u, tmp_path / "detector"))
    assert torch.equal(again.project(model, every), u.project(model, every))
    assert (again.readout, again.class_slice, again.position) == (u.readout, u.class_slice, -1)
    assert again.provenance["component" if readout == "final_hidden" else "readout"]
    own = tl_entk.Readout(lambda z: z[:, 0])
    of_own = tl_entk.eigendecompose(tl_entk.kernel_blocks(model, old, own, names), 1)
    with pytest.raises(tl_entk.UserError, match="a function of yours"):
        tl_entk.save(of_own.weight_directions(), tmp_path / "own")


@pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has no HookedTransformer")
def test_new_windows_whose_positions_the_host_shifts_are_refused():
    model = pad_with(build("hooked:gpt2"))
    old = tokens(OLD) % (V - 2) + 1
    weights = ["pos_embed.W_pos", "blocks.0.mlp.W_out"]
    eigen = tl_entk.eigendecompose(tl_entk.kernel_blocks(model, old, "logsumexp", weights), K)
    shifted = old.clone()
    shifted[2, 0] = V - 1
    for position in (-1, "all"):
        with pytest.raises(tl_entk.UserError, match=r"example 2 .*padding_side = 'right'"):
            eigen.project(model, shifted, position=position)


def test_new_windows_with_the_padding_row_of_an_embedding_are_refused():
    model = build("hf:llama")
    eigen = tl_entk.eigendecompose(
        tl_entk.kernel_blocks(model, tokens(OLD), "logsumexp", "embed.W_E"), K
    )
    padded = tokens(NEW)
    padded[1, 2] = 0
    with pytest.raises(tl_entk.UserError, match="is the padding_idx"):
        eigen.project(model, padded)


def test_another_model_is_scored_along_the_directions_of_the_first():
    model, (old, every) = build("native:layer_norm"), windows()
    weight = "blocks.0.mlp.W_out"
    eigen = tl_entk.eigendecompose(tl_entk.kernel_blocks(model, old, "logsumexp", weight), K)
    other = copy.deepcopy(model)
    with torch.no_grad():
        adapt_transformer(other).by_name[weight].parameter.mul_(3.0)
    found = eigen.project(other, every)
    assert torch.equal(found, eigen.weight_directions(model).project(other, every))
    assert not torch.allclose(found, eigen.project(model, every), atol=1e-2)


def test_directions_are_taken_to_the_weights_once(monkeypatch):
    model, (old, every) = build("native:layer_norm"), windows()
    blocks = tl_entk.kernel_blocks(model, old, "logsumexp", "blocks.0.mlp.W_out")
    eigen, calls = tl_entk.eigendecompose(blocks, K), []
    gather = project_module.weight_directions

    def count(*args, **options):
        calls.append(args)
        return gather(*args, **options)

    monkeypatch.setattr(project_module, "weight_directions", count)
    assert torch.equal(eigen.project(model, every), eigen.project(model, every))
    assert len(calls) == 1
