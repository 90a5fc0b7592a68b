"""Small models of many architectures, with random weights everywhere, on either class."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torch
from torch import nn

HAS_HOOKED = version("transformer_lens").startswith("3.")

V, T = 11, 5

HOOKED: dict[str, dict[str, Any]] = {
    "plain": dict(normalization_type=None, act_fn="relu"),
    "gpt2": dict(normalization_type="LN", act_fn="gelu"),
    "llama": dict(
        normalization_type="RMS",
        gated_mlp=True,
        act_fn="silu",
        positional_embedding_type="rotary",
        rotary_dim=4,
        n_key_value_heads=2,
    ),
    "gemma3": dict(
        normalization_type="RMS",
        gated_mlp=True,
        act_fn="gelu_pytorch_tanh",
        positional_embedding_type="rotary",
        rotary_dim=4,
        n_key_value_heads=1,
        use_qk_norm=True,
        use_normalization_before_and_after=True,
        use_local_attn=True,
        attn_types=["local", "global"],
        window_size=3,
        output_logits_soft_cap=5.0,
        attn_scores_soft_cap=4.0,
    ),
    "shortformer": dict(normalization_type="LN", positional_embedding_type="shortformer"),
    "bloom": dict(
        normalization_type="LN", positional_embedding_type="alibi", post_embedding_ln=True
    ),
    "pythia": dict(
        normalization_type="LN",
        parallel_attn_mlp=True,
        positional_embedding_type="rotary",
        rotary_dim=2,
    ),
    "olmo2": dict(
        normalization_type="RMS",
        gated_mlp=True,
        positional_embedding_type="rotary",
        rotary_dim=4,
        original_architecture="Olmo2ForCausalLM",
    ),
    "solu_ln": dict(normalization_type="LN", act_fn="solu_ln"),
    "attn_only": dict(normalization_type="LN", attn_only=True),
    "bidirectional": dict(normalization_type="LN", attention_dir="bidirectional"),
    "folded": dict(normalization_type="LNPre"),
}

NATIVE: dict[str, dict[str, Any]] = {
    "plain": dict(normalization_type=None, act_fn="relu"),
    "layer_norm": dict(normalization_type="LN", act_fn="gelu"),
    "attn_only": dict(normalization_type="LN", attn_only=True),
    "softcap_rotary": dict(
        normalization_type="LN",
        positional_embedding_type="rotary",
        rotary_dim=4,
        output_logits_soft_cap=5.0,
        attn_scores_soft_cap=4.0,
    ),
    "gated_grouped": dict(normalization_type=None, gated_mlp=True, n_key_value_heads=2),
    "rms_grouped": dict(
        normalization_type="RMS",
        gated_mlp=True,
        act_fn="silu",
        positional_embedding_type="rotary",
        rotary_dim=4,
        n_key_value_heads=2,
    ),
}


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random values for every parameter, norms and biases included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(noise * 0.25 + (0.7 if parameter.ndim == 1 else 0.0))
    return model.eval()


def _sizes() -> dict[str, Any]:
    # no two widths alike, so that a mixed-up axis shows
    return dict(
        n_layers=2,
        d_model=12,
        d_head=4,
        n_heads=4,
        d_mlp=10,
        n_ctx=8,
        d_vocab=V,
        d_vocab_out=7,
        act_fn="gelu",
        seed=0,
    )


def hooked(name: str, dtype: torch.dtype = torch.float64) -> Any:
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    overrides = HOOKED[name]
    sizes = _sizes()
    if name == "olmo2":
        sizes["d_model"] = 16  # its query/key norms span d_model = n_heads d_head
    cfg = HookedTransformerConfig(**{**sizes, "device": "cpu", "dtype": dtype, **overrides})
    return randomize(HookedTransformer(cfg))


def native(name: str, dtype: torch.dtype = torch.float64, **sizes: int) -> Any:
    import transformer_lens.model_bridge.sources.native  # noqa: F401
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    cfg = TransformerBridgeConfig(**{**_sizes(), **NATIVE[name], **sizes})
    model = TransformerBridge.boot_native(cfg)
    nn.Module.to(model, dtype)
    return randomize(model)


def _hugging_face_configs() -> dict[str, Any]:
    import transformers as hf

    common = dict(vocab_size=V, bos_token_id=1, eos_token_id=1)
    blocks = dict(**common, hidden_size=16, num_hidden_layers=2, num_attention_heads=4)
    placed = dict(**blocks, max_position_embeddings=16)
    llama = dict(**placed, intermediate_size=10, num_key_value_heads=2, pad_token_id=0)
    full = {**llama, "num_key_value_heads": 4}
    return {
        "gemma3": lambda: hf.Gemma3TextConfig(
            **{**llama, "num_key_value_heads": 1},
            head_dim=6,
            query_pre_attn_scalar=6,
            sliding_window=3,
            layer_types=["sliding_attention", "full_attention"],
        ),
        "gemma1": lambda: hf.GemmaConfig(**{**llama, "num_key_value_heads": 1}, head_dim=6),
        "gemma2": lambda: hf.Gemma2Config(
            **llama,
            head_dim=6,
            query_pre_attn_scalar=6,
            sliding_window=3,
            attn_logit_softcapping=4.0,
            final_logit_softcapping=5.0,
        ),
        "falcon": lambda: hf.FalconConfig(**blocks),
        "gpt2": lambda: hf.GPT2Config(
            **common, n_embd=16, n_layer=2, n_head=4, n_inner=10, n_positions=16
        ),
        "llama": lambda: hf.LlamaConfig(**llama),
        "pythia": lambda: hf.GPTNeoXConfig(**placed, intermediate_size=10),
        "qwen2": lambda: hf.Qwen2Config(**llama),
        "qwen3": lambda: hf.Qwen3Config(**llama, head_dim=6),
        "mistral": lambda: hf.MistralConfig(**llama, sliding_window=3),
        "phi": lambda: hf.PhiConfig(**full),
        "phi3": lambda: hf.Phi3Config(**full),
        "opt": lambda: hf.OPTConfig(**placed, ffn_dim=10, word_embed_proj_dim=16, pad_token_id=0),
        "bloom": lambda: hf.BloomConfig(**common, hidden_size=16, n_layer=2, n_head=4),
    }


ARCHITECTURES = {
    "gemma3": "Gemma3ForCausalLM",
    "gemma1": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "falcon": "FalconForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "pythia": "GPTNeoXForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "mistral": "MistralForCausalLM",
    "phi": "PhiForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "opt": "OPTForCausalLM",
    "bloom": "BloomForCausalLM",
}


def hugging_face(name: str, dtype: torch.dtype = torch.float64) -> Any:
    """A bridge around a small random Hugging Face model; no tokenizer, no hub."""
    import transformers as hf
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    config = _hugging_face_configs()[name]()
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    module = getattr(hf, ARCHITECTURES[name])(config).to(dtype).eval()
    randomize(module)
    return build_bridge_from_module(
        module, ARCHITECTURES[name], hf_config=config, model_name=f"tiny-{name}"
    ).eval()


def tokens(n: int = 4, seed: int = 1) -> torch.Tensor:
    """Token windows with repeats within and across examples; never 0, a padding row."""
    return torch.randint(1, V, (n, T), generator=torch.Generator().manual_seed(seed))


BUILDERS = {"hooked": hooked, "native": native, "hf": hugging_face}
FAMILIES = {
    "hooked": list(HOOKED) if HAS_HOOKED else [],
    "native": list(NATIVE),
    "hf": list(ARCHITECTURES),
}
MODELS = [f"{family}:{name}" for family, names in FAMILIES.items() for name in names]


def build(model: str, dtype: torch.dtype = torch.float64) -> Any:
    family, _, name = model.partition(":")
    return BUILDERS[family](name, dtype)
