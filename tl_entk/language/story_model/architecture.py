"""Architecture of the embedded story model: Gemma 3 with every switch of Gemma-3-270M, small."""

from __future__ import annotations

from pathlib import Path

from transformers import Gemma3TextConfig

VOCABULARY = 2048
CONTEXT = 256
PAD, EOS, BOS = "<pad>", "<eos>", "<bos>"
WEIGHTS = Path(__file__).parent / "weights"


def story_config() -> Gemma3TextConfig:
    """Six layers, every third with full attention; four query heads on one key/value head.

    Query/key norms, norms before and after attention and MLP, gated MLP, and a tied embedding
    scaled by the root of its width are Gemma 3's own defaults.

    Example:
        >>> story_config().layer_types[:3]
        ['sliding_attention', 'sliding_attention', 'full_attention']
    """
    config = Gemma3TextConfig(
        vocab_size=VOCABULARY,
        hidden_size=160,
        intermediate_size=480,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=40,
        query_pre_attn_scalar=40,
        sliding_window=32,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"] * 2,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-6,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        tie_word_embeddings=True,
    )
    config.architectures = ["Gemma3ForCausalLM"]
    return config
