"""Folders of small models, and their own logits."""

import pytest
import torch
import transformers

from tests.language.small_models import sharpened, windows


@pytest.fixture(scope="session")
def tokenizer():
    # here: on its lowest version jaxtyping's plugin begins after this file was imported
    from tl_entk.language.story_model.train import train_tokenizer

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
    from tl_entk.language.story_model.architecture import story_config

    return save(transformers.Gemma3ForCausalLM(story_config()))


@pytest.fixture(scope="session")
def gpt2(save):
    config = transformers.GPT2Config(
        vocab_size=300, n_embd=16, n_layer=2, n_head=4, n_positions=64, n_ctx=64,
        bos_token_id=2, eos_token_id=1,
    )  # fmt: skip
    return save(transformers.GPT2LMHeadModel(config))
