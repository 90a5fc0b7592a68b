"""Language models by name: the embedded story model, a local folder or file, or the hub."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from transformers import PreTrainedTokenizerBase

from feature_sets.errors import UserError
from tl_entk.language.gguf_file import GGUFFile, find_gguf, one_reader, read_gguf
from tl_entk.language.hooked_gemma import hooked_gemma, refuse_gemma
from tl_entk.language.model_folder import (
    ModelFolder,
    check_memory,
    find_folder,
    official_name,
)
from tl_entk.language.story_model import EMBEDDED
from tl_entk.language.story_model.architecture import WEIGHTS
from tl_entk.model.classes import ModelClass, has_hooked_transformer
from tl_entk.tools.devices import check_device
from tl_entk.tools.values import check_kind

Source = GGUFFile | ModelFolder


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model with its tokenizer.

    Attributes:
        model: HookedTransformer or TransformerBridge, in eval mode, float32, raw weights.
        tokenizer: Hugging Face's fast tokenizer, as its files say (TransformerLens keeps one of
            its own in the model, which prepends <bos>).
        name: "stories", the folder or file, or the name on the hub.
        model_class: "hooked" or "bridge".
        quantization: what the weights were dequantized from, such as "Q4_K_M"; None for weights
            as the model was trained with.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    name: str
    model_class: ModelClass
    quantization: str | None = None


def load_language_model(
    name: str, model_class: str | None = None, device: str = "cpu"
) -> LanguageModel:
    """A language model with the weights it was trained with, raw and in float32.

    Nothing is folded or centered; quantized weights are dequantized. A HookedTransformer writes
    two things otherwise than the checkpoint: Gemma's embedding scale, sqrt(d_model), is multiplied
    into W_E, and an unembedding that is the embedding becomes a weight of its own. The function is
    the same; the kernels of embedding and unembedding are not.

    As a HookedTransformer (TransformerLens 3.x): every Gemma 3 text model, local or not, whatever
    its sizes (converted here from its own files), and the hub models on TransformerLens' list of
    official names. As a bridge: every architecture that the bridge takes.

    Args:
        name: "stories" (the embedded model), a local folder in Hugging Face's format, a GGUF file
            of any architecture that transformers dequantize, or a model's name on the hub
            ("gemma-3-270m" is short for "google/gemma-3-270m"). A model in the hub's local cache
            needs no network.
        model_class: "hooked", "bridge", or None: hooked where TransformerLens is 3.x and the
            model is one of those above, else bridge.
        device: where the weights are to be.

    Returns:
        The model and its tokenizer.

    Raises:
        OSError: if the folder or model is unknown, without network, or without permission.
        UserError: if something is missing, the model cannot be of this class, its tokenizer is
            not fast, memory is too small, or the device is unknown.

    Example:
        >>> load_language_model("stories", "none")
        Traceback (most recent call last):
        ...
        feature_sets.errors.UserError: model class 'none': pass hooked or bridge.
    """
    check_kind("name", name, str, 'a folder, a file, a name on the hub, or "stories"')
    if not name:
        raise UserError("name = '': pass a folder, a file, a name on the hub, or 'stories'.")
    check_device(device)
    if model_class is not None and model_class not in list(get_args(ModelClass)):
        raise UserError(f"model class {model_class!r}: pass hooked or bridge.")
    local = name == EMBEDDED or Path(name).expanduser().exists()
    name = name if local else official_name(name)
    with one_reader():
        source = _find_source(name)
        config = source.load_config()
        refusal = _refuse_hooked(name, config, local)
        if model_class == "hooked" and refusal:
            raise UserError(f"{name} as a HookedTransformer: {refusal}; pass --model-class bridge.")
        chosen: ModelClass = "bridge" if model_class == "bridge" or refusal else "hooked"
        tokenizer = _load_tokenizer(source)
        check_memory(name, _bytes_needed(source, config, chosen))
        # TransformerLens changes the tokenizer that it is given
        own = deepcopy(tokenizer)
        if chosen == "bridge":
            model = _bridge(source, config, own, device)
        elif config.model_type == "gemma3_text":
            model = hooked_gemma(source.load_model(config), own, device)
        else:
            model = _hooked_official(name, own, device)
    model.cfg.model_name = name
    return LanguageModel(model.eval(), tokenizer, name, chosen, source.quantization)


def _find_source(name: str) -> Source:
    if name == EMBEDDED and not WEIGHTS.is_dir():
        raise FileNotFoundError(
            f"this installation has no story model in {WEIGHTS}: install tl_entk anew, train one "
            "with `python -m tl_entk.language.story_model.train`, or pass another model."
        )
    path = None if name == EMBEDDED else find_gguf(name)
    return read_gguf(path) if path else find_folder(str(WEIGHTS) if name == EMBEDDED else name)


def _load_tokenizer(source: Source) -> PreTrainedTokenizerBase:
    tokenizer = source.load_tokenizer()
    if not tokenizer.is_fast:
        raise UserError(
            f"the tokenizer in {source.path} is not a fast one, which gives the place of every "
            "token in the text: convert it and save tokenizer.json beside the weights."
        )
    return tokenizer


def _refuse_hooked(name: str, config: Any, local: bool) -> str | None:
    """Why this model is no HookedTransformer, or None."""
    if not has_hooked_transformer():
        return "this TransformerLens has that class no more (it is in 3.9)"
    if config.model_type == "gemma3_text":
        return refuse_gemma(config)
    if local:
        return f"of local models only Gemma 3 text models can be ({config.model_type} is not)"
    from transformer_lens.supported_models import OFFICIAL_MODEL_NAMES

    return None if name in OFFICIAL_MODEL_NAMES else "TransformerLens has no such official name"


def _bytes_needed(source: Source, config: Any, model_class: ModelClass) -> int:
    """Bytes that loading and the start of the kernel work take (benchmarks/gemma_local.py)."""
    if model_class == "bridge":
        return source.load_bytes
    # Hugging Face's copy beside TransformerLens', whose embedding is scaled and untied
    embedding = 4 * config.vocab_size * config.hidden_size
    return max(source.load_bytes, round(2.2 * source.float32_bytes) + 2 * embedding)


def _bridge(source: Source, config: Any, tokenizer: Any, device: str) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    # of a folder the bridge loads the weights itself
    loaded = source.load_model(config).to(device) if isinstance(source, GGUFFile) else None
    return TransformerBridge.boot_transformers(
        str(source.path),
        hf_model=loaded,
        tokenizer=tokenizer,
        device=device,
        dtype=torch.float32,
    )


def _hooked_official(name: str, tokenizer: Any, device: str) -> Any:
    from transformer_lens import HookedTransformer

    return HookedTransformer.from_pretrained_no_processing(
        name,
        device=device,
        dtype=torch.float32,
        tokenizer=tokenizer,
        default_padding_side="right",
        local_files_only=True,  # they are all there
    )
