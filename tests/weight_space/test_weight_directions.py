"""u = J^T v / sqrt(lambda): against dense Jacobians, in the weights' shapes, orthonormal."""

import pytest
import torch

import tl_entk
from tests.models import HAS_HOOKED, build, tokens
from tests.oracle import jacobians
from tl_entk.model.adapters import adapt_transformer
from tl_entk.weight_space import gather as gather_module
from tl_entk.weight_space.layout import from_parameter, to_parameter, weight_of

N, K = 5, 3
MODELS = ["native:gated_grouped", "hf:gpt2", "hf:opt", "hf:gemma2"]
MODELS += ["hooked:gpt2", "hooked:llama"] if HAS_HOOKED else []
PATTERNS = ["blocks.1.attn.W_[KO]", "blocks.0.attn.W_V[1]", "blocks.*"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:the weights look processed"),
    pytest.mark.filterwarnings("ignore:the model caps or scales"),
]


def chosen(model, pattern):
    names = tl_entk.list_components(model)
    if pattern == "blocks.1.attn.W_[KO]":
        return ["blocks.1.attn.W_K", "blocks.1.attn.W_O"]
    if pattern in names or "*" in pattern:
        return pattern
    return "blocks.0.attn.W_V[0]"


def flat(model, direction):
    """The direction in the parameters' own layouts, one after the other; heads in their places."""
    adapter, parts = adapt_transformer(model), {}
    for name, part in direction.weights.items():
        site, _, head = name.partition("[")
        site = adapter.by_name[site]
        if head:
            whole = torch.zeros_like(from_parameter(site))
            whole[int(head[:-1])] = part
            part = whole
        assert part.shape == from_parameter(site).shape
        parts[site.name] = to_parameter(site, part).flatten()
    return parts


def dense(model, batch, readout, names):
    """(N, R, P) of the sites in this order."""
    found = jacobians(model, batch, readout, functional="gemma" not in str(type(model)))
    return torch.cat([found[name].flatten(2) for name in names], 2)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_directions_of_dense_kernels_are_those_of_a_dense_jacobian(name, pattern):
    model, batch = build(name), tokens(N)
    components = chosen(model, pattern)
    blocks = tl_entk.kernel_blocks(model, batch, "logsumexp", components)
    eigen = tl_entk.eigendecompose(blocks, K)
    assert torch.equal(eigen.scores, tl_entk.eigendecompose(blocks.total(), K).scores)
    u = eigen.weight_directions()
    parts = [flat(model, direction) for direction in u]
    J = dense(model, batch, lambda z: z.logsumexp(-1), list(parts[0]))[:, 0]
    U = torch.stack([torch.cat(list(part.values())) for part in parts], 1)
    if "[" in pattern:  # the Jacobian of a slice is zero elsewhere
        J = J * (U != 0).any(1)
    roots = eigen.eigenvalues.sqrt()
    assert torch.allclose(J @ U, roots * eigen.vectors, atol=1e-10 * float(roots[0]))
    assert torch.allclose(U.T @ U, torch.eye(len(u)).double(), atol=1e-10)
    assert torch.allclose(J.T @ eigen.vectors / roots, U, atol=1e-10)
    assert abs(sum(u[0].shares.values()) - 1) < 1e-12
    single = eigen.weight_direction(1)
    for component, part in single.weights.items():
        assert torch.allclose(part, u[1][component], atol=1e-12), component
        assert part.shape == weight_of(adapt_transformer(model), component).shape


# Gemma's norms round to float32, and the operator's two passes then differ by more than 1e-8
@pytest.mark.parametrize("name", [name for name in MODELS if "gemma" not in name])
def test_directions_of_all_logits_are_those_of_a_dense_jacobian(name):
    model, batch = build(name), tokens(N)
    components = chosen(model, PATTERNS[0])
    eigen = tl_entk.top_eigendirections(model, batch, components, K, tol=1e-12, readout="logits")
    u = eigen.weight_directions()
    parts = [flat(model, direction) for direction in u]
    J = dense(model, batch, lambda z: z, list(parts[0])).flatten(0, 1)
    U = torch.stack([torch.cat(list(part.values())) for part in parts], 1)
    roots, v = eigen.eigenvalues.sqrt(), eigen.vectors.flatten(0, 1)
    assert torch.allclose(J @ U, roots * v, atol=1e-8 * float(roots[0]))
    assert torch.allclose(U.T @ U, torch.eye(K).double(), atol=1e-8)
    whitened = tl_entk.top_eigendirections(model, batch, components, K, tol=1e-12)
    for i, direction in enumerate(whitened.weight_directions()):
        for component, part in direction.weights.items():
            assert torch.allclose(part.abs(), u[i][component].abs(), atol=1e-6)


@pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 3.9 only")
def test_shapes_are_those_of_transformer_lens():
    model, batch = build("hooked:llama"), tokens(N)
    blocks = tl_entk.kernel_blocks(model, batch, "logsumexp")
    u = tl_entk.eigendecompose(blocks, 1).weight_direction(0)
    for name, part in u.weights.items():
        head, _, attribute = name.rpartition(".")
        owner = model.get_submodule(head)
        own = getattr(owner, f"_{attribute}", None)
        own = getattr(owner, attribute) if own is None else own
        assert part.shape == own.shape, name
        assert torch.equal(weight_of(adapt_transformer(model), name), own), name


def test_an_embedding_and_a_table_of_positions_have_their_rows():
    model, batch = build("native:layer_norm"), tokens(N)[:, 1:]
    blocks = tl_entk.kernel_blocks(model, batch, "logsumexp", ["embed.W_E", "pos_embed.W_pos"])
    u = tl_entk.eigendecompose(blocks, 1).weight_direction(0)
    used = u["embed.W_E"].abs().sum(1) > 0
    assert used.nonzero()[:, 0].tolist() == batch.unique().tolist()
    assert u["pos_embed.W_pos"].abs().sum(1).ne(0).tolist() == [True] * 4 + [False] * 4


@pytest.mark.parametrize("normalization", ["centered", "cosine", "cosine+centered"])
def test_normalized_kernels_have_directions_of_norm_one(normalization):
    model, batch = build("native:layer_norm"), tokens(N)
    blocks = tl_entk.kernel_blocks(model, batch, "logsumexp", "blocks.*.mlp.W_out")
    u = tl_entk.eigendecompose(blocks, K, normalization=normalization).weight_directions()
    flat = torch.cat([part.flatten(1) for part in u.weights.values()], 1)
    assert torch.allclose(flat @ flat.T, torch.eye(K).double(), atol=1e-10)


def test_what_it_does_not_hold_for_is_refused():
    model, batch = build("native:layer_norm"), tokens(N)
    weight = "blocks.0.mlp.W_out"
    blocks = tl_entk.kernel_blocks(model, batch, "class_trace", weight)
    with pytest.raises(tl_entk.UserError, match="7 outputs in one row"):
        tl_entk.eigendecompose(blocks, 2).weight_directions()
    bare = tl_entk.eigendecompose(blocks.total(), 2)
    with pytest.raises(tl_entk.UserError, match="do not know what they are of"):
        bare.weight_directions(model)
    given = dict(tokens=batch, components=weight)
    with pytest.raises(tl_entk.UserError, match="is no eigendirection of these weights"):
        tl_entk.weight_directions(bare, model, readout="logsumexp", **given)
    plain = tl_entk.kernel_blocks(model, batch, "logsumexp", weight)
    eigen = tl_entk.eigendecompose(plain.total(), 2)
    u = tl_entk.weight_directions(eigen, model, readout="logsumexp", **given)
    known = tl_entk.eigendecompose(plain, 2)
    assert torch.equal(u.weights[weight], known.weight_directions().weights[weight])
    with pytest.raises(tl_entk.UserError, match="direction 2"):
        known.weight_direction(2)
    with pytest.raises(tl_entk.UserError, match="has no 'W_in'"):
        u[0]["W_in"]
    with pytest.raises(tl_entk.UserError, match="choose among kernel blocks"):
        tl_entk.eigendecompose(plain.total(), 2, components=weight)
    of_output = tl_entk.top_eigendirections(model, batch, "unembed.W_U", 2, tol=1e-8)
    with pytest.raises(tl_entk.UserError, match="come after the final hidden vector"):
        of_output.weight_directions()
    del model
    del plain
    # the model is not kept alive by what was computed of it
    import gc

    gc.collect()
    with pytest.raises(tl_entk.UserError, match="is not at hand"):
        known.weight_directions()


@pytest.mark.parametrize(
    "names",
    [
        ["blocks.0.attn.W_V[0]", "blocks.0.attn.W_V[2]", "blocks.0.mlp.W_out"],
        ["blocks.1.attn.W_O[1]", "blocks.1.attn.W_O[3]"],
        ["blocks.0.attn.b_Q[0]", "blocks.0.attn.b_Q[1]"],
    ],
)
def test_heads_are_normalized_one_by_one_where_they_are_components(names):
    model, batch = build("native:layer_norm"), tokens(N)
    blocks = tl_entk.kernel_blocks(model, batch, "logsumexp", names)
    eigen = tl_entk.eigendecompose(blocks, 2, normalization="cosine")
    u = eigen.weight_directions()
    flat = torch.cat([part.flatten(1) for part in u.weights.values()], 1)
    assert torch.allclose(flat @ flat.T, torch.eye(2).double(), atol=1e-10)
    assert torch.allclose(u.project(model, batch), eigen.scores, atol=1e-8)


def test_all_that_a_kernel_was_made_of_can_be_told():
    """Of a file: targets and classes too; where it is known, nothing but the windows anew."""
    model, batch = build("native:layer_norm"), tokens(N)
    weight, given = "blocks.0.mlp.W_out", dict(targets=torch.arange(1, N + 1))
    given["class_slice"] = slice(1, 6)
    blocks = tl_entk.kernel_blocks(model, batch, "target_logprob", weight, **given)
    bare = tl_entk.eigendecompose(blocks.total(), 2)
    told = dict(components=weight, readout="target_logprob", **given)
    u = tl_entk.weight_directions(bare, model, tokens=batch, **told)
    known = tl_entk.eigendecompose(blocks, 2)
    assert torch.equal(u.weights[weight], known.weight_directions().weights[weight])
    assert u.class_slice == slice(1, 6)
    for name, value in (told | dict(position=-1 + torch.zeros(N).long(), normalization="cosine",
                                    each_component=True)).items():  # fmt: skip
        with pytest.raises(tl_entk.UserError, match="pass tokens= too"):
            tl_entk.weight_directions(known, model, **{name: value})


def test_directions_are_gathered_few_at_a_time_in_a_small_budget(monkeypatch):
    model, batch = build("native:layer_norm"), tokens(N)
    eigen = tl_entk.top_eigendirections(model, batch, "blocks.0.mlp.W_out", K, tol=1e-8)
    expected, gather, several = eigen.weight_directions(), gather_module.gather, []

    def count(work, *args):
        several.append(work.directions)
        return gather(work, *args)

    monkeypatch.setattr(gather_module, "gather", count)
    # room for two directions of 10 x 12 numbers in a quarter
    monkeypatch.setattr(gather_module, "check_memory_budget", lambda *_: 4 * 2 * 120 * 8)
    found = eigen.weight_directions()
    assert several == [2, 1]
    for name, part in found.weights.items():
        assert torch.allclose(part, expected.weights[name], atol=1e-12)
