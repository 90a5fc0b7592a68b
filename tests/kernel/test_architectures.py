"""What cannot work is refused by name."""

import pytest
import torch

import tl_entk


def bridge(architecture, config):
    import transformers
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    torch.manual_seed(0)
    module = getattr(transformers, architecture)(config).eval()
    return build_bridge_from_module(
        module, architecture, hf_config=config, model_name="tiny"
    ).eval()


def configs():
    import transformers as hf

    return {
        "encoder-decoder": (
            "T5ForConditionalGeneration",
            hf.T5Config(
                vocab_size=11, d_model=16, d_kv=4, d_ff=10, num_layers=2, num_heads=4,
                decoder_start_token_id=0,
            ),
        ),
        "state-space": (
            "MambaForCausalLM",
            hf.MambaConfig(vocab_size=11, hidden_size=16, num_hidden_layers=2, state_size=4),
        ),
        "mixture of experts": (
            "MixtralForCausalLM",
            hf.MixtralConfig(
                vocab_size=11, hidden_size=16, intermediate_size=12, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, num_local_experts=4,
            ),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["encoder-decoder", "state-space", "mixture of experts"])
def test_refused_by_name(kind):
    model = bridge(*configs()[kind])
    tokens = torch.randint(1, 11, (4, 5))
    for call in (tl_entk.kernel_blocks, tl_entk.kernel_operator):
        with pytest.raises(ValueError, match=kind):
            call(model, tokens, **({"component": None} if call is tl_entk.kernel_operator else {}))


def test_attention_of_a_mixture_of_experts_works():
    model = bridge(*configs()["mixture of experts"])
    tokens = torch.randint(1, 11, (4, 5))
    op = tl_entk.kernel_operator(model, tokens, "blocks.0.attn.W_V", readout="logsumexp")
    block = tl_entk.kernel_blocks(model, tokens, "logsumexp", "blocks.0.attn.W_V").total()
    assert torch.allclose(op.to_dense(), block, rtol=1e-3, atol=1e-4 * float(block.max()))
