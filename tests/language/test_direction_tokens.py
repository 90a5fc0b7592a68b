"""Token directions against the model's own logits, and one language model in both classes."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

import tl_entk
from tests import models
from tests.models import HAS_HOOKED, build, tokens
from tl_entk.directions.token_scores import score_covariances
from tl_entk.language.direction_tokens import logit_directions
from tl_entk.language.loading import load_language_model

# with attention over several positions, float64 from end to end; "many_logits" has more than
# d_model, as language models do, so that W_U W_U^T has full rank
EXACT = ["native:layer_norm", "hf:gpt2", "native:many_logits"]
EXACT += ["hooked:gpt2", "hooked:llama"] if HAS_HOOKED else []


@pytest.fixture
def tiny(request, monkeypatch):
    more = {"normalization_type": "LN", "d_vocab_out": 17}
    monkeypatch.setitem(models.NATIVE, "many_logits", more)
    return build(request.param)


def last(model, windows):
    return model(windows)[:, -1]


def unit(columns):
    return columns / columns.norm(dim=0)


def inverse_root(W_U):
    """S^(-1/2) on the span of S = W_U W_U^T."""
    values, vectors = torch.linalg.eigh(W_U @ W_U.T)
    kept = slice(len(values) - min(W_U.shape), None)
    return vectors[:, kept] / values[kept].sqrt() @ vectors[:, kept].T


def own_weight(mlp):
    """The parameter that is W_out: a bridge's attribute of that name may be a view of it."""
    return mlp.W_out if isinstance(mlp.W_out, torch.nn.Parameter) else mlp.out.weight


def difference(model, windows, weight, direction, step):
    """How every window's logits change as the weight moves, by central differences."""
    start, size = weight.detach().clone(), step / float(direction.norm())

    @torch.no_grad()
    def moved_by(distance):
        weight.copy_(start + distance * direction)
        logits = last(model, windows)
        weight.copy_(start)
        return logits

    return (moved_by(size) - moved_by(-size)) / (2 * size)


def check_against_differences(model, windows, layer, eigen, step, atol):
    """The weight moved by J^T S^(1/2) v moves the logits by theta W_U^T S^(-1/2) v."""
    weight, W_U = own_weight(model.blocks[layer].mlp), model.W_U.detach()
    found, close = logit_directions(model, eigen), dict(rtol=0, atol=atol)
    for j, theta in enumerate(eigen.eigenvalues):
        towards = eigen.vectors[:, :, j] @ inverse_root(W_U) @ W_U
        assert towards.norm() == pytest.approx(1, abs=1e-12)
        # of final hidden vectors h, the sum of S^(1/2) v . h is that of the logits times towards
        (direction,) = torch.autograd.grad((last(model, windows) * towards).sum(), weight)
        change = difference(model, windows, weight, direction, step)
        torch.testing.assert_close(change / theta, towards, **close)
        torch.testing.assert_close(unit(change.T @ eigen.scores[:, j]), found[:, j], **close)


@pytest.mark.parametrize("tiny", EXACT, indirect=True)
def test_logit_directions_are_finite_differences_of_the_logits(tiny):
    windows = tokens(6)
    eigen = tl_entk.top_eigendirections(tiny, windows, "blocks.0.mlp.W_out", 10, tol=1e-11)
    assert eigen.scores.min() < -0.2  # the first few directions score every window alike
    check_against_differences(tiny, windows, 0, eigen, step=1e-5, atol=1e-8)


def test_token_directions_of_a_dense_kernel_are_refused(model):
    blocks = tl_entk.kernel_blocks(model, tokens(4), "logsumexp", "blocks.0.mlp.W_out")
    with pytest.raises(ValueError, match="no number for every dimension of the final hidden"):
        logit_directions(model, tl_entk.eigendecompose(blocks.total(), 2))


def test_token_directions_of_the_unreduced_logit_kernel_are_refused(model):
    eigen = tl_entk.top_eigendirections(model, tokens(4), "blocks.0.mlp.W_out", 2, readout="logits")
    with pytest.raises(ValueError, match="no number for every dimension of the final hidden"):
        logit_directions(model, eigen)


def test_an_operator_knows_the_space_of_its_directions(model):
    weight, windows = "blocks.0.mlp.W_out", tokens(8)
    operator = tl_entk.kernel_operator(model, windows, weight)
    found = tl_entk.leading_eigenpairs(operator, 2, tol=1e-8)
    expected = tl_entk.top_eigendirections(model, windows, weight, 2, tol=1e-8)
    assert found.space == expected.space == "final_hidden"
    directions = logit_directions(model, expected)
    torch.testing.assert_close(logit_directions(model, found), directions, rtol=0, atol=1e-6)
    unreduced = tl_entk.kernel_operator(model, windows, weight, readout="logits")
    assert unreduced.space == "outputs"
    scalar = tl_entk.kernel_operator(model, windows, weight, readout="logsumexp")
    assert scalar.space == "examples"


def test_the_space_of_the_directions_decides_and_not_their_provenance(model):
    windows = tokens(4)
    eigen = tl_entk.top_eigendirections(model, windows, "blocks.0.mlp.W_out", 2)
    assert eigen.space == "final_hidden"
    other = replace(eigen, provenance={"readout": "my own sentence"})
    assert torch.equal(logit_directions(model, other), logit_directions(model, eigen))
    wide = tl_entk.top_eigendirections(model, windows, "blocks.0.mlp.W_out", 2, readout="logits")
    assert wide.space == "outputs"
    named = replace(wide, provenance={"readout": "final_hidden, whitened by W_U"})
    with pytest.raises(ValueError, match="no number for every dimension of the final hidden"):
        logit_directions(model, named)
    scalar = tl_entk.top_eigendirections(
        model, windows, "blocks.0.mlp.W_out", 2, readout="logsumexp"
    )
    assert scalar.space == "examples"


@pytest.mark.parametrize("batch_size", [7, 64])
@pytest.mark.parametrize("tiny", [*EXACT, "native:softcap_rotary"], indirect=True)
def test_score_covariances_are_numpys(batch_size, tiny):
    windows = tokens(30)
    scores = torch.randn(30, 3, generator=torch.Generator().manual_seed(2)) + 5
    with torch.no_grad():
        logits = last(tiny, windows).numpy()
    both = np.cov(logits, scores.double().numpy(), rowvar=False)
    expected = unit(torch.from_numpy(both[: logits.shape[1], logits.shape[1] :]))
    found = score_covariances(tiny, windows, scores, batch_size=batch_size)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


# --- the embedded story model ----------------------------------------------------------------

needs_hooked = pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has the bridge alone")
TIGHT = dict(rtol=0, atol=1e-6)
STORY_WINDOWS = torch.randint(3, 2048, (12, 12), generator=torch.Generator().manual_seed(0))


@cache
def in_float64(model_class):
    """The model, loaded in float32 with raw weights, and directions of a middle W_out."""
    model = load_language_model("stories", model_class).model
    model.to(torch.float64)
    component = "blocks.2.mlp.W_out"
    return model, tl_entk.top_eigendirections(model, STORY_WINDOWS, component, 4, tol=1e-8)


# the bridge computes softmax, norms and rotary in float32 whatever its format: a longer step
@pytest.mark.parametrize(
    ("model_class", "step", "atol"),
    [pytest.param("hooked", 1e-5, 1e-8, marks=needs_hooked), ("bridge", 1e-2, 1e-5)],
)
def test_logit_directions_of_the_story_model(model_class, step, atol):
    model, eigen = in_float64(model_class)
    check_against_differences(model, STORY_WINDOWS, 2, eigen, step, atol)


@needs_hooked
def test_both_classes_give_the_same_directions():
    """Up to float32 rounding, as above; the sign of a vector, and its tokens', is the solver's."""
    (hooked_model, hooked), (bridge_model, bridge) = in_float64("hooked"), in_float64("bridge")
    assert hooked.eigenvalues.diff().abs().min() > 0.1 * hooked.eigenvalues[0]
    torch.testing.assert_close(bridge.eigenvalues, hooked.eigenvalues, rtol=1e-6, atol=0)
    torch.testing.assert_close(bridge.scores, hooked.scores, rtol=0, atol=5e-6)
    signs = torch.einsum("ndk,ndk->k", hooked.vectors, bridge.vectors).sign()
    torch.testing.assert_close(bridge.vectors * signs, hooked.vectors, **TIGHT)
    found, expected = logit_directions(bridge_model, bridge), logit_directions(hooked_model, hooked)
    torch.testing.assert_close(found * signs, expected, **TIGHT)
