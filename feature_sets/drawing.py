"""Drawing windows from stories, as many of every tag."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from feature_sets.agreement import OTHER_TAG, REASONS, OwnWord
from feature_sets.boundaries import Boundaries, Tokens, find_boundaries, tokenize
from feature_sets.errors import UserError
from feature_sets.tagging import TaggedWords, Tagger
from feature_sets.texts import Text

# stories drawn from side by side, so that batches fill; fixed, so that the windows drawn do not
# depend on the batch size
POOL = 256
SMALL_POOL = 8


@dataclass(eq=False)
class Story:
    """One story and what has been drawn of it.

    Attributes:
        untried: rows of ``places`` not yet drawn, by the tag of the next word.
        kept: windows kept so far.
    """

    text: Text
    tokens: Tokens
    words: TaggedWords
    places: Boundaries
    untried: dict[str, list[int]]
    kept: int = 0


@dataclass(frozen=True, eq=False)
class Candidate:
    """A window that may be kept.

    Attributes:
        story: where it is from.
        place: row of the story's places.
        tag: tag of the next word.
    """

    story: Story
    place: int
    tag: str

    @property
    def span(self) -> tuple[int, int]:
        """First character of the next word, and the one after its last."""
        start, end = self.story.words.spans[self.story.places.word[self.place]].tolist()
        return start, end

    @property
    def window_start(self) -> int:
        """The character at which the window's text begins."""
        return int(self.story.places.window_start[self.place])

    def ids(self, size: int) -> list[int]:
        """The ``size`` tokens before the next word."""
        token = int(self.story.places.token[self.place])
        return self.story.tokens.ids[token - size : token].tolist()


Judge = Callable[[Sequence[Candidate]], Sequence[OwnWord | None]]


class Reader:
    """Stories ready to draw from, read as they are needed.

    Args:
        texts: where they come from.
        tokenizer: the model's.
        tagger: finds words and tags.
        size: tokens of text in a window.
        tags: tags of the next words wanted.
        columns: columns that every text must have.
        limit: texts to read at most.
    """

    def __init__(
        self,
        texts: Iterable[Text | str],
        tokenizer: Any,
        tagger: Tagger,
        size: int,
        tags: Sequence[str],
        columns: Sequence[str],
        limit: int | None,
    ) -> None:
        self._texts: Iterator[Text | str] = islice(iter(texts), limit)
        self._tokenizer = tokenizer
        self._tagger = tagger
        self._size = size
        self._tags = tags
        self._columns = columns
        self.read = 0
        self.ended = False

    def take(self, count: int) -> list[Story]:
        """The next stories.

        Raises:
            UserError: if a text is not a string, or a column is missing or has something else than
                text and finite numbers.
        """
        numbered = enumerate(islice(self._texts, count), self.read)
        texts = [self._check_text(text, number) for number, text in numbered]
        self.ended = len(texts) < count
        self.read += len(texts)
        strings = [text.text for text in texts]
        found = zip(texts, tokenize(self._tokenizer, strings), self._tagger(strings), strict=True)
        return [self._find_places(*parts) for parts in found]

    def _check_text(self, text: Any, number: int) -> Text:
        text = Text(text, {}) if isinstance(text, str) else text
        if not isinstance(text, Text):
            raise UserError(
                f"texts holds a {type(text).__name__}: pass strings, or what read_texts(source) "
                "returns."
            )
        missing = [name for name in self._columns if name not in text.row]
        if missing:
            raise UserError(
                f"the texts have no column {missing[0]!r} to keep: there are {list(text.row)}."
            )
        row = {name: _to_python(text.row[name]) for name in self._columns}
        for name, value in row.items():
            _check_value(value, name, number)
        return Text(text.text, row)

    def _find_places(self, text: Text, tokens: Tokens, words: TaggedWords) -> Story:
        places = find_boundaries(text.text, tokens.offsets, words.spans, self._size)
        untried: dict[str, list[int]] = {tag: [] for tag in self._tags}
        for row, word in enumerate(places.word.tolist()):
            if words.tags[word] in untried:
                untried[words.tags[word]].append(row)
        return Story(text, tokens, words, places, untried)


def _to_python(value: Any) -> Any:
    """The Python value of a numpy scalar."""
    return value.item() if isinstance(value, np.generic) else value


def _check_value(value: Any, name: str, number: int) -> None:
    """Refuse what a file of windows cannot hold, or a label be made of."""
    finite = not isinstance(value, float) or math.isfinite(value)
    if isinstance(value, str | int | float) and finite:
        return
    held = f"a {type(value).__name__}" if finite else f"the float {value}"
    raise UserError(
        f"column {name!r} of text {number} holds {held}, which gives no label: leave out such "
        "rows, fill them in, or turn them into text or numbers."
    )


class Draw:
    """Seeded draws towards the same number of windows of every tag.

    Args:
        tags: the tags.
        per_tag: windows wanted of each.
        per_story: windows of one story at most.
        seed: of the generator.
    """

    def __init__(self, tags: Sequence[str], per_tag: int, per_story: int, seed: int) -> None:
        self.left = dict.fromkeys(tags, per_tag)
        self.tag_counts = {tag: dict.fromkeys(("tried", "kept", *REASONS), 0) for tag in tags}
        self._per_story = per_story
        self._rng = np.random.default_rng(seed)

    def run(
        self, reader: Reader, judge: Judge, advance: Callable[[int], Any]
    ) -> list[tuple[Candidate, OwnWord | None]]:
        """Draw until every tag has its number, or the texts end.

        Args:
            reader: gives the stories.
            judge: the model's own next word for each of several candidates; None is no check.
            advance: called with the number of windows just kept.

        Returns:
            The candidates kept, with the model's own words.
        """
        kept: list[tuple[Candidate, OwnWord | None]] = []
        pool: list[Story] = []
        while wanted := self._count_wanted():
            if not reader.ended and 2 * len(pool) <= wanted:
                pool += reader.take(wanted - len(pool))
            pool = [story for story in pool if self._has_more(story)]
            if not pool:
                if reader.ended:
                    break
                continue
            wave = self._draw_wave(pool)
            passed = [pair for pair in zip(wave, judge(wave), strict=True) if self._settle(*pair)]
            kept += passed
            advance(len(passed))
        return kept

    def _count_wanted(self) -> int:
        """How many stories to have at hand: no more than the windows left could come from."""
        stories = -(-sum(self.left.values()) // self._per_story)
        return min(POOL, max(SMALL_POOL, stories)) if stories else 0

    def _has_more(self, story: Story) -> bool:
        """Whether a window of use may still come from the story."""
        return story.kept < self._per_story and any(
            rows and self.left[tag] for tag, rows in story.untried.items()
        )

    def _draw_wave(self, pool: Sequence[Story]) -> list[Candidate]:
        """From every story as many candidates as it may still give; they count as kept."""
        wave = []
        for story in pool:
            for _ in range(self._per_story - story.kept):
                tags = [tag for tag, rows in story.untried.items() if rows and self.left[tag]]
                if not tags:
                    break
                most = max(self.left[tag] for tag in tags)
                furthest = [tag for tag in tags if self.left[tag] == most]
                tag = furthest[self._rng.integers(len(furthest))]
                rows = story.untried[tag]
                wave.append(Candidate(story, rows.pop(self._rng.integers(len(rows))), tag))
                self.left[tag] -= 1
        return wave

    def _settle(self, candidate: Candidate, own: OwnWord | None) -> bool:
        """Count a candidate, and give its place back to its tag if it is dropped."""
        counts = self.tag_counts[candidate.tag]
        counts["tried"] += 1
        reason = "" if own is None else own.reason or OTHER_TAG * (own.tag != candidate.tag)
        counts[reason or "kept"] += 1
        if reason:
            self.left[candidate.tag] += 1
        else:
            candidate.story.kept += 1
        return not reason
