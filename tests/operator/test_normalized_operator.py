"""Normalized flattened kernels against the dense ones of all logits."""

import pytest
import torch

from tests.models import HAS_HOOKED, build, tokens
from tests.operator.test_operator_oracle import dense_jacobians, whitened
from tl_entk import kernel_operator, top_eigendirections
from tl_entk.kernel.normalizations import NORMALIZATIONS
from tl_entk.operator.normalized_operator import NormalizedOperator, gradient_norms

WEIGHT = "blocks.0.mlp.W_out"
NAME = "native:layer_norm"
BOTH_CLASSES = [NAME, *(["hooked:gpt2"] if HAS_HOOKED else [])]


def dense_kernel(normalization, position=-1, model_name=NAME):
    """All logits' gradients, scaled and centered as they are, and multiplied."""
    model = build(model_name)
    gradients = dense_jacobians(model, model_name, position)[WEIGHT]
    n = len(tokens())
    gradients = gradients.reshape(n, -1, gradients.shape[1])
    if "cosine" in normalization:
        gradients = gradients / gradients.flatten(1).norm(dim=1)[:, None, None]
    if "centered" in normalization:
        gradients = gradients - gradients.mean(0)
    flat = gradients.flatten(0, 1)
    return model, whitened(model, flat @ flat.T)


@pytest.mark.parametrize("name", list(NORMALIZATIONS))
@pytest.mark.parametrize("position", [-1, 2])
@pytest.mark.parametrize("model_name", BOTH_CLASSES)
def test_products_are_those_of_the_dense_kernel(model_name, name, position):
    model, dense = dense_kernel(name, position, model_name)
    wanted = NORMALIZATIONS[name]
    norms = gradient_norms(model, tokens(), WEIGHT, position=position) if wanted.cosine else None
    plain = kernel_operator(model, tokens(), WEIGHT, position=position)
    operator = NormalizedOperator(plain, norms, centered=wanted.centered, name=name)
    found = operator @ torch.eye(len(dense), dtype=torch.float64)
    torch.testing.assert_close(found, dense, rtol=1e-8, atol=1e-10 * float(dense.abs().max()))
    column = operator @ torch.eye(len(dense), dtype=torch.float64)[:, 3]
    torch.testing.assert_close(column, found[:, 3])


@pytest.mark.parametrize("batch_size", [2, 3, 16])
@pytest.mark.parametrize("name", [*BOTH_CLASSES, "hf:gemma3"])
@pytest.mark.parametrize(
    "component", ["blocks.1.*", "blocks.0.attn.W_Q[1]", ["*W_V", "ln_final.w"]]
)
def test_norms_are_the_traces_of_the_operators_diagonal_blocks(name, component, batch_size):
    model, windows = build(name), tokens(7)
    operator = kernel_operator(model, windows, component)
    blocks = operator.to_dense().reshape(7, operator.d, 7, operator.d)
    expected = torch.einsum("nini->n", blocks).sqrt()
    found = gradient_norms(model, windows, component, batch_size=batch_size)
    torch.testing.assert_close(found, expected, rtol=1e-5 if name == "hf:gemma3" else 1e-9, atol=0)


def test_norms_form_no_gram_matrix(monkeypatch):
    def refuse(*_):
        raise AssertionError("a Gram matrix was formed")

    model, windows = build(NAME), tokens(5)
    expected = gradient_norms(model, windows, WEIGHT)
    monkeypatch.setattr("tl_entk.kernel.blocks.gram", refuse)
    torch.testing.assert_close(gradient_norms(model, windows, WEIGHT), expected)


@pytest.mark.parametrize("component", [None, "unembed.W_U", "tied_embedding"])
def test_norms_of_the_unembedding_are_refused(component):
    model = build("hf:gemma3" if component == "tied_embedding" else NAME)
    with pytest.raises(ValueError, match="gradient is the final hidden vector itself"):
        gradient_norms(model, tokens(), component)


@pytest.mark.parametrize("name", list(NORMALIZATIONS))
def test_eigenvalues_are_those_of_the_dense_kernel(name):
    model, dense = dense_kernel(name)
    eigen = top_eigendirections(model, tokens(), WEIGHT, 5, normalization=name, tol=1e-9)
    expected = torch.linalg.eigvalsh(dense).flip(0)[:5]
    torch.testing.assert_close(eigen.eigenvalues.double(), expected, rtol=1e-6, atol=0)
    assert eigen.provenance["normalization"] == name


def test_a_checkpoint_of_another_normalization_is_refused(tmp_path):
    model, file = build(NAME), tmp_path / "basis.safetensors"
    top_eigendirections(model, tokens(), WEIGHT, 3, normalization="centered", resume=file)
    with pytest.raises(ValueError, match="checkpoint of another run \\(normalization: 'centered'"):
        top_eigendirections(model, tokens(), WEIGHT, 3, resume=file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalization": "scaled"}, "no normalization 'scaled'"),
        ({"normalization": "cosine", "readout": "logsumexp"}, "is for the kernel of all logits"),
    ],
)
def test_what_cannot_be_meant(change, message):
    with pytest.raises(ValueError, match=message):
        top_eigendirections(build(NAME), tokens(), WEIGHT, 3, **change)
