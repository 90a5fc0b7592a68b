"""Normalised flattened kernels against the dense ones of all logits."""

import pytest
import torch

from tests.models import build, tokens
from tests.test_operator_oracle import dense_jacobians, whitened
from tl_entk import kernel_operator, top_eigendirections
from tl_entk.normalize import NORMALISATIONS
from tl_entk.normalized_operator import normalized_operator

WEIGHT = "blocks.0.mlp.W_out"
NAME = "native:layer_norm"


def dense_kernel(normalisation, position=-1):
    """All logits' gradients, scaled and centred as they are, and multiplied."""
    model = build(NAME)
    gradients = dense_jacobians(model, NAME, position)[WEIGHT]
    n = len(tokens())
    gradients = gradients.reshape(n, -1, gradients.shape[1])
    if "cosine" in normalisation:
        gradients = gradients / gradients.flatten(1).norm(dim=1)[:, None, None]
    if "centred" in normalisation:
        gradients = gradients - gradients.mean(0)
    flat = gradients.flatten(0, 1)
    return model, whitened(model, flat @ flat.T)


@pytest.mark.parametrize("name", list(NORMALISATIONS))
@pytest.mark.parametrize("position", [-1, 2])
def test_products_are_those_of_the_dense_kernel(name, position):
    model, dense = dense_kernel(name, position)
    plain = kernel_operator(model, tokens(), WEIGHT, position=position)
    operator = normalized_operator(
        plain, NORMALISATIONS[name], name, model, tokens(), WEIGHT, position=position
    )
    found = operator @ torch.eye(len(dense), dtype=torch.float64)
    torch.testing.assert_close(found, dense, rtol=1e-8, atol=1e-10 * float(dense.abs().max()))
    column = operator @ torch.eye(len(dense), dtype=torch.float64)[:, 3]
    torch.testing.assert_close(column, found[:, 3])


@pytest.mark.parametrize("name", list(NORMALISATIONS))
def test_eigenvalues_are_those_of_the_dense_kernel(name):
    model, dense = dense_kernel(name)
    eigen = top_eigendirections(model, tokens(), WEIGHT, 5, normalisation=name, tol=1e-9)
    expected = torch.linalg.eigvalsh(dense).flip(0)[:5]
    torch.testing.assert_close(eigen.eigenvalues.double(), expected, rtol=1e-6, atol=0)
    assert eigen.provenance["normalisation"] == name


def test_a_checkpoint_of_another_normalisation_is_refused(tmp_path):
    model, file = build(NAME), tmp_path / "basis.safetensors"
    top_eigendirections(model, tokens(), WEIGHT, 3, normalisation="centred", resume=file)
    with pytest.raises(ValueError, match="checkpoint of another run \\(normalisation: 'centred'"):
        top_eigendirections(model, tokens(), WEIGHT, 3, resume=file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalisation": "scaled"}, "no normalisation 'scaled'"),
        ({"normalisation": "cosine", "readout": "logsumexp"}, "is for the kernel of all logits"),
    ],
)
def test_what_cannot_be_meant(change, message):
    with pytest.raises(ValueError, match=message):
        top_eigendirections(build(NAME), tokens(), WEIGHT, 3, **change)
