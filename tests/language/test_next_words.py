import re
from dataclasses import replace

import pytest
import torch
import transformers
from torch import nn

from tests.language.small_models import sharpened
from tests.models import HAS_HOOKED, MODELS, build, tokens
from tl_entk.language.next_words import greedy_continuation
from tl_entk.language.story_model import sample
from tl_entk.language.story_model.architecture import CONTEXT, story_config
from tl_entk.language.story_model.sample import sample_stories
from tl_entk.language.story_model.train import train_tokenizer
from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.last_logits import last_logits
from tl_entk.tools.hugging_face import cache_argument


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    # steps as small as these wait for their second thread longer than they work
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- next words ------------------------------------------------------------------------------

# native and small models with fewer output classes than tokens cannot continue themselves
CONTINUING = [m for m in ("hf:gemma3", "hf:gpt2", "hf:llama", "hf:bloom") if m in MODELS]
CONTINUING += ["hooked:gemma3", "hooked:gpt2"] if HAS_HOOKED else []


@pytest.fixture
def watched():
    """Builds a model; afterwards it must be as it was."""
    built = []

    def make(name):
        model = build(name)
        model(tokens(2))  # a bridge adds hooks of its own in its first pass
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        built.append((model, before, hooks(model)))
        return model

    yield make
    for model, before, count in built:
        assert hooks(model) == count
        assert not model.training
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad
            assert parameter.grad is None
            assert torch.equal(parameter, before[name])


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in nn.Module.modules(model))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "hooked:folded"])  # it warns
def test_last_logits_are_the_models_own(name, watched):
    model, windows = watched(name), tokens(4)
    with torch.no_grad():
        expected = model(windows)[:, -1]
    for batch_size in (3, 64):
        found = last_logits(model, windows, batch_size)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CONTINUING)
def test_greedy_continuation_is_the_plain_loop(name, watched):
    model, windows = watched(name), tokens(5) % 7
    rows = windows = windows.clamp(min=1)
    for _ in range(3):
        with torch.no_grad():
            rows = torch.cat([rows, model(rows)[:, -1].argmax(1, keepdim=True)], 1)
    for batch_size in (2, 64):
        found = greedy_continuation(model, windows, 3, batch_size, progress=True)
        assert torch.equal(found, rows[:, windows.shape[1] :])


def hands_on_its_cache(model, windows) -> bool:
    """Whether the host gives what it is passed as a cache to the model that it wraps.

    TransformerLens 4.3 does not with transformers 5.24, which renamed the argument: windows are
    then read anew for each token, and the words are the same.
    """
    from transformers import DynamicCache

    wrapped = model.original_model
    options = {cache_argument(wrapped): DynamicCache(config=wrapped.config), "use_cache": True}
    with torch.no_grad():
        whole = model(windows)[:, -1]
        model(windows[:, :-1], **options)
        return torch.allclose(model(windows[:, -1:], **options)[:, -1], whole, atol=1e-6)


@pytest.mark.parametrize("name", CONTINUING)
def test_a_window_is_read_once_where_its_keys_and_values_can_be_kept(name, watched):
    model, windows = watched(name), (tokens(6) % 7).clamp(min=1)
    if name.startswith("hf:") and not hands_on_its_cache(model, windows):
        pytest.skip("this TransformerLens hands no cache on to this transformers")
    read = []
    handle = model.get_submodule("unembed").register_forward_pre_hook(
        lambda module, args: read.append(None)
    )
    lengths = []
    embed = model.get_submodule("embed").register_forward_hook(
        lambda module, args, output: lengths.append(output.shape[1])
    )
    greedy_continuation(model, windows, 3)
    greedy_continuation(model, windows, 2)
    length = windows.shape[1]
    # first the trials on two windows: whole, and with the cache
    tried = [length, length, length + 1, 1, length + 2, 1]
    assert lengths[:9] == [*tried, length, 1, 1]
    assert lengths[9:] == [*tried[:4], length, 1]
    greedy_continuation(model, windows, 3)  # tried before
    assert lengths[15:] == [length, 1, 1]
    assert len(read) == len(lengths)
    handle.remove()
    embed.remove()


def test_other_hooks_are_tried_anew(watched):
    model, windows = watched("hf:gemma3"), (tokens(6) % 7).clamp(min=1)
    place = model.get_submodule("blocks.0")
    scaled = place.register_forward_hook(lambda module, args, output: output)
    greedy_continuation(model, windows, 3)
    scaled.remove()
    shift = 5 * torch.randn(model.cfg.d_model, generator=torch.Generator().manual_seed(0))

    def first_positions(module, args, output):
        moved = output[0] if isinstance(output, tuple) else output
        moved = moved.clone()
        moved[:, :5] += shift  # of a single new token too
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    handle = place.register_forward_hook(first_positions)
    rows = windows
    for _ in range(3):
        with torch.no_grad():
            rows = torch.cat([rows, model(rows)[:, -1].argmax(1, keepdim=True)], 1)
    assert torch.equal(greedy_continuation(model, windows, 3), rows[:, windows.shape[1] :])
    handle.remove()


class Broken:
    """A cache of another interface."""


@pytest.mark.parametrize("broken", [True, False], ids=["raises", "forgets"])
def test_a_cache_that_is_not_right_is_not_used(broken, watched, monkeypatch):
    model, windows = watched("hf:gemma3"), (tokens(6) % 7).clamp(min=1)
    expected = greedy_continuation(model, windows, 3)
    monkeypatch.setattr("tl_entk.language.next_words._TRIED", {})

    def start_cache(n):
        # without one a part is read as if nothing had been before it
        useless = {"past_key_values": Broken(), "use_cache": True} if broken else {}
        return lambda part: model(part, **useless)

    other = replace(adapt_transformer(model), start_cache=start_cache)
    monkeypatch.setattr("tl_entk.language.next_words.adapt_transformer", lambda model: other)
    assert torch.equal(greedy_continuation(model, windows, 3), expected)


def test_one_window_is_enough(watched):
    model, windows = watched("hf:gemma3"), tokens(3)
    torch.testing.assert_close(last_logits(model, windows[:1]), last_logits(model, windows)[:1])
    assert torch.equal(
        greedy_continuation(model, windows[:1]), greedy_continuation(model, windows)[:1]
    )


def test_logits_of_other_positions_are_not_computed(watched):
    model = watched("hf:gemma3")
    seen = []
    handle = model.original_model.lm_head.register_forward_hook(
        lambda module, args, output: seen.append(output.shape[:2])
    )
    last_logits(model, tokens(4))
    handle.remove()
    assert seen == [(4, 1)]


def test_train_mode_and_wrong_tokens_are_refused(watched):
    model = watched("hf:gemma3")
    for call in (last_logits, greedy_continuation):
        with pytest.raises(ValueError, match="out of range"):
            call(model, tokens(2) + 100)
        model.train()
        with pytest.raises(ValueError, match=r"model\.eval"):
            call(model, tokens(2))
        model.eval()


@pytest.mark.parametrize("n_new", [0, 13])
def test_continuation_longer_than_the_context_is_refused(n_new, watched):
    model = watched("hf:gemma3")  # of 16 positions
    assert greedy_continuation(model, tokens(2), 12).shape == (2, 12)
    with pytest.raises(ValueError, match="pass 1 to 12"):
        greedy_continuation(model, tokens(2), n_new)


# --- stories ---------------------------------------------------------------------------------

TEXTS = ["Once upon a time there was a dog. The dog ran.", "Tom had a red ball. He was happy!"]


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A story model of random weights, with the tokenizer's own small vocabulary."""
    folder = tmp_path_factory.mktemp("stories")
    tokenizer = train_tokenizer(TEXTS)
    config = story_config()
    config.vocab_size, config.num_hidden_layers = len(tokenizer), 3
    config.layer_types = config.layer_types[:3]
    model = sharpened(transformers.Gemma3ForCausalLM(config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, model, tokenizer


def test_sampling_depends_on_seed_and_place_alone(writer):
    folder = writer[0]
    stories = sample_stories(5, 3, max_tokens=40, folder=folder)
    assert len(stories) == 5
    assert len(set(stories)) > 2
    assert stories == sample_stories(5, 3, max_tokens=40, folder=folder, batch_size=2)
    assert stories[:3] == sample_stories(3, 3, max_tokens=40, folder=folder, progress=True)
    assert stories != sample_stories(5, 4, max_tokens=40, folder=folder)


def test_sampling_leaves_torchs_own_random_numbers_alone(writer):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    sample_stories(1, max_tokens=2, folder=writer[0])
    assert torch.equal(torch.rand(3), expected)


def test_sampling_without_chance_is_the_plain_loop(writer):
    _, model, tokenizer = writer
    uniform = torch.rand(2, 60, dtype=torch.float64)
    found = sample._write(model, tokenizer, uniform, 1e-6, 1.0)
    rows = torch.tensor([[tokenizer.bos_token_id, tokenizer.eos_token_id]])
    with torch.no_grad():
        # beyond the sliding window of 32
        for _ in range(found.shape[1]):
            rows = torch.cat([rows, model(rows).logits[:, -1].argmax(1, keepdim=True)], 1)
    assert torch.equal(found, rows[:, 2:].expand(2, -1))


def test_whole_context_can_be_written(writer):
    assert len(sample_stories(1, max_tokens=CONTEXT - 2, folder=writer[0])) == 1


def test_draws_follow_the_probabilities():
    probability = torch.tensor([0.1, 0.5, 0.0, 0.4], dtype=torch.float64)
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    logits = probability.log().expand(1000, -1)
    drawn = sample._draw(logits, uniform, 1.0)
    assert torch.bincount(drawn, minlength=4).tolist() == [100, 500, 0, 400]
    # the two most probable reach 0.8, and share it as 5 to 4
    drawn = sample._draw(logits, uniform, 0.8)
    assert torch.bincount(drawn, minlength=4).tolist() == [0, 556, 0, 444]
    assert sample._draw(logits, uniform, 1e-9).unique().tolist() == [1]
    assert sample._draw(logits[:1], torch.ones(1, dtype=torch.float64), 1.0).tolist() in ([0], [2])


@pytest.mark.parametrize(
    ("text", "ended", "expected"),
    [
        ("The dog ran. He was hap", False, "The dog ran."),
        ('He said, "Go!" Then', False, 'He said, "Go!"'),
        ("It cost 3.5 and", False, "It cost 3.5 and"),
        ("The end", True, "The end"),
        (" The dog ran. \n\n The end. ", True, "The dog ran.\nThe end."),
    ],
)
def test_stories_are_cut_and_cleaned(text, ended, expected, writer):
    tokenizer = writer[2]
    row = tokenizer.encode(text, add_special_tokens=False)
    if ended:  # what follows belongs to another row's waiting
        row += [tokenizer.eos_token_id, *tokenizer.encode("more.", add_special_tokens=False)]
    assert sample._text(tokenizer, row) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(n=0), "n = 0: pass an integer, 1 or more"),
        (dict(temperature=0.0), "temperature = 0.0: pass a positive number"),
        (dict(top_p=0.0), "top_p = 0.0: pass a number above 0, up to 1"),
        (dict(top_p=1.5), "top_p = 1.5: pass a number above 0, up to 1"),
    ],
)
def test_options_out_of_range_are_refused(options, message, writer):
    with pytest.raises(ValueError, match=message):
        sample_stories(**{"n": 1, **options}, folder=writer[0])


def test_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
        sample_stories(1, folder=tmp_path)
