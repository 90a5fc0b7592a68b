"""Models of the hub: from its local cache, and what is said where it gives none."""

import shutil
import urllib.error
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from feature_sets import network
from tests.language.small_models import CLASSES, assert_same_logits, needs_hooked
from tl_entk.language import model_folder
from tl_entk.language.loading import load_language_model
from tl_entk.model.adapters import adapt


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
