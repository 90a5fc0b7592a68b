"""Gemma-3-270M's own weights, where `make test-gemma` could fetch them; else skipped."""

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, Gemma3ForCausalLM

import tl_entk
from benchmarks.gemma import Twin
from tests.models import HAS_HOOKED
from tl_entk.language.gguf_file import one_reader, read_gguf
from tl_entk.language.loading import load_language_model

FILE = Path(__file__).parents[2] / "runs" / "gemma" / "gemma-3-270m-q4_k_m.gguf"
CLASSES = ["hooked", "bridge"] if HAS_HOOKED else ["bridge"]

pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason="Gemma's weights are not here: make test-gemma fetches them"
)


@pytest.fixture(scope="module")
def source():
    with one_reader():
        found = read_gguf(FILE)
        return found.load_model(found.load_config()).eval().requires_grad_(False)


@pytest.fixture(scope="module", params=CLASSES)
def loaded(request):
    return load_language_model(str(FILE), request.param)


@pytest.fixture(scope="module")
def windows(source):
    tokenizer = AutoTokenizer.from_pretrained(FILE.parent, gguf_file=FILE.name)
    text = "Once upon a time, there was a little girl named Lily. She loved to play with her dog. "
    ids = tokenizer(6 * text, add_special_tokens=False).input_ids
    return torch.tensor([ids[start : start + 16] for start in (0, 20, 40, 60)])


def logits_of(model, tokens):
    with torch.no_grad():
        found = model(tokens)
    return getattr(found, "logits", found)[:, -1]


def test_the_story_goes_on(loaded):
    ids = loaded.tokenizer("Once upon a time, there was a little girl named").input_ids
    (following,) = tl_entk.greedy_continuation(loaded.model, torch.tensor([ids]), 1)
    assert loaded.tokenizer.decode(following) == " Lily"
    assert loaded.quantization == "Q4_K_M"


def test_logits_are_hugging_faces(loaded, source, windows):
    expected = logits_of(source, windows)
    torch.testing.assert_close(logits_of(loaded.model, windows), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("layer", [16, 17])
def test_a_product_is_that_of_the_plain_whole_model(loaded, source, windows, layer):
    component = f"blocks.{layer}.mlp.W_out"
    operator = tl_entk.kernel_operator(loaded.model, windows, component)
    x = torch.randn(operator.shape[0], generator=torch.Generator().manual_seed(2))
    expected = Twin(source, windows, component) @ x
    assert float((operator @ x - expected).norm() / expected.norm()) < 1e-5


def test_a_folder_saved_from_it_gives_the_same_logits(loaded, source, windows, tmp_path):
    # transformers refuse to save what they dequantized: a model of the same weights saves
    plain = Gemma3ForCausalLM(source.config)
    plain.load_state_dict(source.state_dict())
    plain.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    again = load_language_model(str(tmp_path), loaded.model_class)
    torch.testing.assert_close(
        logits_of(again.model, windows), logits_of(loaded.model, windows), atol=1e-5, rtol=1e-5
    )
