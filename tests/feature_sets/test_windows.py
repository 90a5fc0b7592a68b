import math
from dataclasses import replace
from datetime import datetime
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import spacy
import torch
from rich.console import Console
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

import tl_entk
from feature_sets import UserError, context_windows, read_texts
from feature_sets.agreement import EMPTY, GOES_ON, OTHER_TAG, SPECIAL
from feature_sets.boundaries import find_boundaries, find_special, tokenize
from feature_sets.drawing import REPEATED
from feature_sets.tagging import Tagger, unused_components
from feature_sets.texts import Text

pytestmark = pytest.mark.plain

DATA = Path(__file__).parents[3] / "shared" / "data" / "tinystories_v1_train_2M.txt"

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


@pytest.fixture(scope="module")
def nlp():
    return tiny_pipeline()


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

    def windows(texts, tokenizer=bpe, pipeline=nlp, **options):
        options = {"length": 10, "per_tag": 1, "tags": ["NOUN"]} | options
        return context_windows(texts, tokenizer, pipeline, **options)

    return windows


def stories(count, seed=0):
    """Word soup with every tag."""
    rng = np.random.default_rng(seed)
    words = [word for group in WORDS.values() for word in group]
    return [
        " ".join(f"{rng.choice(words)}{rng.choice(['', '', ',', '.'])}" for _ in range(40))
        for _ in range(count)
    ]


def plain_boundaries(text, offsets, words, size):
    """(word, token) by the definition."""
    found = []
    for word, (first, _) in enumerate(words):
        for token, (start, end) in enumerate(offsets):
            before = offsets[:token]
            holds = start <= first < end and not text[start:first].strip()
            ended = all(stop <= first for _, stop in before)
            if not (holds and ended and token >= size):
                continue
            begin = offsets[token - size][0]
            if all(stop <= begin for _, stop in offsets[: token - size]):
                found.append((word, token))
    return found


@pytest.mark.parametrize("size", [1, 5, 12])
def test_boundaries_are_those_of_the_definition(tokenizer, nlp, size):
    (tokens,) = tokenize(tokenizer, [STORY])
    (words,) = Tagger(nlp)([STORY])
    places = find_boundaries(STORY, tokens.offsets, words.spans, size)
    expected = plain_boundaries(STORY, tokens.offsets.tolist(), words.spans.tolist(), size)
    assert list(zip(places.word.tolist(), places.token.tolist(), strict=True)) == expected
    assert len(expected) > 15
    assert places.window_start.tolist() == [tokens.offsets[t - size, 0] for _, t in expected]


def test_tokens_before_a_boundary_are_the_text_before_the_word(tokenizer, nlp):
    (tokens,) = tokenize(tokenizer, [STORY])
    assert tokens.ids.tolist() == tokenizer(STORY, add_special_tokens=False)["input_ids"]
    (words,) = Tagger(nlp)([STORY])
    spans = words.spans.tolist()
    # a window of one size or the other does not begin inside a character
    sizes = [find_boundaries(STORY, tokens.offsets, words.spans, size) for size in (1, 2, 3)]
    found = {int(w): int(t) for p in sizes for w, t in zip(p.word, p.token, strict=True)}
    texts = [STORY[slice(*spans[word])] for word in found]
    for word in ("🦊", "said", "Tom", "crème", "saw", "”", "and"):
        assert word in texts
    assert not any(word.isspace() for word in texts)
    for word, token in found.items():
        if tokenizer.is_lossless:
            before = tokenizer.decode(tokens.ids[:token])
            assert before.rstrip() == STORY[: spans[word][0]].rstrip()
            after = tokenizer.decode(tokens.ids[token:])
            assert after.lstrip() == STORY[spans[word][0] :]


def test_pieces(nlp):
    offsets = np.array([[0, 3], [3, 7], [7, 10], [10, 14], [14, 16]])  # The| fox|es | don|'t
    words = np.array([[0, 3], [4, 9], [11, 13], [13, 16]])  # The foxes do n't
    text = "The foxes  don't"
    places = find_boundaries(text, offsets, words, 1)
    assert places.word.tolist() == [1, 2]
    assert places.pieces.tolist() == [2, 0]
    assert find_boundaries("", offsets[:0], words[:0], 1).word.tolist() == []


@pytest.mark.parametrize("prepend_bos", [True, False])
def test_windows_end_right_before_their_word(tokenizer, nlp, prepend_bos):
    texts = [STORY, "Too short.", STORY + " The end."]
    tags = ["DET", "VERB", "PUNCT", "NOUN"]
    windows = context_windows(
        texts, tokenizer, nlp, length=8, per_tag=2, tags=tags, per_story=5, prepend_bos=prepend_bos
    )
    assert len(windows) == len(windows.words) == 8
    assert windows.tokens.shape == (8, 8)
    assert windows.model_words is None
    assert all(list(windows.tags).count(tag) == 2 for tag in tags)
    assert windows.provenance["prepend_bos"] is prepend_bos
    for i, row in enumerate(windows.tokens.tolist()):
        story = windows.stories[windows.story[i]]
        start = int(windows.start[i])
        assert story[start:].startswith(windows.words[i])
        if prepend_bos:
            assert row.pop(0) == tokenizer.bos_token_id
        ids = tokenizer(story, add_special_tokens=False)["input_ids"]
        assert any(ids[k : k + len(row)] == row for k in range(len(ids)))
        assert windows.text(i) == story[windows.window_start[i] : start]
        if tokenizer.is_lossless:
            assert tokenizer.decode(row).strip() == windows.text(i).strip()
    assert windows.stories == tuple(text for text in texts if text in windows.stories)
    assert windows.words.count("a") + windows.words.count("the") + windows.words.count("The") == 2


def test_white_space_is_never_the_next_word(draw):
    # stories of other names have other windows
    texts = [STORY.replace("fox", name) for name in ("fox", "cat", "bed", "dog")]
    windows = draw(texts, length=4, per_tag=4, per_story=4)
    assert all(word.strip() for word in windows.words)


def test_stories_and_quotas(draw):
    texts = stories(60)
    windows = draw(texts, per_tag=4, tags=list(WORDS))
    assert {tag: windows.tags.count(tag) for tag in WORDS} == dict.fromkeys(WORDS, 4)
    assert len(set(windows.story.tolist())) == len(windows.stories) == len(windows) == 24
    assert windows.counts["tried"] == windows.counts["kept"] == 24
    assert windows.provenance["texts_read"] == 24
    several = draw(texts, per_tag=4, tags=list(WORDS), per_story=3)
    assert max(several.story.tolist().count(i) for i in range(len(several.stories))) == 3


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


def test_only_windows_where_the_model_agrees_are_kept(bpe, draw):
    parrot = Parrot(bpe)
    tags = ["DET", "NOUN", "VERB", "PROPN"]
    windows = draw(stories(300), per_tag=6, tags=tags, continuation=parrot, batch_size=16)
    assert windows.tags == windows.model_tags
    assert {tag: windows.tags.count(tag) for tag in tags} == dict.fromkeys(tags, 6)
    own = dict(zip(windows.model_tags, windows.model_words, strict=True))
    assert own == {"DET": "the", "NOUN": "fox", "VERB": "ran", "PROPN": "Tom"}
    counts = dict(windows.counts)
    assert counts.pop("tried") == sum(counts.values())
    assert all(counts[reason] for reason in (OTHER_TAG, EMPTY, SPECIAL, GOES_ON))
    for tag in tags:
        of_tag = dict(windows.tag_counts[tag])
        assert of_tag.pop("tried") == sum(of_tag.values())
    assert max(parrot.seen) <= 16
    assert sum(parrot.seen) == windows.counts["tried"]
    report = windows.report().splitlines()
    assert report[0].startswith(f"24 windows kept of {windows.counts['tried']} tried")
    assert [line.split()[0] for line in report[1:]] == ["tag", *tags, "all"]


def test_windows_depend_on_the_seed_alone(bpe, draw):
    texts = stories(300)
    options = {"per_tag": 5, "tags": ["DET", "NOUN", "VERB"], "continuation": Parrot(bpe)}
    torch.manual_seed(1)
    first = draw(texts, batch_size=64, **options)
    np.random.seed(2)  # noqa: NPY002
    for batch_size in (1, 7):
        assert same(first, draw(texts, batch_size=batch_size, **options))
    assert not same(first, draw(texts, seed=1, **options))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_model_that_says_what_the_story_says_always_agrees(name, nlp):
    """The text's own tokens as continuation: the words read off it are the text's."""
    tokenizer = TOKENIZERS[name]()
    texts = stories(40)
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]

    def oracle(tokens):
        found = []
        for window in tokens.tolist():
            body = window[1:]
            hits = [
                row[k + 11 : k + 31]
                for row in rows
                for k in range(len(row) - 31)
                if row[k : k + 11] == body
            ]
            found.append(hits[0] if hits else [tokenizer.bos_token_id] * 20)
        return torch.tensor(found)

    windows = context_windows(
        texts, tokenizer, nlp, length=12, per_tag=5, tags=["VERB", "NOUN", "PUNCT"],
        continuation=oracle, keep_columns=(),
    )  # fmt: skip
    assert windows.counts["kept"] == 15
    assert windows.counts[GOES_ON] == windows.counts[EMPTY] == 0
    agree = sum(
        a.lower() == b.lower() for a, b in zip(windows.words, windows.model_words, strict=True)
    )
    assert agree >= 14


def test_a_stream_is_read_as_far_as_needed(draw):
    taken = []

    def stream():
        for text in stories(100):
            taken.append(text)
            yield text

    draw(read_texts(stream()), per_tag=10, tags=["NOUN", "VERB"])
    assert len(taken) == 20
    taken.clear()
    draw(stream())
    assert len(taken) <= 8
    taken.clear()
    with pytest.warns(UserWarning, match="missing: NOUN 4"):
        draw(stream(), per_tag=10, max_texts=6)
    assert len(taken) == 6


def test_columns_are_kept_and_everything_is_saved(bpe, draw, tmp_path):
    texts = [Text(text, {"topic": f"t{i}", "n": i}) for i, text in enumerate(stories(40))]
    windows = draw(
        texts, per_tag=3, tags=["NOUN", "DET"], continuation=Parrot(bpe),
        keep_columns=["topic", "n"],
    )  # fmt: skip
    by_text = {text.text: text.row for text in texts}
    for i, topic in enumerate(windows.columns["topic"]):
        assert by_text[windows.stories[windows.story[i]]]["topic"] == topic
    loaded = tl_entk.load(tl_entk.save(windows, tmp_path / "windows"))
    assert same(loaded, windows)
    for name in ("story", "window_start", "pieces"):
        assert torch.equal(getattr(loaded, name), getattr(windows, name))
    for name in ("tags", "model_tags", "stories", "columns", "counts", "tag_counts", "provenance"):
        assert getattr(loaded, name) == getattr(windows, name), name
    assert loaded.report() == windows.report()
    unchecked = draw(texts, per_tag=3)
    loaded = tl_entk.load(tl_entk.save(unchecked, tmp_path / "unchecked"))
    assert loaded.model_words is loaded.model_tags is None
    unsaved = replace(unchecked, columns={"topic": ({1},) * len(unchecked)})
    with pytest.raises(TypeError, match=r"column 'topic'.*keep_columns"):
        tl_entk.save(unsaved, tmp_path / "odd")


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (datetime(2024, 1, 2), TypeError, "a datetime"),
        (["a"], TypeError, "a list"),
        ({"a": 1}, TypeError, "a dict"),
        (np.arange(2), TypeError, "a ndarray"),
        (-math.inf, ValueError, "the float -inf"),
    ],
)
def test_columns_without_a_plain_value_are_refused_as_they_are_read(draw, value, error, message):
    taken = []

    def stream():
        for i, text in enumerate(stories(100)):
            taken.append(text)
            yield Text(text, {"topic": "a", "odd": value if i == 9 else i, "unused": value})

    message = rf"column 'odd' of text 9 holds {message}.*: leave out such rows, fill them in, or "
    with pytest.raises(error, match=message):
        draw(stream(), per_tag=50, keep_columns=["topic", "odd"])
    assert len(taken) == 10


@pytest.mark.parametrize("value", [None, math.nan, np.float32("nan")])
def test_texts_that_lack_a_kept_value_are_skipped_and_counted(draw, value):
    texts = [
        Text(text, {"topic": value if i % 4 == 1 else f"t{i}"})
        for i, text in enumerate(stories(12))
    ]
    with pytest.warns(UserWarning, match="column 'topic' of text 1 is missing") as seen:
        windows = draw(texts, per_tag=9, keep_columns=["topic"])
    assert len(seen) == 1
    assert sorted(windows.columns["topic"]) == sorted(f"t{i}" for i in range(12) if i % 4 != 1)
    assert windows.provenance["texts_skipped"] == {"without 'topic'": 3}
    assert windows.report().startswith(
        "9 windows kept of 9 tried, from 12 texts read; not used: 3 without 'topic'."
    )
    with pytest.raises(UserError, match="column 'topic' of text 1 is missing: fill it in, or pass"):
        draw(texts, keep_columns=["topic"], missing="refuse")


def test_texts_without_text_are_in_the_report(draw):
    with pytest.warns(UserWarning, match="text 1 of the list is missing"):
        windows = draw(read_texts([STORY, None, None, *stories(1)]), per_tag=2)
    assert windows.provenance["texts_skipped"] == {"without text": 2}
    assert "2 texts read; not used: 2 without text." in windows.report()


def test_repeated_texts_are_one_story(draw):
    texts = stories(6)
    once = draw(texts, per_tag=6)
    twice = draw([text for text in texts for _ in range(5)], per_tag=6)
    assert same(once, twice)
    assert twice.provenance["texts_skipped"] == {"repeated": 24}
    assert twice.provenance["texts_read"] == 30
    assert "30 texts read; not used: 24 repeated." in twice.report()
    with pytest.warns(UserWarning, match="missing: NOUN 6"):
        assert len(draw(texts * 4, per_tag=12)) == 6


def test_no_two_windows_have_the_same_tokens(draw):
    # stories that begin alike and go on otherwise
    texts = [f"Once upon a time the fox ran. {story}" for story in stories(30)]
    windows = draw(texts, per_tag=12, tags=["NOUN", "VERB"], length=5, per_story=40)
    rows = [tuple(row) for row in windows.tokens.tolist()]
    assert len(set(rows)) == len(rows) == 24
    few = [text[: text.index(".") + 1] + f" {i}" for i, text in enumerate(texts)]
    with pytest.warns(UserWarning, match="missing: NOUN 2, VERB 2"):
        windows = draw(few, per_tag=3, tags=["NOUN", "VERB"], length=5, per_story=9)
    assert len(windows) == 2
    assert windows.counts[REPEATED] == windows.counts["tried"] - windows.counts["kept"] > 20


def test_a_window_dropped_by_the_model_may_come_from_another_story(bpe, draw):
    """The same tokens before another word: the first was dropped, so the second is tried."""
    texts = ["Once upon a time the fox ran.", "Once upon a time the dog ran home."]
    asked = []

    def continuation(tokens):
        asked.append(len(tokens))
        word = " ran" if len(asked) == 1 else " the"
        row = bpe(word, add_special_tokens=False)["input_ids"][:1] * 2
        return torch.tensor([row] * len(tokens))

    with pytest.raises(UserError, match="no window was kept"):
        draw(texts, length=5, continuation=continuation)
    assert sum(asked) == 2


@pytest.mark.usefixtures("untyped")
def test_half_a_character_is_refused(draw):
    with pytest.raises(UserError, match=r"text 1 holds half a character, '\\ud83e', at 4: repair"):
        draw([STORY, "The \ud83e fox"])


def test_special_tokens_written_out_are_plain_text(tokenizer, nlp):
    special = tokenizer.bos_token
    story = STORY.replace("said", f"said {special} {special}")
    options = dict(length=9, per_tag=3, per_story=9, tags=["NOUN", "DET"], prepend_bos=False)
    if find_special(tokenizer, tokenize(tokenizer, [story])[0]) is None:
        windows = context_windows([story], tokenizer, nlp, **options)
        assert any(special in windows.text(i) for i in range(len(windows)))
    else:
        # its plain vocabulary has the special token
        assert special == "<bos>" in tokenizer.tokenize("<bos>", split_special_tokens=True)
        with pytest.warns(UserWarning, match="a text has '<bos>' written out"):
            windows = context_windows([story, story + " a", STORY], tokenizer, nlp, **options)
        assert windows.stories == (STORY,)
        skipped = {"with a special token written out": 2}
        assert windows.provenance["texts_skipped"] == skipped
    assert len(windows) == 6
    assert tokenizer.bos_token_id not in windows.tokens
    # the tokenizer is as it was
    assert tokenizer.bos_token_id in tokenizer(story, add_special_tokens=False)["input_ids"]


def test_an_unknown_word_is_no_special_token_that_is_written_out():
    words = Tokenizer(models.WordLevel({"The": 0, "fox": 1, "<eos>": 2, "<unk>": 3}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = wrap(words, eos_token="<eos>", unk_token="<unk>")
    cat, end = tokenize(tokenizer, ["The cat", "The fox <eos>"])
    assert cat.ids.tolist() == [0, 3]
    assert (find_special(tokenizer, cat), find_special(tokenizer, end)) == (None, 2)


@pytest.mark.usefixtures("untyped")
def test_an_unknown_way_with_missing_values_is_refused(draw):
    with pytest.raises(UserError, match="missing = 'drop'"):
        draw(FOXES, missing="drop")


def test_columns_of_plain_values_are_kept(draw):
    row = {"a": "x", "b": 1, "c": 0.5, "d": True, "e": np.int64(3), "unused": None}
    windows = draw([Text(STORY, row)], length=5, keep_columns="abcde")
    assert windows.columns == {"a": ("x",), "b": (1,), "c": (0.5,), "d": (True,), "e": (3,)}
    assert type(windows.columns["e"][0]) is int


def test_components_that_tags_do_not_need_are_left_out():
    nlp = tiny_pipeline()
    nlp.add_pipe("sentencizer")
    assert unused_components(nlp) == ["sentencizer"]
    nlp.get_pipe("attribute_ruler").add([[{"IS_SENT_START": True}]], {"POS": "X"})
    assert unused_components(nlp) == []
    other = spacy.blank("en")
    other.add_pipe("sentencizer")
    other.add_pipe("merge_noun_chunks")
    assert unused_components(other) == []


def test_a_bar_can_be_shown(draw, monkeypatch):
    terminal = Console(force_terminal=True, width=100, file=StringIO())
    monkeypatch.setattr("rich._console", terminal)
    draw(stories(9), per_tag=2, progress=True)
    assert "2/2" in terminal.file.getvalue()


class Slow:
    is_fast = False


FOXES = ["The fox ran. " * 9]


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"tokenizer": Slow()}, ValueError, "slow tokenizer.*use_fast=True"),
        ({"tokenizer": Tokenizer(models.BPE())}, TypeError, "PreTrainedTokenizerFast"),
        ({"pipeline": spacy.blank("en")}, ValueError, r"sets no part of speech.*load_pipeline"),
        ({"pipeline": "en"}, TypeError, "load_pipeline"),
        ({"tags": ["NUON"]}, ValueError, "universal tags.*'NOUN'"),
        ({"tags": ["NOUN", "NOUN"]}, ValueError, "different universal tags"),
        ({"tags": []}, ValueError, "different universal tags"),
        ({"length": 0}, ValueError, "length = 0"),
        ({"length": 1}, ValueError, "beside <bos>"),
        ({"per_story": 0}, ValueError, "per_story = 0"),
        ({"max_texts": 0}, ValueError, "max_texts = 0"),
        ({"keep_columns": ["topic"]}, ValueError, r"no column 'topic' to keep: there are \[\]"),
        ({"continuation": lambda t: t[0]}, ValueError, r"integer tensor \(1, m\)"),
        ({"continuation": lambda t: [[1]]}, ValueError, r"returned list"),
        ({"continuation": lambda t: t.float()}, ValueError, "not logits"),
        ({"texts": ["The end."]}, ValueError, "no window was kept.*more text"),
        (
            {"texts": []},
            ValueError,
            r"(?s)no window was kept.*0 windows kept of 0 tried, from 0 texts",
        ),
        ({"texts": "stories.txt"}, TypeError, "read_texts"),
        ({"texts": [b"a"]}, TypeError, "holds a bytes"),
    ],
)
def test_refusals(draw, wrong, error, message):
    with pytest.raises(error, match=message):
        draw(**{"texts": FOXES} | wrong)


@pytest.mark.usefixtures("untyped")
def test_missing_windows_are_named(draw):
    with pytest.warns(UserWarning, match=r"missing: NOUN 6, VERB 6\. .*per_story"):
        windows = draw(FOXES, tags=["NOUN", "VERB"], per_tag=7, per_story=2)
    assert len(windows) == 2


@pytest.mark.skipif(not DATA.exists(), reason=f"no TinyStories at {DATA}")
def test_real_stories(nlp):
    texts = [text for text, _ in zip(read_texts(DATA), range(150), strict=False)]
    tokenizer = byte_level(texts=[text.text for text in texts], size=1000)
    windows = context_windows(texts, tokenizer, nlp, length=64, per_tag=10, tags=["DET", "PRON"])
    assert len(windows) == 20
    for i, row in enumerate(windows.tokens.tolist()):
        assert tokenizer.decode(row[1:]).strip() == windows.text(i).strip()
        assert Tagger(nlp)([windows.words[i]])[0].tags == (windows.tags[i],)
