"""GGUF files of tiny models, written by these tests, give Hugging Face's logits."""

import sys

import gguf
import numpy as np
import psutil
import pytest
import torch
import transformers

import tl_entk
from tests.models import HAS_HOOKED
from tl_entk.language.gguf_file import find_gguf, read_gguf
from tl_entk.language.loading import load_language_model

CLASSES = ["hooked", "bridge"] if HAS_HOOKED else ["bridge"]
LETTERS = [*"abcdefghijklmnopqrstuvwxyz.", "▁", "th", "the", "▁the", "▁d", "▁do", "▁dog"]
SENTENCEPIECE = ["<pad>", "<eos>", "<bos>", "<unk>", *LETTERS]
# llama.cpp's kinds of tokens: 1 normal, 2 unknown, 3 control
KINDS = [3, 3, 3, 2] + [1] * len(LETTERS)
# the same names in Hugging Face's model and in a GGUF file
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
}  # fmt: skip
GEMMA_NORMS = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
SIZES = dict(
    vocab_size=len(SENTENCEPIECE), hidden_size=32, intermediate_size=64, num_attention_heads=4,
    num_key_value_heads=1, head_dim=32, max_position_embeddings=128, rms_norm_eps=1e-6,
    pad_token_id=0, eos_token_id=1, bos_token_id=2,
)  # fmt: skip


def gemma():
    # six layers: the last is the only one with full attention, which no key of the file says
    config = transformers.Gemma3TextConfig(**SIZES, num_hidden_layers=6, sliding_window=8)
    return transformers.Gemma3ForCausalLM(config)


def qwen():
    # the width of a head is the default: transformers do not read Qwen's from the file
    config = transformers.Qwen3Config(
        **{**SIZES, "head_dim": 128}, num_hidden_layers=2, tie_word_embeddings=False
    )
    return transformers.Qwen3ForCausalLM(config)


def written_name(name):
    _, _, rest = name.partition("layers.")
    if not rest:
        return {"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight",
                "model.norm.weight": "output_norm.weight"}[name]  # fmt: skip
    layer, _, part = rest.removesuffix(".weight").partition(".")
    return f"blk.{layer}.{part}.weight"


def write(path, model, architecture, quantization=None, without="", **fields):
    """A GGUF file of a model; its weights become those that the file holds."""
    gemma3 = architecture == "gemma3"
    names = NAMES | (GEMMA_NORMS if gemma3 else {"post_attention_layernorm": "ffn_norm"})
    writer = gguf.GGUFWriter(path, architecture)
    config = model.config
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(1e6 if gemma3 else 1e4)
    if gemma3:
        writer.add_sliding_window(config.sliding_window)
    if quantization is not None:
        writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{quantization}"])
    writer.add_tokenizer_model("llama")
    writer.add_token_list(SENTENCEPIECE)
    writer.add_token_scores([-float(i) for i in range(len(SENTENCEPIECE))])
    writer.add_token_types(KINDS)
    for name, value in (("pad", 0), ("eos", 1), ("bos", 2), ("unk", 3)):
        getattr(writer, f"add_{name}_token_id")(value)
    for name, value in fields.items():
        writer.add_uint16(name.replace("_", ".", 1), value)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == without:
                continue
            noise = torch.randn(parameter.shape, generator=generator)
            scale = 0.5 if "norm" in name else parameter.shape[-1] ** -0.5
            values = (noise * scale).numpy()
            out = written_name(name)
            for theirs, ours in names.items():
                out = out.replace(f".{theirs}.", f".{ours}.")
            if quantization is not None and values.ndim == 2:
                kind = gguf.GGMLQuantizationType[quantization]
                packed = gguf.quantize(values, kind)
                writer.add_tensor(out, packed, raw_dtype=kind)
                values = gguf.dequantize(packed, kind)
            else:
                # llama.cpp's Gemma norms hold 1 + w
                writer.add_tensor(
                    out, values + np.float32(1) if gemma3 and "norm" in out else values
                )
            parameter.copy_(torch.from_numpy(np.asarray(values)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def quantized(tmp_path_factory):
    model = gemma()
    path = write(tmp_path_factory.mktemp("gguf") / "tiny.gguf", model, "gemma3", "Q8_0")
    return path, model.eval()


def windows(*shape):
    return torch.randint(4, len(SENTENCEPIECE), shape, generator=torch.Generator().manual_seed(1))


def logits_of(model):
    with torch.no_grad():
        found = model(windows(2, 20))
    return getattr(found, "logits", found)


def assert_same_logits(model, twin):
    torch.testing.assert_close(logits_of(model), logits_of(twin), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("model_class", CLASSES)
def test_a_quantized_gemma_gives_the_logits_of_its_dequantized_weights(quantized, model_class):
    path, model = quantized
    loaded = load_language_model(str(path), model_class)
    assert_same_logits(loaded.model, model)
    assert (loaded.model_class, loaded.quantization) == (model_class, "Q8_0")
    assert loaded.name == str(path)
    assert not hasattr(getattr(loaded.model, "original_model", loaded.model), "hf_quantizer")


def test_a_folder_with_one_file_is_that_file(quantized):
    assert find_gguf(str(quantized[0].parent)) == quantized[0]
    assert load_language_model(str(quantized[0].parent)).quantization == "Q8_0"


def test_another_architecture_is_a_bridge(tmp_path):
    model = qwen()
    path = write(tmp_path / "qwen.gguf", model, "qwen3")
    loaded = load_language_model(str(path))
    torch.testing.assert_close(
        logits_of(loaded.model), logits_of(model.eval()), atol=2e-5, rtol=1e-4
    )
    # no key says so: the format that the tensors have
    assert (loaded.model_class, loaded.quantization) == ("bridge", "F32")


def test_the_tokenizer_is_the_files(quantized):
    loaded = load_language_model(str(quantized[0]))
    ids = loaded.tokenizer("the dog.", add_special_tokens=False, return_offsets_mapping=True)
    assert loaded.tokenizer.decode(ids["input_ids"]) == "the dog."
    assert ids["offset_mapping"][-1] == (7, 8)
    assert loaded.tokenizer.bos_token_id == 2


def test_the_header_says_what_it_is(quantized):
    found = read_gguf(quantized[0])
    assert (found.architecture, found.quantization) == ("gemma3", "Q8_0")
    assert found.numbers == sum(p.numel() for p in quantized[1].parameters())


def test_gradients_reach_the_weights(quantized):
    loaded = load_language_model(str(quantized[0]))
    blocks = tl_entk.kernel_blocks(loaded.model, windows(3, 6), "logsumexp", "blocks.5.mlp.W_out")
    assert blocks["blocks.5.mlp.W_out"].diagonal().min() > 0


# --- what is refused -------------------------------------------------------------------------


def test_without_the_package_the_extra_is_named(quantized, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ValueError, match=r"pip install 'tl_entk\[gguf\]'"):
        load_language_model(str(quantized[0]))


@pytest.mark.parametrize("share", [0.0001, 0.02, 0.5, 0.999])
def test_a_truncated_file_is_refused(quantized, tmp_path, share):
    data = quantized[0].read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(data[: max(5, int(share * len(data)))])
    with pytest.raises(ValueError, match=r"no GGUF file, or is cut short.*fetch it anew"):
        load_language_model(str(path))


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "text.gguf"
    path.write_text("Once upon a time there was a file.")
    with pytest.raises(ValueError, match="no GGUF file, or is cut short"):
        load_language_model(str(path))


def test_an_unknown_architecture_is_named(quantized, tmp_path):
    path = write(tmp_path / "x.gguf", gemma(), "warp9")
    with pytest.raises(ValueError, match=r"holds a 'warp9' model, F32, that .* do not load"):
        load_language_model(str(path))


def test_a_missing_tensor_is_named(tmp_path):
    missing = "model.layers.1.mlp.up_proj.weight"
    path = write(tmp_path / "x.gguf", qwen(), "qwen3", without=missing)
    with pytest.raises(ValueError, match=rf"lack .*{missing}"):
        load_language_model(str(path))


def test_one_part_of_several_is_refused(tmp_path):
    path = write(tmp_path / "part.gguf", qwen(), "qwen3", split_count=3)
    with pytest.raises(ValueError, match=r"one of 3 files of a model.*--merge"):
        load_language_model(str(path))


def test_several_files_in_a_folder_are_named(quantized, tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(quantized[0].read_bytes())
    with pytest.raises(ValueError, match=r"2 GGUF files: pass one of a\.gguf, b\.gguf"):
        load_language_model(str(tmp_path))


def test_a_quantization_of_a_later_time_is_what_its_tensors_have(tmp_path):
    path = write(tmp_path / "new.gguf", qwen(), "qwen3", general_file_type=9999)
    assert read_gguf(path).quantization == "F32"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        load_language_model(str(tmp_path / "absent.gguf"))


def test_too_little_memory_is_told_before_loading(quantized, monkeypatch):
    class Memory:
        available = 1000

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    with pytest.raises(ValueError, match="GB of memory in float32"):
        load_language_model(str(quantized[0]))


@pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has the bridge alone")
def test_another_architecture_as_hooked_is_refused(tmp_path):
    path = write(tmp_path / "qwen.gguf", qwen(), "qwen3")
    with pytest.raises(ValueError, match=r"of local models only Gemma 3 text models.*bridge"):
        load_language_model(str(path), "hooked")
