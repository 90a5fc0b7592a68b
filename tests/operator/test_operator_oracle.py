"""The matrix-free operator against the dense flattened logit kernel, on every architecture."""

import pytest
import torch

from tests.kernel.test_blocks_oracle import FLOAT32_INSIDE, NOT_FUNCTIONAL, rounded_weights
from tests.models import MODELS, build, tokens
from tests.oracle import head_slices, jacobians, relative_error
from tl_entk import kernel_operator
from tl_entk.model.adapters import adapt
from tl_entk.model.sites import EMBEDDING, TIED, UNEMBEDDING, match_names, partition

pytestmark = [
    pytest.mark.filterwarnings("ignore:the weights look processed"),
    pytest.mark.filterwarnings("ignore:the model caps or scales"),
]

# these have a softmax in float32, whose forward derivative rounds in another place than backward
FLOAT32_SOFTMAX = {"hf:phi", "hf:opt", "hf:bloom"}

# one of every kind, early and late in the network, those that a model has
SINGLES = (
    EMBEDDING, TIED, "pos_embed.W_pos", "embed.ln.w", "blocks.0.ln1.w", "blocks.0.attn.W_Q",
    "blocks.0.attn.W_K[1]", "blocks.0.attn.b_V[0]", "blocks.0.attn.W_O[2]", "blocks.0.ln1_post.w",
    "blocks.0.attn.q_norm.w", "blocks.0.ln2.b", "blocks.0.mlp.W_in", "blocks.1.attn.W_V",
    "blocks.1.attn.W_O", "blocks.1.mlp.W_gate", "blocks.1.mlp.W_out", "blocks.1.mlp.b_in",
    "ln_final.w", UNEMBEDDING, "unembed.b_U",
)  # fmt: skip
TOGETHER = (
    ("blocks.0.attn.W_O[3]", "blocks.0.attn.W_O[1]", "blocks.1.attn.W_Q[0]"),
    ("blocks.0.mlp.*", "blocks.1.ln1*"),
    ("*",),
)


def dense_jacobians(model, name, position=-1):
    """Component -> (N C, P) Jacobian of all logits, heads and the tied parameter included."""
    adapter = adapt(model)
    dense = jacobians(model, tokens(), lambda z: z, position, name not in NOT_FUNCTIONAL)
    found = {}
    for site in adapter.sites:
        jacobian = dense[site.name].double()
        if adapter.tied and site.name in (EMBEDDING, UNEMBEDDING):
            # the dense Jacobian cannot tell the roles apart
            found[TIED] = jacobian.flatten(2).flatten(0, 1)
            continue
        found[site.name] = jacobian.flatten(2).flatten(0, 1)
        slices = head_slices(site, jacobian) if site.heads else []
        for head, part in zip(site.head_names, slices, strict=True):
            found[head] = part.flatten(2).flatten(0, 1)
    return found


def whitened(model, flattened):
    """V^T K V, V a basis of the span of W_U: the rotation that makes it S^1/2 K_r S^1/2."""
    W_U = adapt(model).unembedding.double()
    n = flattened.shape[0] // W_U.shape[1]
    left, _, right = torch.linalg.svd(W_U, full_matrices=False)
    V = torch.block_diag(*[right.T @ left.T] * n)
    return V.T @ flattened @ V


def kernels(model, name, component, dense):
    """The dense kernel of a component or of several, nothing counted twice."""
    names = partition(match_names(list(dense), component))
    return sum(dense[n] @ dense[n].T for n in names)


def is_linear(model):
    """Whether the logits are what the unembedding returns, with no cap."""
    return not float(getattr(model.cfg, "output_logits_soft_cap", 0) or 0) > 0


@pytest.mark.parametrize("name", MODELS)
def test_operator_equals_the_dense_flattened_kernel_in_float64(name):
    model = build(name)
    dense = dense_jacobians(model, name)
    size = float(kernels(model, name, "*", dense).abs().max())
    bound = 2e-6 if name in FLOAT32_INSIDE | FLOAT32_SOFTMAX else 1e-9
    # every other kind of component, by turns: the next architecture has the others
    turn = MODELS.index(name)
    present = [n for n in SINGLES if n in dense][turn % 2 :: 2]
    assert len(present) >= 4
    together = [list(g) for g in TOGETHER if all(match(n, dense) for n in g)]
    for index, component in enumerate([*present, *together]):
        expected = kernels(model, name, component, dense)
        if is_linear(model) and (index + turn) % 4:
            op = kernel_operator(model, tokens(), component)
            expected = whitened(model, expected)
        else:
            op = kernel_operator(model, tokens(), component, readout="logits")
        error = relative_error(op.to_dense(), expected, size)
        assert error <= bound, (component, op.provenance["readout"], error)


def match(pattern, names):
    try:
        return bool(match_names(list(names), pattern))
    except ValueError:
        return False


@pytest.mark.parametrize("name", [*MODELS[::4], "hf:gemma3"])
def test_operator_in_float32(name):
    single = build(name, torch.float32)
    dense = dense_jacobians(rounded_weights(name), name)
    for component in ("blocks.0.attn.W_V", "blocks.1.mlp.W_out", "*"):
        if not match(component, dense):
            continue
        expected = whitened(single, kernels(single, name, component, dense))
        op = kernel_operator(single, tokens(), component)
        assert op.dtype == torch.float32
        if is_linear(single):
            error = relative_error(op.to_dense(), expected)
            assert error <= 1e-5, (component, error)


@pytest.mark.parametrize("name", ["native:layer_norm", "hf:gemma3"])
def test_operator_at_a_position_of_each_example(name):
    model = build(name)
    position = torch.tensor([0, 3, 4, 2])
    dense = dense_jacobians(model, name, position)
    for component in ("blocks.0.attn.W_Q", "blocks.1.mlp.W_out", "blocks.1.attn.W_O"):
        expected = whitened(model, kernels(model, name, component, dense))
        op = kernel_operator(model, tokens(), component, position=position)
        assert relative_error(op.to_dense(), expected) <= (2e-6 if "hf" in name else 1e-9)
