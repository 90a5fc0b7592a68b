"""A tagger, tokenizers, and windows drawn with them."""

import pytest

from tests.feature_sets.tokenizing import (
    LOSSLESS,
    STORY,
    TOKENIZERS,
    byte_level,
    stories,
    tiny_pipeline,
)


@pytest.fixture(scope="module")
def nlp():
    return tiny_pipeline()


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request):
    built = TOKENIZERS[request.param]()
    built.is_lossless = request.param in LOSSLESS
    return built


@pytest.fixture(scope="module")
def bpe():
    return byte_level(texts=[STORY, *stories(40)], size=400)


@pytest.fixture(scope="module")
def draw(bpe, nlp):
    """Windows of 10 tokens, one before a noun by default."""
    # here: on its lowest version jaxtyping's plugin begins after this file was imported
    from feature_sets import context_windows

    def windows(texts, tokenizer=bpe, pipeline=nlp, **options):
        options = {"length": 10, "per_tag": 1, "tags": ["NOUN"]} | options
        return context_windows(texts, tokenizer, pipeline, **options)

    return windows
