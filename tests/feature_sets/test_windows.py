"""Windows of text: where they end, which are kept, and what is in the report."""

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from feature_sets import UserError, context_windows, read_texts
from feature_sets.agreement import EMPTY, GOES_ON, OTHER_TAG, SPECIAL
from feature_sets.drawing import REPEATED
from feature_sets.tagging import Tagger
from tests.feature_sets.tokenizing import (
    STORY,
    TOKENIZERS,
    WORDS,
    Parrot,
    byte_level,
    same,
    stories,
)

pytestmark = pytest.mark.plain


DATA = Path(__file__).parents[3] / "shared" / "data" / "tinystories_v1_train_2M.txt"


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


def test_a_bar_can_be_shown(draw, monkeypatch):
    terminal = Console(force_terminal=True, width=100, file=StringIO())
    monkeypatch.setattr("rich._console", terminal)
    draw(stories(9), per_tag=2, progress=True)
    assert "2/2" in terminal.file.getvalue()


@pytest.mark.skipif(not DATA.exists(), reason=f"no TinyStories at {DATA}")
def test_real_stories(nlp):
    texts = [text for text, _ in zip(read_texts(DATA), range(150), strict=False)]
    tokenizer = byte_level(texts=[text.text for text in texts], size=1000)
    windows = context_windows(texts, tokenizer, nlp, length=64, per_tag=10, tags=["DET", "PRON"])
    assert len(windows) == 20
    for i, row in enumerate(windows.tokens.tolist()):
        assert tokenizer.decode(row[1:]).strip() == windows.text(i).strip()
        assert Tagger(nlp)([windows.words[i]])[0].tags == (windows.tags[i],)
