"""Tokenizers of every kind and a tagger, made in a moment; stories to cut windows of."""

import numpy as np
import spacy
import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

STORY = (
    "Once upon a time, “Zoë” said: the 🦊 ran!\n\nTom  ate a café crème. She didn't see 👩‍🚀s, "
    "but he — oh no…\nThe naïve cat’s bed was $5.50 and the   fox ran.And  then they saw it."
)
WORDS = {
    "DET": ["the", "a"],
    "PRON": ["he", "she", "they", "it"],
    "CCONJ": ["and", "but"],
    "PROPN": ["Tom", "Zoë"],
    "VERB": ["ran", "said", "ate", "see", "saw"],
    "NOUN": ["fox", "cat", "bed", "time", "dog"],
}


def tiny_pipeline():
    nlp = spacy.blank("en")
    rules = nlp.add_pipe("attribute_ruler")
    rules.add([[{"IS_PUNCT": True}]], {"POS": "PUNCT"})
    for tag, words in WORDS.items():
        rules.add([[{"LOWER": word.lower()}] for word in words], {"POS": tag})
    # trained pipelines label white space at random
    rules.add([[{"IS_SPACE": True}]], {"POS": "NOUN"})
    return nlp


def wrap(tokenizer, **special):
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def byte_level(trim=None, texts=(STORY,), size=330):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if trim is not None:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<bos>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(list(texts) * 3, trainer)
    return wrap(tokenizer, bos_token="<bos>", eos_token="<eos>")


def metaspace():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=90, special_tokens=["<unk>", "<bos>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([STORY] * 5, trainer)
    return wrap(tokenizer, unk_token="<unk>", bos_token="<bos>")


def byte_fallback():
    """As Gemma's: spaces become "▁", unknown characters their bytes."""
    letters = sorted(set(STORY.replace(" ", "▁")) - set("🦊👩🚀ëéï“”’…"))
    merges = [
        ("▁", "t"),
        ("▁t", "h"),
        ("▁th", "e"),
        ("▁", "a"),
        ("r", "a"),
        ("ra", "n"),
        ("▁", "▁"),
    ]
    tokens = ["<bos>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    tokens += ["".join(pair) for pair in merges]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return wrap(tokenizer, bos_token="<bos>")


def word_piece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=110, special_tokens=["[UNK]", "[CLS]"], show_progress=False
    )
    tokenizer.train_from_iterator([STORY] * 5, trainer)
    return wrap(tokenizer, unk_token="[UNK]", bos_token="[CLS]")


TOKENIZERS = {
    "byte-level": byte_level,
    "byte-level, trimmed": lambda: byte_level(trim=True),
    "byte-level, untrimmed": lambda: byte_level(trim=False),
    "metaspace": metaspace,
    "byte fallback": byte_fallback,
    "word piece": word_piece,
}
LOSSLESS = [name for name in TOKENIZERS if name != "word piece"]


def stories(count, seed=0):
    """Word soup with every tag."""
    rng = np.random.default_rng(seed)
    words = [word for group in WORDS.values() for word in group]
    return [
        " ".join(f"{rng.choice(words)}{rng.choice(['', '', ',', '.'])}" for _ in range(40))
        for _ in range(count)
    ]


def same(one, other):
    return (
        torch.equal(one.tokens, other.tokens)
        and torch.equal(one.start, other.start)
        and (one.words, one.model_words, one.counts)
        == (other.words, other.model_words, other.counts)
    )


class Parrot:
    """Goes on by what the window's last token is: a word of some tag, or nothing good."""

    def __init__(self, tokenizer):
        words = [" the", " fox,", " ran", "", "zz", "<eos>", "\n Tom", " "]
        rows = [tokenizer(word, add_special_tokens=False)["input_ids"][:4] for word in words]
        # an empty row is one that begins with a space alone
        space = tokenizer(" ", add_special_tokens=False)["input_ids"]
        self.rows = torch.tensor([(row + space * 4)[:4] for row in rows])
        self.seen = []

    def __call__(self, tokens):
        self.seen.append(len(tokens))
        return self.rows[(tokens[:, -1] + tokens[:, -2]) % len(self.rows)]
