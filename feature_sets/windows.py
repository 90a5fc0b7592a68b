"""Context windows and the words that follow them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from feature_sets.display import Shown, keep_end
from feature_sets.drawing import DROPPED
from feature_sets.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Windows(Shown):
    """Windows of one length, each ending right before a word of a story.

    Attributes:
        tokens: model tokens, with <bos> in front where ``provenance["prepend_bos"]``.
        words: the text's next word.
        model_words: the model's own next word; None where there was no agreement check.
        tags: universal part-of-speech tag of the next word.
        model_tags: tag of the model's own next word; None where there was no check.
        stories: the stories used, whole.
        story: index into ``stories``.
        start: character of its story at which the next word begins.
        window_start: character of its story at which the window's own text begins.
        pieces: model tokens that the next word takes; 1 is a whole-word token, 0 a word whose
            last token holds more than the word (as in "don't" for "do").
        columns: kept columns of the data set, a value per window.
        counts: windows tried, kept, and dropped for each reason; kept and dropped add up to tried.
        provenance: seed, length, tokenizer, pipeline and the other settings.
        tag_counts: ``counts`` of each tag.

    Raises:
        UserError: if the attributes are of different lengths.
    """

    tokens: Int[Tensor, "n t"]
    words: tuple[str, ...]
    model_words: tuple[str, ...] | None
    tags: tuple[str, ...]
    model_tags: tuple[str, ...] | None
    stories: tuple[str, ...]
    story: Int[Tensor, " n"]
    start: Int[Tensor, " n"]
    window_start: Int[Tensor, " n"]
    pieces: Int[Tensor, " n"]
    columns: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    tag_counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in (*_TEXTS, *_INDICES)} | dict(self.columns)
        for name, values in given.items():
            if values is not None and len(values) != len(self):
                raise UserError(
                    f"{name} has {len(values)} values for {len(self)} windows: pass one each."
                )

    def __len__(self) -> int:
        return len(self.tokens)

    def _lines(self) -> list[str]:
        counts = Counter(self.tags)
        return [
            f"Windows: {len(self)} windows of {self.tokens.shape[1]} tokens from "
            f"{len(self.stories)} stories",
            f"tags of the next word: {', '.join(f'{t} {c}' for t, c in counts.most_common(8))}",
        ]

    def to_pandas(self) -> pd.DataFrame:
        """A row per window: text, word, tag, the model's own, pieces, story, kept columns."""
        import pandas as pd

        columns: dict[str, Any] = {
            "text": [self.text(i) for i in range(len(self))],
            "word": self.words,
            "tag": self.tags,
            "pieces": self.pieces.numpy(),
            "story": self.story.numpy(),
        }
        if self.model_words is not None:
            columns["model_word"] = self.model_words
        if self.model_tags is not None:
            columns["model_tag"] = self.model_tags
        return pd.DataFrame({**columns, **self.columns})

    def _shown_table(self) -> pd.DataFrame:
        frame = self.to_pandas()[["text", "word", "tag"]]
        # what stands right before the word is what one looks for
        return frame.assign(text=[keep_end(text) for text in frame.text])

    def text(self, i: int) -> str:
        """The window's own text, up to the first character of the next word."""
        story = self.stories[int(self.story[i])]
        return story[int(self.window_start[i]) : int(self.start[i])]

    def report(self) -> str:
        """How many windows were tried and kept of every tag, and why the others were dropped."""
        return write_report(self.counts, self.tag_counts, self.provenance)


_TEXTS = ("words", "model_words", "tags", "model_tags")
_INDICES = ("story", "start", "window_start", "pieces")


def check_windows(windows: Windows) -> None:
    """Refuse windows whose numbers do not lead to places of their stories.

    Raises:
        UserError: for tokens or numbers of another kind, and places that no story has.
    """
    for name in ("stories", *_TEXTS):
        texts = getattr(windows, name)
        absent = texts is None and name.startswith("model")
        if not absent and not (isinstance(texts, tuple) and all(isinstance(t, str) for t in texts)):
            raise UserError(f"{name} of windows is no tuple of texts: pass one each.")
    for name, values in windows.columns.items():
        if not isinstance(values, tuple):
            raise UserError(
                f"column {name!r} of windows is no tuple: pass a value for each window."
            )
    numbers = {name: getattr(windows, name) for name in ("tokens", *_INDICES)}
    for name, tensor in numbers.items():
        if tensor.ndim != 1 + (name == "tokens") or tensor.dtype not in (torch.int64, torch.int32):
            raise UserError(
                f"{name} of windows has shape {tuple(tensor.shape)} and dtype {tensor.dtype}: pass "
                "integers, (n, t) tokens and one of each of the others for each window."
            )
        if len(tensor) and int(tensor.min()) < 0:
            raise UserError(f"{name} of windows has negative numbers: they count from 0.")
    lengths = torch.tensor([len(story) for story in windows.stories])
    if len(windows) and int(windows.story.max()) >= len(lengths):
        raise UserError(f"story of windows is out of range: there are {len(lengths)} stories.")
    ends = lengths[windows.story] if len(windows) else windows.start
    if bool((windows.window_start > windows.start).any()) or bool((windows.start > ends).any()):
        raise UserError("start of windows is outside of their stories: pass places of characters.")


def write_report(
    counts: Mapping[str, int],
    tag_counts: Mapping[str, Mapping[str, int]],
    provenance: Mapping[str, Any],
) -> str:
    """How many windows were tried and kept of every tag, as a table with a sentence before it.

    Args:
        counts: what was counted in all, by name.
        tag_counts: the same of every tag.
        provenance: of the windows.
    """
    names = ["tried", "kept", *(name for name in counts if name in DROPPED and counts[name])]
    rows = [["tag", *names]]
    rows += [
        [tag, *(str(table.get(name, 0)) for name in names)] for tag, table in tag_counts.items()
    ]
    rows.append(["all", *(str(counts.get(name, 0)) for name in names)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    skipped = [f"{count} {why}" for why, count in provenance.get("texts_skipped", {}).items()]
    lines = [
        f"{counts.get('kept', 0)} windows kept of {counts.get('tried', 0)} tried, from "
        f"{provenance.get('texts_read', '?')} texts read"
        + (f"; not used: {', '.join(skipped)}." if skipped else ".")
    ]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells))
    return "\n".join(lines)
