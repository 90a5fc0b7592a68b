"""Context windows of stories, balanced by the part of speech of the next word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from feature_sets.agreement import Continuation, OwnWord, OwnWords
from feature_sets.boundaries import check_tokenizer
from feature_sets.display import Shown, keep_end
from feature_sets.drawing import DROPPED, Candidate, Draw, Judge, Reader
from feature_sets.errors import UserError
from feature_sets.progress import Progress
from feature_sets.tagging import Tagger
from feature_sets.tags import DEFAULT_TAGS
from feature_sets.texts import Missing, Text, Texts, check_missing
from feature_sets.warn import warn_user

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
        return _write_report(self.counts, self.tag_counts, self.provenance)


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


def context_windows(
    texts: Iterable[Text | str],
    tokenizer: Any,
    nlp: Any,
    *,
    length: int = 64,
    per_tag: int = 128,
    tags: Sequence[str] = DEFAULT_TAGS,
    per_story: int = 1,
    continuation: Continuation | None = None,
    prepend_bos: bool = True,
    keep_columns: Sequence[str] = (),
    seed: int = 0,
    max_texts: int | None = None,
    missing: Missing = "skip",
    batch_size: int = 64,
    progress: bool = False,
) -> Windows:
    """Windows before words of every tag in equal number, at places drawn from stories.

    A window is the ``length`` tokens before the first token of a word, of the whole story's
    tokens. Stories are drawn from side by side, each up to ``per_story`` windows: first the tag
    that lacks most windows, then a random place of that tag. With ``continuation`` a window is
    kept only where the tag of the model's own next word is that of the text's; a story whose
    window was dropped is drawn from again. Texts that repeat another are one story, and no two
    windows have the same tokens, so that none stands in both halves of a split. The same seed gives
    the same windows, whatever the batch size.

    Args:
        texts: strings, or what :func:`read_texts` returns; read no further than needed.
        tokenizer: the model's tokenizer, a fast one of Hugging Face.
        nlp: spaCy pipeline that sets ``token.pos_``. Components that tags do not depend on
            (parser, entities, lemmas, sentences) are left out.
        length: tokens in a window, with <bos>.
        per_tag: windows of each tag.
        tags: universal part-of-speech tags of the next word.
        per_story: windows of one story at most.
        continuation: the model's greedy next tokens: integer tensor (b, length) to (b, m), m = 3
            being enough for most words. Its word is tagged in the window's own text.
        prepend_bos: put <bos> in front where the tokenizer has one.
        keep_columns: columns of the data set to keep for each window; of text, finite numbers or
            truth values.
        seed: of the draws.
        max_texts: texts to read at most; a tag that hardly occurs is else sought to the end.
        missing: ``"skip"`` texts that lack a value in a kept column (with a warning; ``report``
            says how many) or ``"refuse"`` them.
        batch_size: windows that ``continuation`` gets at once.
        progress: show a bar of the windows kept.

    Returns:
        The windows in the order found.

    Raises:
        UserError: if the texts, a kept column's values, the tokenizer or the pipeline are something
            else, for a slow tokenizer, an unknown tag, a pipeline without tags, a number out of
            range or not finite, or if no window is kept.

    Warns:
        UserWarning: if the texts end before every tag has its number.

    Source: arXiv 2510.00468, language model (windows of 64 tokens, 128 for each of 8 tags).

    Example:
        >>> import spacy
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from transformers import PreTrainedTokenizerFast
        >>> nlp = spacy.blank("en")
        >>> rules = nlp.add_pipe("attribute_ruler")
        >>> rules.add([[{"LOWER": "the"}]], {"POS": "DET"})
        >>> rules.add([[{"LOWER": "fox"}]], {"POS": "NOUN"})
        >>> words = Tokenizer(models.WordLevel({"The": 0, "fox": 1, "saw": 2, "the": 3}))
        >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> windows = context_windows(
        ...     ["The fox saw the fox"], PreTrainedTokenizerFast(tokenizer_object=words), nlp,
        ...     length=3, per_tag=1, tags=["DET"],
        ... )
        >>> windows.text(0), windows.words, windows.tokens.tolist()
        ('The fox saw ', ('the',), [[0, 1, 2]])
    """
    _check_numbers(
        length=length, per_tag=per_tag, per_story=per_story, batch_size=batch_size,
        max_texts=1 if max_texts is None else max_texts,
    )  # fmt: skip
    check_tokenizer(tokenizer)
    _check_tags(tags)
    check_missing(missing)
    if isinstance(texts, str):
        raise UserError("texts is one string: pass a list of texts, or read_texts(source).")
    bos = [tokenizer.bos_token_id] if prepend_bos and tokenizer.bos_token_id is not None else []
    size = length - len(bos)
    if size < 1:
        raise UserError("length = 1 leaves no token beside <bos>: pass 2 or more.")
    tagger = Tagger(nlp)
    own = continuation and OwnWords(continuation, tokenizer, tagger, len(bos), batch_size)
    reader = Reader(texts, tokenizer, tagger, size, tags, keep_columns, max_texts, missing)
    draw = Draw(tags, per_tag, per_story, size, seed)
    kept = _draw_with_bar(draw, reader, partial(_judge_candidates, own, bos, size), progress)
    provenance = {
        "seed": seed,
        "length": length,
        "prepend_bos": bool(bos),
        "tokenizer": _name_tokenizer(tokenizer),
        "pipeline": tagger.name,
        "tags": list(tags),
        "per_tag": per_tag,
        "per_story": per_story,
        "agree": own is not None,
        "max_texts": max_texts,
        "texts_read": reader.read,
        "texts_skipped": _count_skipped(texts, reader),
    }
    counts = {name: sum(c[name] for c in draw.tag_counts.values()) for name in _COUNTED}
    _check_kept(counts, draw, provenance)
    return _build_windows(kept, bos, size, keep_columns, counts, draw.tag_counts, provenance)


_COUNTED = ("tried", "kept", *DROPPED)


def _count_skipped(texts: Any, reader: Reader) -> dict[str, int]:
    """Reason to the number of texts that were not used."""
    empty = texts.skipped if isinstance(texts, Texts) else 0
    return ({"without text": empty} if empty else {}) | dict(reader.skipped)


def _judge_candidates(
    own: OwnWords | None, bos: list[int], size: int, wave: Sequence[Candidate]
) -> Sequence[OwnWord | None]:
    """The model's own next word for each candidate; None where there is no agreement check."""
    if own is None:
        return [None] * len(wave)
    rows = torch.tensor([bos + candidate.ids(size) for candidate in wave])
    return own(rows, [c.story.text.text[c.window_start : c.span[0]] for c in wave])


def _name_tokenizer(tokenizer: Any) -> str:
    """Its name; of a folder the last part, since where it lies is nobody else's business."""
    name = tokenizer.name_or_path or type(tokenizer).__name__
    folder = Path(name)
    if not folder.is_dir():
        return name
    # the hub's cache: models--org--name/snapshots/commit
    hub = next((part for part in folder.resolve().parts if part.startswith("models--")), None)
    return "/".join(hub.split("--")[1:]) if hub else folder.resolve().name


def _draw_with_bar(
    draw: Draw, reader: Reader, judge: Judge, progress: bool
) -> list[tuple[Candidate, OwnWord | None]]:
    with Progress("windows", sum(draw.left.values()), progress) as bar:
        return draw.run(reader, judge, bar.advance)


def _build_windows(
    kept: Sequence[tuple[Candidate, OwnWord | None]],
    bos: list[int],
    size: int,
    keep_columns: Sequence[str],
    counts: dict[str, int],
    tag_counts: dict[str, dict[str, int]],
    provenance: dict[str, Any],
) -> Windows:
    """Candidates kept as arrays."""
    found = [candidate for candidate, _ in kept]
    own = [word for _, word in kept if word is not None]
    stories = list(dict.fromkeys(candidate.story for candidate in found))
    index = {story: i for i, story in enumerate(stories)}
    return Windows(
        tokens=torch.tensor([bos + candidate.ids(size) for candidate in found]),
        words=tuple(c.story.text.text[slice(*c.span)] for c in found),
        model_words=tuple(word.word for word in own) if own else None,
        tags=tuple(candidate.tag for candidate in found),
        model_tags=tuple(word.tag for word in own) if own else None,
        stories=tuple(story.text.text for story in stories),
        story=torch.tensor([index[candidate.story] for candidate in found]),
        start=torch.tensor([candidate.span[0] for candidate in found]),
        window_start=torch.tensor([candidate.window_start for candidate in found]),
        pieces=torch.tensor([int(c.story.places.pieces[c.place]) for c in found]),
        columns={name: tuple(c.story.text.row[name] for c in found) for name in keep_columns},
        counts=counts,
        provenance=provenance,
        tag_counts=tag_counts,
    )


def _check_numbers(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise UserError(f"{name} = {number}: pass 1 or more.")


def _check_tags(tags: Sequence[str]) -> None:
    # a pipeline was passed, so spaCy is there and imported
    from spacy.parts_of_speech import IDS

    known = sorted(set(IDS) - {"", "SPACE", "EOL", "CONJ"})
    unknown = [tag for tag in tags if tag not in known]
    if isinstance(tags, str) or not tags or unknown or len(set(tags)) < len(tags):
        raise UserError(f"tags = {tags!r}: pass different universal tags, some of {known}.")


def _check_kept(counts: dict[str, int], draw: Draw, provenance: dict[str, Any]) -> None:
    """Warn where windows are missing.

    Raises:
        UserError: if all are.
    """
    missing = {tag: left for tag, left in draw.left.items() if left}
    if not missing:
        return
    fix = (
        "Pass more text, a higher per_story, a smaller per_tag, or leave out the tags that lack "
        "windows"
    )
    if not counts["kept"]:
        report = _write_report(counts, draw.tag_counts, provenance)
        raise UserError(f"no window was kept. {fix}; shorter windows fit short texts.\n{report}")
    lacking = ", ".join(f"{tag} {left}" for tag, left in missing.items())
    warn_user(
        f"the texts ended before every tag had {provenance['per_tag']} windows; missing: "
        f"{lacking}. {fix}."
    )


def _write_report(
    counts: Mapping[str, int],
    tag_counts: Mapping[str, Mapping[str, int]],
    provenance: Mapping[str, Any],
) -> str:
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
