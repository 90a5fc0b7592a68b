"""The same seed on the same machine gives the same bits, on a CPU."""

import pytest
import torch

import tl_entk
from feature_sets import FeatureSet
from tests.models import build, tokens

MODELS = ["native:layer_norm", "hf:gemma3"]
BATCH = tokens(24)


def labels():
    values = torch.stack([BATCH[:, -1] % 2, (BATCH[:, 0] > 5).long()], 1).double().numpy()
    return FeatureSet(values, ("even", "large"), ("parity", "size"), ("parity", "size"))


def directions(model):
    return tl_entk.top_eigendirections(model, BATCH, "blocks.0.mlp.W_in", 4, seed=3)


CALLS = {
    "blocks": lambda m: list(tl_entk.kernel_blocks(m, BATCH, "class_trace", "blocks.*").values()),
    "product": lambda m: [
        tl_entk.kernel_operator(m, BATCH, "blocks.*", readout="logits")
        @ torch.linspace(-1, 1, 24 * adapt_outputs(m), dtype=torch.float64)
    ],
    "top_eigendirections": lambda m: [
        (found := directions(m)).eigenvalues, found.vectors, found.scores, found.residuals
    ],
    "best_directions": lambda m: [
        tl_entk.best_directions(directions(m).scores, labels(), seed=1).to_pandas()
    ],
    "compare": lambda m: [
        tl_entk.compare(
            directions(m), labels(), activations=torch.randn(24, 6, generator=generator()), seed=1
        ).to_pandas()
    ],
}  # fmt: skip


def generator():
    return torch.Generator().manual_seed(0)


def adapt_outputs(model):
    from tl_entk.model.adapters import adapt_transformer

    return adapt_transformer(model).n_outputs


@pytest.mark.filterwarnings("ignore:the model caps")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_the_same_bits(call, name):
    first, second = (call(build(name)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a.equals(b)


def test_a_model_that_draws_is_refused(model):
    def noise(value, hook):
        return value + 0.1 * torch.randn_like(value)

    with model.hooks(fwd_hooks=[("blocks.0.hook_mlp_out", noise)]):
        for call in (tl_entk.jacobian, tl_entk.kernel_operator):
            with pytest.raises(tl_entk.UserError, match="not deterministic"):
                call(model, BATCH, "blocks.1.mlp.W_in")


def test_a_hook_that_mixes_examples_is_refused(model):
    """A mean over the batch, as ablations put it: an example's gradient is not its own."""

    def ablate(value, hook):
        return value.mean(0, keepdim=True).expand_as(value)

    with (
        model.hooks(fwd_hooks=[("blocks.0.hook_mlp_out", ablate)]),
        pytest.raises(tl_entk.UserError, match="mixes examples"),
    ):
        tl_entk.kernel_blocks(model, BATCH)
