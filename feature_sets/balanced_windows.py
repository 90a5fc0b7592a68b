"""Context windows of stories, balanced by the part of speech of the next word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from feature_sets.agreement import Continuation, OwnWord, OwnWords
from feature_sets.boundaries import check_tokenizer
from feature_sets.drawing import DROPPED, Candidate, Draw, Judge, Reader
from feature_sets.errors import UserError
from feature_sets.progress import Progress
from feature_sets.tagging import Tagger
from feature_sets.tags import DEFAULT_TAGS
from feature_sets.texts import Missing, Text, Texts, check_missing
from feature_sets.warn import warn_user
from feature_sets.windows import Windows, write_report

if TYPE_CHECKING:
    pass


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
            (parser, entities, lemmas, sentences) are left out. Or a ``Tagger`` of one.
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
    tagger = nlp if isinstance(nlp, Tagger) else Tagger(nlp)
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
    counts = {
        name: sum(c[name] for c in draw.tag_counts.values()) for name in ("tried", "kept", *DROPPED)
    }
    _check_kept(counts, draw, provenance)
    return _build_windows(kept, bos, size, keep_columns, counts, draw.tag_counts, provenance)


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
        report = write_report(counts, draw.tag_counts, provenance)
        raise UserError(f"no window was kept. {fix}; shorter windows fit short texts.\n{report}")
    lacking = ", ".join(f"{tag} {left}" for tag, left in missing.items())
    warn_user(
        f"the texts ended before every tag had {provenance['per_tag']} windows; missing: "
        f"{lacking}. {fix}."
    )
