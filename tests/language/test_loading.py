import json
import shutil
import urllib.error
from types import SimpleNamespace
from unittest.mock import Mock

import huggingface_hub
import psutil
import pytest
import torch
import transformers
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from benchmarks.gemma import FULL
from feature_sets import network
from tests.models import HAS_HOOKED
from tl_entk.language import hooked_gemma, loading, model_folder
from tl_entk.language.loading import EMBEDDED, load_language_model
from tl_entk.language.story_model.architecture import story_config
from tl_entk.language.story_model.train import train_tokenizer
from tl_entk.model.adapters import adapt

CLASSES = ["hooked", "bridge"] if HAS_HOOKED else ["bridge"]
needs_hooked = pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has the bridge alone")
LENGTH = 64


def gemma_config(**changes):
    sizes = dict(
        vocab_size=300, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=1, head_dim=12, query_pre_attn_scalar=12,
        sliding_window=16, max_position_embeddings=128, layer_types=[LOCAL, GLOBAL],
        rms_norm_eps=1e-6, pad_token_id=0, eos_token_id=1, bos_token_id=2,
    )  # fmt: skip
    return transformers.Gemma3TextConfig(**{**sizes, **changes})


LOCAL, GLOBAL = "sliding_attention", "full_attention"
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


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(["Once upon a time there was a dog.", "The dog ran to the old tree."])


@pytest.fixture(scope="session")
def save(tokenizer, tmp_path_factory):
    """Writes a model and the tokenizer, gives the folder and the model's own logits."""

    def write(model):
        folder = tmp_path_factory.mktemp("model")
        model = sharpened(model)
        with torch.no_grad():
            logits = model(windows(model.config.vocab_size)).logits
        model.to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder, logits

    return write


@pytest.fixture(scope="session")
def story(save):
    return save(transformers.Gemma3ForCausalLM(story_config()))


@pytest.fixture(scope="session")
def gpt2(save):
    config = transformers.GPT2Config(
        vocab_size=300, n_embd=16, n_layer=2, n_head=4, n_positions=64, n_ctx=64,
        bos_token_id=2, eos_token_id=1,
    )  # fmt: skip
    return save(transformers.GPT2LMHeadModel(config))


def windows(vocabulary):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(3, vocabulary, (2, LENGTH), generator=generator)


def assert_same_logits(language_model, expected):
    with torch.no_grad():
        found = language_model.model(windows(expected.shape[-1]))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


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


# --- the hub ---------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub's local cache that models can be put into; no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(network.urllib.request, "urlopen", unreachable)

    def put(name, folder):
        base = tmp_path / f"models--{name.replace('/', '--')}"
        (base / "refs").mkdir(parents=True)
        (base / "refs" / "main").write_text("abc")
        shutil.copytree(folder, base / "snapshots" / "abc")
        return base / "snapshots" / "abc"

    return put


@pytest.fixture
def reachable(hub, monkeypatch):
    """The hub answers when asked."""
    answer = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr(network.urllib.request, "urlopen", lambda *a, **k: answer)
    return hub


def test_cached_hub_model_needs_no_network(hub, story):
    hub("google/gemma-3-270m", story[0])
    for model_class in CLASSES:
        found = load_language_model("gemma-3-270m", model_class)
        assert found.name == adapt(found.model).cfg.model_name == "google/gemma-3-270m"
        assert_same_logits(found, story[1])


@needs_hooked
def test_cached_official_model_is_hooked(hub, gpt2):
    hub("gpt2", gpt2[0])
    found = load_language_model("gpt2-small")
    assert (found.name, found.model_class) == ("gpt2", "hooked")
    assert adapt(found.model).processed is None
    assert_same_logits(found, gpt2[1])


@needs_hooked
def test_hub_model_that_transformer_lens_does_not_list(hub, gpt2):
    hub("somebody/mine", gpt2[0])
    assert load_language_model("somebody/mine").model_class == "bridge"
    with pytest.raises(ValueError, match="official name; pass --model-class bridge"):
        load_language_model("somebody/mine", "hooked")


def test_no_network_is_told_at_once(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    with pytest.raises(ConnectionError, match=r"no connection to .*pass a local folder"):
        load_language_model("gemma-3-270m")


def test_half_a_download_is_not_taken_for_the_model(hub, story):
    snapshot = hub("google/gemma-3-270m", story[0])
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(ConnectionError, match="nor in the local cache"):
        load_language_model("gemma-3-270m")


def test_offline_switch_is_named(reachable, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE is set"):
        load_language_model("gemma-3-270m")


def refusal(kind, status, cause=None):
    request = pytest.importorskip("httpx").Request("GET", "https://huggingface.co")
    answer = pytest.importorskip("httpx").Response(status, request=request)
    return kind("the server said no", response=answer)


@pytest.mark.parametrize(
    ("kind", "status", "expected", "mend"),
    [
        (GatedRepoError, 401, PermissionError, "accept the licence.*hf auth login"),
        (HfHubHTTPError, 403, PermissionError, "accept the licence.*hf auth login"),
        (RepositoryNotFoundError, 401, FileNotFoundError, "check the name"),
        (HfHubHTTPError, 500, OSError, "the server said no.*try again"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_the_hub_refuses_comes_with_the_mend(
    kind, status, expected, mend, wrapped, reachable, monkeypatch
):
    def download(*args, **kwargs):
        error = refusal(kind, status)
        if wrapped:
            raise FileNotFoundError("the server said no, at length") from error
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(expected, match=mend):
        load_language_model("gemma-3-270m")


@pytest.mark.parametrize("old", [False, True])
def test_download_takes_old_weights_only_where_there_are_no_others(
    old, reachable, gpt2, monkeypatch, tmp_path
):
    calls = []

    def download(name, *, allow_patterns, ignore_patterns):
        calls.append(allow_patterns)
        folder = tmp_path / str(len(calls))
        shutil.copytree(gpt2[0], folder)
        if old:
            (folder / "model.safetensors").unlink()
            if len(calls) == 2:
                (folder / "pytorch_model.bin").touch()
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    folder = model_folder.find_folder("somebody/mine").path
    assert folder.name == str(len(calls))
    assert [("pytorch_model*.bin" in patterns) for patterns in calls] == [False, True][: 1 + old]


@pytest.mark.parametrize("device", ["meta", "nowhere", "cuda:99"])
def test_a_device_that_holds_no_numbers_is_refused(device):
    with pytest.raises(ValueError, match=rf"device {device}: .*\. Pass device cpu, or cuda where"):
        load_language_model("stories", device=device)
