"""Gemma 3 text models of any size as a HookedTransformer: from Hugging Face's own model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

# its TransformerLens configuration has every switch of Gemma 3; sizes come from the folder
_GEMMA = "google/gemma-3-270m"
# TransformerLens' name of a size to Hugging Face's
_SIZES = {
    "d_model": "hidden_size",
    "d_head": "head_dim",
    "rotary_dim": "head_dim",
    "n_heads": "num_attention_heads",
    "n_key_value_heads": "num_key_value_heads",
    "d_mlp": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_ctx": "max_position_embeddings",
    "eps": "rms_norm_eps",
    "d_vocab": "vocab_size",
    "d_vocab_out": "vocab_size",
    "act_fn": "hidden_activation",
    "initializer_range": "initializer_range",
    "window_size": "sliding_window",
}


def refuse_gemma(config: Any) -> str | None:
    """Switches of Gemma 3's configuration that TransformerLens' conversion leaves out."""
    from transformer_lens.config.hooked_transformer_config import SUPPORTED_ACTIVATIONS

    rope = config.rope_parameters
    for present, what in (
        (config.attention_bias, "it has attention biases"),
        (config.use_bidirectional_attention, "its attention is bidirectional"),
        (getattr(config, "quantization_config", None), "its weights are quantized"),
        (config.hidden_activation not in SUPPORTED_ACTIVATIONS, config.hidden_activation),
        (rope["sliding_attention"]["rope_type"] != "default", "its local rotary is scaled"),
        (rope["full_attention"]["rope_type"] not in ("default", "linear"), "its rotary is scaled"),
    ):
        if present:
            return f"{what}, which TransformerLens does not convert"
    return None


def hooked_gemma(source: Any, tokenizer: Any, device: str) -> Any:
    """A HookedTransformer with the weights of Hugging Face's model, raw.

    Args:
        source: Hugging Face's model.
        tokenizer: becomes the model's own, with <bos> in front.
        device: where the weights are to be.
    """
    from transformer_lens import HookedTransformer
    from transformer_lens.pretrained.weight_conversions import convert_gemma_weights

    cfg = _hooked_config(source.config, device)
    # with left padding (Gemma's own) every pass would make an attention mask, for no padding
    model = HookedTransformer(cfg, tokenizer, move_to_device=False, default_padding_side="right")
    with torch.no_grad():
        missing, _ = model.load_state_dict(convert_gemma_weights(source, cfg), strict=False)
    if left := set(missing) & dict(model.named_parameters()).keys():
        raise RuntimeError(f"TransformerLens' conversion left out {sorted(left)[:3]}.")
    model.move_model_modules_to_device()
    return model


def _hooked_config(config: Any, device: str) -> Any:
    """TransformerLens' configuration of a Gemma 3 text model with the folder's sizes."""
    from transformer_lens.loading_from_pretrained import get_pretrained_model_config

    base = get_pretrained_model_config(_GEMMA, dtype=torch.float32, device=device)
    rope, kinds = config.rope_parameters, config.layer_types
    return replace(
        base,
        **{ours: getattr(config, theirs) for ours, theirs in _SIZES.items()},
        attn_scale=config.query_pre_attn_scalar**0.5,
        use_local_attn="sliding_attention" in kinds,
        attn_types=["local" if kind == "sliding_attention" else "global" for kind in kinds],
        rotary_base=rope["full_attention"]["rope_theta"],
        rotary_base_local=rope["sliding_attention"]["rope_theta"],
        rotary_scaling_factor=rope["full_attention"].get("factor") or 1.0,
        # no cap of the attention scores: Hugging Face's Gemma 3 leaves attn_logit_softcapping out
        output_logits_soft_cap=config.final_logit_softcapping or base.output_logits_soft_cap,
        tokenizer_name=None,  # given as an object
    )
