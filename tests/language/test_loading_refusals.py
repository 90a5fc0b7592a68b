"""What is no whole model, or none that fits, is refused before it is loaded."""

import json
import shutil
from types import SimpleNamespace
from unittest.mock import Mock

import psutil
import pytest
import torch
import transformers

from tests.language.small_models import (
    GLOBAL,
    LOCAL,
    gemma_config,
    needs_hooked,
)
from tl_entk.language import loading, model_folder
from tl_entk.language.loading import EMBEDDED, load_language_model


@needs_hooked
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (dict(attention_bias=True), "biases"),
        (dict(use_bidirectional_attention=True), "bidirectional"),
        (dict(hidden_activation="tanh"), "tanh"),
        (
            dict(
                rope_parameters={
                    LOCAL: {"rope_type": "default", "rope_theta": 1e4},
                    GLOBAL: {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e6},
                }
            ),
            "rotary",
        ),
    ],
)
def test_gemma_that_transformer_lens_would_convert_wrongly_is_refused(changes, reason):
    assert reason in loading._refuse_hooked("a folder", gemma_config(**changes), True)


@needs_hooked
def test_other_local_folder_as_hooked_is_refused(gpt2):
    with pytest.raises(ValueError, match=r"gpt2 is not.*pass --model-class bridge"):
        load_language_model(str(gpt2[0]), "hooked")


def test_unknown_class_is_refused(story):
    with pytest.raises(ValueError, match="hooked or bridge"):
        load_language_model(str(story[0]), "other")


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("config.json", "config.json"),
        ("model.safetensors", "model.safetensors or pytorch_model.bin"),
        ("tokenizer.json", "tokenizer"),
    ],
)
def test_incomplete_folder_is_refused(lost, named, story, tmp_path):
    folder = shutil.copytree(story[0], tmp_path / "model")
    (folder / lost).unlink()
    with pytest.raises(ValueError, match=f"has no {named}.*save_pretrained"):
        load_language_model(str(folder))


def test_missing_shard_is_named(story, tmp_path):
    folder = shutil.copytree(story[0], tmp_path / "model")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"has no model-1-of-2\.safetensors"):
        load_language_model(str(folder))


@needs_hooked
def test_weights_that_lack_a_tensor_are_refused(story, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(story[0], tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lack \['model\.norm\.weight'\]"):
        load_language_model(str(folder), "hooked")


def test_configuration_of_no_known_model_is_refused(story, tmp_path):
    folder = shutil.copytree(story[0], tmp_path / "model")
    (folder / "config.json").write_text('{"model_type": "none_such"}')
    with pytest.raises(ValueError, match="no model that Hugging Face's transformers know"):
        load_language_model(str(folder))


@pytest.mark.parametrize("name", ["./none", "/none/such", "a/b/c", "~/none_such", "bad name!"])
def test_missing_folder_is_named(name):
    with pytest.raises(FileNotFoundError, match=r"no folder|neither a folder"):
        load_language_model(name)


def test_installation_without_the_story_model_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "WEIGHTS", tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no story model"):
        load_language_model(EMBEDDED)


def test_slow_tokenizer_is_refused(story, monkeypatch):
    found = Mock(spec=transformers.PreTrainedTokenizerBase, is_fast=False)
    slow = SimpleNamespace(from_pretrained=lambda folder: found)
    monkeypatch.setattr(model_folder, "AutoTokenizer", slow)
    with pytest.raises(ValueError, match="not a fast one"):
        load_language_model(str(story[0]))


def test_broken_tokenizer_is_named(story, tmp_path):
    folder = shutil.copytree(story[0], tmp_path / "model")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer in .* cannot be loaded"):
        load_language_model(str(folder))


def test_too_little_memory_is_told_before_loading(story, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1_000_000))
    for name in ("_bridge", "hooked_gemma"):
        monkeypatch.setattr(loading, name, None)
    with pytest.raises(ValueError, match=r"GB of memory in float32 and 0\.0 GB are free"):
        load_language_model(str(story[0]))


@pytest.mark.parametrize("safe", [True, False])
def test_size_of_the_weights_is_read_from_their_files(safe, story, tmp_path):
    folder = story[0]
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    if not safe:
        folder = shutil.copytree(folder, tmp_path / "old")
        (folder / "model.safetensors").unlink()
        state = {k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}
        torch.save(state, folder / "pytorch_model.bin")
    expected = 4 * sum(p.numel() for p in model.parameters())
    assert model_folder.ModelFolder(folder).float32_bytes == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("device", ["meta", "nowhere", "cuda:99"])
def test_a_device_that_holds_no_numbers_is_refused(device):
    with pytest.raises(ValueError, match=rf"device {device}: .*\. Pass device cpu, or cuda where"):
        load_language_model("stories", device=device)
