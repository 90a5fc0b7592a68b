import pytest
import torch

import tl_entk
from benchmarks.default_kernel.kernels import EVERY, LATER, Candidate, candidate_scores
from tests.models import HAS_HOOKED, build, tokens
from tl_entk.directions.default_kernel import DEFAULT_READOUT

NAMES = ["native:layer_norm", "hf:gemma3", *(["hooked:gemma3"] if HAS_HOOKED else [])]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("readout", ["logsumexp", "mean_logit"])
def test_directions_are_those_of_cosines_added_over_weights(name, readout):
    model, inputs = build(name, torch.float64), tokens(12)
    chosen = {} if readout == DEFAULT_READOUT else {"readout": readout}
    found = tl_entk.default_directions(model, inputs, 5, **chosen)
    total = torch.zeros(12, 12, dtype=torch.float64)
    layers = range(model.cfg.n_layers // 2, model.cfg.n_layers)
    for layer in layers:
        name = f"blocks.{layer}.mlp.W_out"
        kernel = tl_entk.kernel_blocks(model, inputs, readout, name)[name]
        sizes = kernel.diagonal().sqrt()
        total += kernel / torch.outer(sizes, sizes)
    values, vectors = torch.linalg.eigh(total)
    torch.testing.assert_close(found.eigenvalues, values[-5:].flip(0), rtol=1e-9, atol=1e-12)
    cosines = (found.vectors * vectors[:, -5:].flip(1)).sum(0).abs()
    assert bool((cosines > 1 - 1e-6).all())


def test_the_study_that_chose_it_measured_this_kernel():
    model, inputs = build("native:layer_norm", torch.float64), tokens(12)
    none = torch.arange(12)
    made = candidate_scores(model, inputs, none, {"W_out": "mlp.W_out"}, 4, 2, lambda done: None)
    chosen = Candidate(DEFAULT_READOUT, "W_out", EVERY, "cosine", False, LATER)
    found = tl_entk.default_directions(model, inputs, 4).vectors
    # the study computes in float32
    assert bool(((made[chosen] * found).sum(0).abs() > 1 - 1e-4).all())


def test_a_layer_with_larger_gradients_weighs_no_more():
    model, inputs = build("native:layer_norm", torch.float64), tokens(12)
    blocks = tl_entk.kernel_blocks(model, inputs, "logsumexp", "blocks.*.mlp.W_out")
    scaled = tl_entk.KernelBlocks(
        {name: 10.0**i * block for i, (name, block) in enumerate(blocks.items())}
    )
    torch.testing.assert_close(scaled.sum("*", "cosine"), blocks.sum("*", "cosine"))
    assert not torch.allclose(scaled.sum("*"), blocks.sum("*"))


def test_a_model_without_such_weights_is_told_so():
    with pytest.raises(ValueError, match=r"none of mlp\.W_out in its later layers"):
        tl_entk.default_directions(build("native:attn_only"), tokens(8), 2)
