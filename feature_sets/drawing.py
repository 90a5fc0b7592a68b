"""Drawing windows from stories, as many of every tag."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from feature_sets.agreement import OTHER_TAG, REASONS, OwnWord
from feature_sets.boundaries import Boundaries, Tokens, find_boundaries, find_special, tokenize
from feature_sets.errors import UserError
from feature_sets.tagging import TaggedWords, Tagger
from feature_sets.texts import Missing, Text, handle_missing, is_missing
from feature_sets.warn import warn_user

# stories drawn from side by side, so that batches fill; fixed, so that the windows drawn do not
# depend on the batch size
POOL = 256
SMALL_POOL = 8
REPEATED = "same tokens as another window"
# why a window that was drawn is not kept
DROPPED = (REPEATED, *REASONS)


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
        missing: what becomes of a text without a value in a column.

    Attributes:
        read: texts read so far.
        skipped: reason to the number of texts that were not taken. One that repeats another is
            the same story.
        ended: whether there are no more.
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
        missing: Missing,
    ) -> None:
        self._texts = self._take_usable(islice(iter(texts), limit))
        self._tokenizer = tokenizer
        self._tagger = tagger
        self._size = size
        self._tags = tags
        self._columns = columns
        self._missing = missing
        self._seen: set[bytes] = set()
        self.read = 0
        self.skipped: Counter[str] = Counter()
        self.ended = False

    def take(self, count: int) -> list[Story]:
        """The next stories.

        Raises:
            UserError: if a text is not a string, or a column is missing or has something else than
                text and finite numbers.
        """
        texts = list(islice(self._texts, count))
        self.ended = len(texts) < count
        strings = [text.text for text in texts]
        found = zip(texts, tokenize(self._tokenizer, strings), self._tagger(strings), strict=True)
        return [self._find_places(*parts) for parts in found if self._is_plain(*parts[:2])]

    def _take_usable(self, texts: Iterator[Text | str]) -> Iterator[Text]:
        """The texts that are to be drawn from, as they are read."""
        for number, given in enumerate(texts):
            self.read += 1
            text = self._check_text(given, number)
            if text is None:
                continue
            # their digests: a data set may be larger than memory
            digest = hashlib.blake2b(text.text.encode(), digest_size=16).digest()
            if digest in self._seen:
                self.skipped["repeated"] += 1
                continue
            self._seen.add(digest)
            yield text

    def _check_text(self, text: Any, number: int) -> Text | None:
        """The text with the columns to keep; None where it lacks a value of one."""
        text = Text(text, {}) if isinstance(text, str) else text
        if not isinstance(text, Text):
            raise UserError(
                f"texts holds a {type(text).__name__}: pass strings, or what read_texts(source) "
                "returns."
            )
        _check_characters(text.text, number)
        row = {}
        for name in self._columns:
            if name not in text.row:
                raise UserError(
                    f"the texts have no column {name!r} to keep: there are {list(text.row)}."
                )
            row[name] = _to_python(text.row[name])
            if is_missing(row[name]):
                reason = f"without {name!r}"
                what = f"column {name!r} of text {number}"
                handle_missing(what, self._missing, first=not self.skipped[reason])
                self.skipped[reason] += 1
                return None
            _check_value(row[name], name, number)
        return Text(text.text, row)

    def _is_plain(self, text: Text, tokens: Tokens) -> bool:
        """Whether the tokens stand for the text; a special token would say something else."""
        place = find_special(self._tokenizer, tokens)
        if place is None:
            return True
        reason = "with a special token written out"
        if not self.skipped[reason]:
            start, end = tokens.offsets[place].tolist()
            warn_user(
                f"a text has {text.text[start:end]!r} written out, for which the tokenizer has no "
                "plain tokens, only a special one: it is skipped, and others like it."
            )
        self.skipped[reason] += 1
        return False

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


def _check_characters(text: str, number: int) -> None:
    """Refuse half a character, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"text {number} holds half a character, {text[error.start]!r}, at {error.start}: "
            'repair it, for example with text.encode("utf-16", "surrogatepass").decode("utf-16").'
        ) from error


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
        size: tokens of text in a window; no two windows have the same.
        seed: of the generator.
    """

    def __init__(
        self, tags: Sequence[str], per_tag: int, per_story: int, size: int, seed: int
    ) -> None:
        self.left = dict.fromkeys(tags, per_tag)
        self.tag_counts = {tag: dict.fromkeys(("tried", "kept", *DROPPED), 0) for tag in tags}
        self._per_story = per_story
        self._size = size
        # tokens of the windows kept, or on the way to it
        self._taken: set[tuple[int, ...]] = set()
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
                candidate = Candidate(story, rows.pop(self._rng.integers(len(rows))), tag)
                if self._is_new(candidate):
                    wave.append(candidate)
                    self.left[tag] -= 1
        return wave

    def _is_new(self, candidate: Candidate) -> bool:
        """Whether no window has its tokens; counts it if one has."""
        tokens = tuple(candidate.ids(self._size))
        if tokens in self._taken:
            self.tag_counts[candidate.tag]["tried"] += 1
            self.tag_counts[candidate.tag][REPEATED] += 1
            return False
        self._taken.add(tokens)
        return True

    def _settle(self, candidate: Candidate, own: OwnWord | None) -> bool:
        """Count a candidate, and give its place back to its tag if it is dropped."""
        counts = self.tag_counts[candidate.tag]
        counts["tried"] += 1
        reason = "" if own is None else own.reason or OTHER_TAG * (own.tag != candidate.tag)
        counts[reason or "kept"] += 1
        if reason:
            self.left[candidate.tag] += 1
            self._taken.discard(tuple(candidate.ids(self._size)))
        else:
            candidate.story.kept += 1
        return not reason
