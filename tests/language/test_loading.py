"""Language models from folders of Hugging Face's: the same logits, in either class."""

import json
import shutil

import pytest
import torch
import transformers

from benchmarks.gemma import FULL
from tests.language.small_models import (
    CLASSES,
    GLOBAL,
    LOCAL,
    assert_same_logits,
    gemma_config,
    needs_hooked,
    sharpened,
    windows,
)
from tl_entk.language import hooked_gemma, loading
from tl_entk.language.loading import EMBEDDED, load_language_model
from tl_entk.model.adapters import adapt

# every field of the configuration that changes the function
VARIANTS = {
    "window": dict(sliding_window=5),
    "all_local": dict(layer_types=[LOCAL] * 2),
    "all_global": dict(layer_types=[GLOBAL] * 2),
    "key_value_heads": dict(num_key_value_heads=2),
    "query_scale": dict(query_pre_attn_scalar=5),
    "eps": dict(rms_norm_eps=1e-2),
    "activation": dict(hidden_activation="silu"),
    "logit_cap": dict(final_logit_softcapping=1.0),
    "rotary_bases": dict(
        rope_parameters={
            LOCAL: {"rope_type": "default", "rope_theta": 50.0},
            GLOBAL: {"rope_type": "default", "rope_theta": 3000.0},
        }
    ),
    "rotary_factor": dict(
        rope_parameters={
            LOCAL: {"rope_type": "default", "rope_theta": 1e4},
            GLOBAL: {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e6},
        }
    ),
    "untied": dict(tie_word_embeddings=False),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_gemma_folder_gives_hugging_faces_logits(variant, save):
    folder, expected = save(transformers.Gemma3ForCausalLM(gemma_config(**VARIANTS[variant])))
    plain = sharpened(transformers.Gemma3ForCausalLM(gemma_config()))
    with torch.no_grad():
        # the test would see it if the field were not read
        assert (plain(windows(300)).logits - expected).abs().max() > 0.05
    assert_same_logits(load_language_model(str(folder)), expected)


@needs_hooked
def test_cap_of_attention_scores_is_left_out_as_hugging_face_does(save):
    config = gemma_config(attn_logit_softcapping=1.0)
    folder, expected = save(transformers.Gemma3ForCausalLM(config))
    assert_same_logits(load_language_model(str(folder), "hooked"), expected)


@pytest.mark.parametrize("model_class", CLASSES)
def test_story_model_loads(model_class, story, monkeypatch):
    folder, expected = story
    monkeypatch.setattr(loading, "WEIGHTS", folder)
    found = load_language_model(EMBEDDED, model_class)
    assert (found.name, found.model_class) == (EMBEDDED, model_class)
    assert found.tokenizer.is_fast
    assert (
        found.tokenizer("dog").input_ids
        == found.tokenizer("dog", add_special_tokens=False)["input_ids"]
    )
    assert not found.model.training
    assert all(p.dtype == torch.float32 for p in found.model.parameters())
    adapter = adapt(found.model)
    assert adapter.processed is None
    assert adapter.cfg.model_name == EMBEDDED
    assert_same_logits(found, expected)


@needs_hooked
def test_default_is_hooked_where_it_can_be(story, gpt2):
    assert load_language_model(str(story[0])).model_class == "hooked"
    found = load_language_model(str(gpt2[0]))
    assert found.model_class == "bridge"
    assert_same_logits(found, gpt2[1])


@needs_hooked
def test_hooked_makes_no_attention_mask_for_left_padding(story, tmp_path):
    folder = shutil.copytree(story[0], tmp_path / "left")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "padding_side": "left"}))
    found = load_language_model(str(folder), "hooked")
    assert found.model.tokenizer.padding_side == "right"
    assert found.tokenizer.padding_side == "left"


@needs_hooked
def test_full_size_configuration_is_transformer_lens_own():
    from transformer_lens.loading_from_pretrained import get_pretrained_model_config

    own = get_pretrained_model_config("google/gemma-3-270m", dtype=torch.float32, device="cpu")
    found = hooked_gemma._hooked_config(gemma_config(**FULL, layer_types=None), "cpu")
    different = {k for k, v in vars(own).items() if getattr(found, k) != v}
    # TransformerLens takes a quarter of the model's context
    assert different <= {"n_ctx", "tokenizer_name"}
    assert found.n_ctx == 32768
