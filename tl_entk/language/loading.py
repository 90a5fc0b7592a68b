"""Language models by name: the embedded story model, a local folder, or the hub."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from feature_sets.errors import UserError
from tl_entk.language.model_folder import (
    check_memory,
    float32_bytes,
    model_folder,
    official_name,
)
from tl_entk.language.story_model import EMBEDDED
from tl_entk.language.story_model.architecture import WEIGHTS
from tl_entk.model.adapters.classes import ModelClass, has_hooked_transformer

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


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model with its tokenizer.

    Attributes:
        model: HookedTransformer or TransformerBridge, in eval mode, float32, raw weights.
        tokenizer: Hugging Face's fast tokenizer, as its files say (TransformerLens keeps one of
            its own in the model, which prepends <bos>).
        name: "stories", the folder, or the name on the hub.
        model_class: "hooked" or "bridge".
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    name: str
    model_class: ModelClass


def load_language_model(
    name: str, model_class: str | None = None, device: str = "cpu"
) -> LanguageModel:
    """A language model with the weights it was trained with, raw and in float32.

    Nothing is folded or centered. A HookedTransformer writes two things otherwise than the
    checkpoint: Gemma's embedding scale, sqrt(d_model), is multiplied into W_E, and an unembedding
    that is the embedding becomes a weight of its own. The function is the same; the kernels of
    embedding and unembedding are not.

    As a HookedTransformer (TransformerLens 3.x): every Gemma 3 text model, local or not, whatever
    its sizes (converted here from its own files), and the hub models on TransformerLens' list of
    official names. As a bridge: every architecture that the bridge takes.

    Args:
        name: "stories" (the embedded model), a local folder in Hugging Face's format, or a model's
            name on the hub ("gemma-3-270m" is short for "google/gemma-3-270m"). A model in the
            hub's local cache needs no network.
        model_class: "hooked", "bridge", or None: hooked where TransformerLens is 3.x and the
            model is one of those above, else bridge.
        device: where the weights are to be.

    Returns:
        The model and its tokenizer.

    Raises:
        OSError: if the folder or model is unknown, without network, or without permission.
        UserError: if something is missing, the model cannot be of this class, its tokenizer is
            not fast, or memory is too small.

    Example:
        >>> load_language_model("stories", "none")
        Traceback (most recent call last):
        ...
        feature_sets.errors.UserError: model class 'none': pass hooked or bridge.
    """
    if model_class is not None and model_class not in get_args(ModelClass):
        raise UserError(f"model class {model_class!r}: pass hooked or bridge.")
    local = name == EMBEDDED or Path(name).expanduser().is_dir()
    name = name if local else official_name(name)
    if name == EMBEDDED and not WEIGHTS.is_dir():
        raise FileNotFoundError(
            f"this installation has no story model in {WEIGHTS}: install tl_entk anew, train one "
            "with `python -m tl_entk.language.story_model.train`, or pass another model."
        )
    folder = model_folder(str(WEIGHTS) if name == EMBEDDED else name)
    config = _config(folder)
    refusal = _no_hooked(name, config, local)
    if model_class == "hooked" and refusal:
        raise UserError(f"{name} as a HookedTransformer: {refusal}; pass --model-class bridge.")
    chosen: ModelClass = "bridge" if model_class == "bridge" or refusal else "hooked"
    tokenizer = _tokenizer(folder)
    check_memory(name, _bytes_needed(folder, config, chosen))
    if chosen == "bridge":
        model = _bridge(folder, device)
    elif config.model_type == "gemma3_text":
        model = _hooked_gemma(folder, config, device)
    else:
        model = _hooked_official(name, folder, device)
    model.cfg.model_name = name
    return LanguageModel(model.eval(), tokenizer, name, chosen)


def _config(folder: Path) -> Any:
    try:
        return AutoConfig.from_pretrained(folder)
    except (ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{folder / 'config.json'} is of no model that Hugging Face's transformers know "
            f"({reason}): pass a causal language model."
        ) from error


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # each tokenizer has errors of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"the tokenizer in {folder} cannot be loaded ({reason}): write it anew with "
            "tokenizer.save_pretrained(folder)."
        ) from error
    if not tokenizer.is_fast:
        raise UserError(
            f"the tokenizer in {folder} is not a fast one, which gives the place of every token "
            "in the text: convert it and save tokenizer.json beside the weights."
        )
    return tokenizer


def _no_hooked(name: str, config: Any, local: bool) -> str | None:
    """Why this model is no HookedTransformer, or None."""
    if not has_hooked_transformer():
        return "this TransformerLens has that class no more (it is in 3.9)"
    if config.model_type == "gemma3_text":
        return _no_hooked_gemma(config)
    if local:
        return f"of local folders only Gemma 3 text models can be ({config.model_type} is not)"
    from transformer_lens.supported_models import OFFICIAL_MODEL_NAMES

    return None if name in OFFICIAL_MODEL_NAMES else "TransformerLens has no such official name"


def _no_hooked_gemma(config: Any) -> str | None:
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


def _bytes_needed(folder: Path, config: Any, model_class: ModelClass) -> float:
    """Bytes that loading and the start of the kernel work take (benchmarks/gemma_local.py)."""
    weights = float32_bytes(folder)
    if model_class == "bridge":
        return 1.2 * weights
    # Hugging Face's copy beside TransformerLens', whose embedding is scaled and untied
    embedding = 4 * config.vocab_size * config.hidden_size
    return 2.2 * weights + 2 * embedding


def _bridge(folder: Path, device: str) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers(str(folder), device=device, dtype=torch.float32)


def _hooked_official(name: str, folder: Path, device: str) -> Any:
    from transformer_lens import HookedTransformer

    return HookedTransformer.from_pretrained_no_processing(
        name,
        device=device,
        dtype=torch.float32,
        tokenizer=_tokenizer(folder),
        default_padding_side="right",
        local_files_only=True,  # they are all there
    )


def _hooked_gemma(folder: Path, config: Any, device: str) -> Any:
    from transformer_lens import HookedTransformer
    from transformer_lens.pretrained.weight_conversions import convert_gemma_weights
    from transformers import Gemma3ForCausalLM

    kind: Any = Gemma3ForCausalLM
    source, found = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    if found["missing_keys"]:
        raise UserError(f"the weights in {folder} lack {sorted(found['missing_keys'])[:3]}.")
    cfg = _hooked_config(config, device)
    # with left padding (Gemma's own) every pass would make an attention mask, for no padding
    model = HookedTransformer(
        cfg, _tokenizer(folder), move_to_device=False, default_padding_side="right"
    )
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
