"""Small language models with weights that show in the logits, and what must hold of them."""

import pytest
import torch
import transformers

from tests.models import HAS_HOOKED

CLASSES = ["hooked", "bridge"] if HAS_HOOKED else ["bridge"]
needs_hooked = pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has the bridge alone")
LENGTH = 64
LOCAL, GLOBAL = "sliding_attention", "full_attention"


def gemma_config(**changes):
    sizes = dict(
        vocab_size=300, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=1, head_dim=12, query_pre_attn_scalar=12,
        sliding_window=16, max_position_embeddings=128, layer_types=[LOCAL, GLOBAL],
        rms_norm_eps=1e-6, pad_token_id=0, eos_token_id=1, bos_token_id=2,
    )  # fmt: skip
    return transformers.Gemma3TextConfig(**{**sizes, **changes})


def sharpened(model):
    """Weights under which every part of the network shows in the logits.

    They are bfloat16's, as in checkpoints; model.to would round the rotary frequencies too, which
    no file holds.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            scale = 0.5 if "norm" in name else parameter.shape[-1] ** -0.5
            parameter.copy_((noise * scale).bfloat16())
    return model.eval()


def windows(vocabulary):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(3, vocabulary, (2, LENGTH), generator=generator)


def assert_same_logits(language_model, expected):
    with torch.no_grad():
        found = language_model.model(windows(expected.shape[-1]))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
