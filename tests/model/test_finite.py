"""Half precision over large vocabularies, and numbers that are not finite."""

import pytest
import torch

import tl_entk
from feature_sets.errors import UserError
from tests.models import HAS_HOOKED, build, tokens
from tests.oracle import relative_error
from tl_entk.model.readouts import bind_readout

LARGE = 262_144
NAME = "blocks.1.mlp.W_in"


def large_vocabulary(dtype):
    """A small Gemma with a vocabulary of the real one's size; the same numbers in every format."""
    import transformers as hf
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    config = hf.Gemma3TextConfig(
        vocab_size=LARGE, hidden_size=16, intermediate_size=10, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "full_attention"], bos_token_id=2, eos_token_id=1,
        pad_token_id=0,
    )  # fmt: skip
    config._attn_implementation = "eager"
    module = hf.Gemma3ForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_((noise * 0.25 + (0.7 if parameter.ndim == 1 else 0.0)).bfloat16())
    return build_bridge_from_module(
        module.to(dtype), "Gemma3ForCausalLM", hf_config=config, model_name="large"
    ).eval()


@pytest.mark.parametrize("readout", ["mean_logit", "logsumexp"])
def test_float16_over_a_large_vocabulary(readout):
    """Off by what the network's own rounding makes of it: the operator of means was off by 17 %."""
    batch, half = tokens(), large_vocabulary(torch.float16)
    expected = tl_entk.kernel_blocks(large_vocabulary(torch.float32), batch, readout, NAME).total()
    found = tl_entk.kernel_blocks(half, batch, readout, NAME).total()
    assert relative_error(found, expected) < 0.01
    op = tl_entk.kernel_operator(half, batch, NAME, readout=readout)
    assert relative_error(op.to_dense(), expected) < 0.01


@pytest.mark.parametrize("readout", ["mean_logit", "logsumexp", "target_logprob"])
def test_gradients_of_readouts_in_bfloat16(readout):
    """As exact as the format of the logits, which they are rounded to at the end."""
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(4, LARGE, generator=generator)).bfloat16()
    gradients = []
    for values in (logits, logits.double()):
        leaf = values.clone().requires_grad_()
        targets = {"targets": torch.arange(4)} if readout == "target_logprob" else {}
        bound = bind_readout(readout, n=4, d_vocab_out=LARGE, **targets)
        outputs = bound.outputs(leaf, slice(0, 4)).sum()
        gradients.append(torch.autograd.grad(outputs, leaf)[0].double())
    assert float((gradients[0] - gradients[1]).norm()) < 4e-3 * float(gradients[1].norm())


def test_the_log_partition_of_a_large_vocabulary_does_not_overflow():
    """exp(0) summed 262,144 times is more than float16 has."""
    logits = torch.zeros(2, LARGE, dtype=torch.float16, requires_grad=True)
    targets = torch.tensor([0, 1])
    for readout, value, given in (
        ("logsumexp", 12.477, {}),
        ("target_logprob", -12.477, {"targets": targets}),
    ):
        bound = bind_readout(readout, n=2, d_vocab_out=LARGE, **given)
        found = bound.outputs(logits, slice(0, 2))
        assert torch.allclose(found, torch.tensor(value), atol=1e-3)
        (gradient,) = torch.autograd.grad(found.sum(), logits)
        assert gradient.float().abs().sum() > 0.9


def test_targets_that_half_precision_does_not_tell_apart_warn():
    bound = bind_readout("target_logit", n=2, d_vocab_out=3)
    tied = torch.tensor([[1.0, 2.0, 2.0], [1.0, 0.0, 0.0]])
    with pytest.warns(UserWarning, match=r"equal in torch\.bfloat16.*pass targets"):
        bound.outputs(tied.bfloat16(), slice(0, 2))
    bound.outputs(tied, slice(0, 2))  # in float32 equal logits are the model's own


def spoil(model, name, value):
    with torch.no_grad():
        model.get_parameter(name).view(-1)[3] = value


CALLS = {
    "kernel_blocks": lambda m, x: tl_entk.kernel_blocks(m, x, components=NAME),
    "kernel_operator": lambda m, x: tl_entk.kernel_operator(m, x, NAME).to_dense(),
    "jacobian": lambda m, x: tl_entk.jacobian(m, x, NAME),
    "gradient_norms": lambda m, x: tl_entk.gradient_norms(m, x, NAME),
    "all_eigendirections": lambda m, x: tl_entk.all_eigendirections(m, x, [NAME], k=1, outputs=2),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_named(model, call, value):
    spoil(model, "blocks.0.mlp.out._original_component.weight", value)
    with pytest.raises(RuntimeError, match=r"not finite.*weight .*mlp.*out.*model\.float\(\)"):
        call(model, tokens())


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_an_activation_that_is_not_finite_is_named_with_its_example(call):
    """An overflow in one window, which is none of those that are tried first."""
    model, batch = build("native:plain"), tokens(8) % 9 + 1
    batch[6, 2] = 10
    with torch.no_grad():
        model.embed._original_component.weight[10] = 1e300
    with pytest.raises(RuntimeError, match=r"not finite.*output of .*attn.* for example 6"):
        call(model, batch)


def test_a_readout_that_overflows_is_refused(model):
    readout = tl_entk.Readout(lambda z: (1e4 * z).exp().sum(1))
    with pytest.raises(UserError, match=r"is not finite where what it reads is: look for .* overf"):
        tl_entk.kernel_blocks(model, tokens(), readout, NAME)


@pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has no HookedTransformer")
def test_a_hooked_transformers_weight_is_named():
    model = build("hooked:gpt2")
    spoil(model, "blocks.0.mlp.W_out", float("nan"))
    with pytest.raises(RuntimeError, match=r"weight blocks\.0\.mlp\.W_out"):
        tl_entk.kernel_blocks(model, tokens())
