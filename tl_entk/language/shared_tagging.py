"""Words of texts, tagged by all processes of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from feature_sets.errors import UserError
from feature_sets.pipelines import describe, load_pipeline
from feature_sets.tagging import TaggedWords, Tagger
from tl_entk.tools.lead import on_all_ranks
from tl_entk.tools.ranks import current_ranks

# name of a pipeline to the tagger that this process has of it
_taggers: dict[str | None, Tagger] = {}


class SharedTagger(Tagger):
    """Tags each process's share of the texts there, where the first process leads others.

    Args:
        nlp: a spaCy pipeline that sets ``token.pos_``.
        pipeline: what ``load_pipeline`` makes the same one of, in another process.
        model: of the run.

    Raises:
        UserError: if it is no spaCy pipeline.
    """

    def __init__(self, nlp: Any, pipeline: str | None, model: Any) -> None:
        super().__init__(nlp)
        self._pipeline, self._model = pipeline, model
        _taggers[pipeline] = Tagger(nlp)

    def read(self, texts: Sequence[str]) -> list[TaggedWords]:
        """The words of every text, whether or not they have tags.

        Raises:
            UserError: if the pipeline does not keep every character, or another process has
                another one.
        """
        found = tag_texts(self._model, texts, self._pipeline, describe(self.nlp))
        assert found is not None  # this is the first process
        return found


@on_all_ranks
def tag_texts(
    model: Any,  # noqa: ARG001, by which calls are made on all processes
    texts: Sequence[str],
    pipeline: str | None,
    description: str,
) -> list[TaggedWords] | None:
    """The words of every text, on the first process.

    Args:
        model: of the run.
        texts: all of them, on every process.
        pipeline: as for ``load_pipeline``.
        description: what :func:`feature_sets.pipelines.describe` says of the first process's.

    Raises:
        UserError: what one of the processes raised.
    """
    ranks = current_ranks()
    found: list[TaggedWords] | UserError
    try:
        found = _read(pipeline, description, texts[ranks.share(len(texts))])
    except UserError as error:  # of one process's texts: the others wait for its answer
        found = error
    everyone = ranks.gather_values(found)
    if everyone is None:
        return None
    for part in everyone:
        if isinstance(part, UserError):
            raise part
    return [words for part in everyone if isinstance(part, list) for words in part]


def _read(pipeline: str | None, description: str, texts: Sequence[str]) -> list[TaggedWords]:
    if pipeline not in _taggers:
        _taggers[pipeline] = Tagger(load_pipeline(pipeline))
    tagger = _taggers[pipeline]
    if (own := describe(tagger.nlp)) != description:
        raise UserError(
            f"one process has the spaCy pipeline {own}, the first has {description}: install the "
            "same, or name one with --pipeline."
        )
    return tagger.read(texts)
