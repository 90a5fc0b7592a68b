"""Texts tagged by several processes have the words of one, and its refusals."""

import numpy as np
import pytest
import torch

from feature_sets.errors import UserError
from feature_sets.pipelines import EMBEDDED, describe, load_pipeline
from feature_sets.tagging import TaggedWords, Tagger
from tests.ranks.processes import run_in_processes
from tl_entk.language import shared_tagging
from tl_entk.language.shared_tagging import SharedTagger
from tl_entk.tools.lead import follow, lead
from tl_entk.tools.ranks import current_ranks

pytestmark = pytest.mark.plain

TEXTS = ["The dog ran.", "A small fox saw the old red barn.", "Tom sat down.", ""]
REFUSED = "She did not go."


def as_tensors(words: list[TaggedWords]) -> dict[str, torch.Tensor]:
    found = {}
    for i, one in enumerate(words):
        found[f"{i} spans"] = torch.from_numpy(np.array(one.spans).reshape(-1, 2))
        letters = [ord(letter) for letter in " ".join(one.tags)]
        found[f"{i} tags"] = torch.tensor(letters, dtype=torch.long)
    return found


def tagged_by_all() -> dict[str, torch.Tensor]:
    """Once well, once with a text that the second process refuses, and well again."""
    ranks = current_ranks()
    if not ranks.first:
        read, seen = Tagger.read, []

        def refuse(self, texts):
            seen.extend(texts)
            if REFUSED in texts:
                raise UserError("a text of the other process")
            return read(self, texts)

        Tagger.read = refuse
        follow(ranks, torch.nn.Identity)
        return {"texts": torch.tensor(len(seen))}
    with lead(ranks):
        tagger = SharedTagger(load_pipeline(EMBEDDED), EMBEDDED, None)
        tagger(TEXTS[:2])
        with pytest.raises(UserError, match="a text of the other process"):
            tagger([*TEXTS, REFUSED])
        return as_tensors(tagger(TEXTS))


def test_words_and_refusals_are_those_of_one_process(tmp_path):
    expected = as_tensors(Tagger(load_pipeline(EMBEDDED))(TEXTS))
    first, second = run_in_processes(tagged_by_all, 2, tmp_path)
    assert first.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.equal(first[name], values)
    assert int(second["texts"]) == 1 + 2 + 2


def test_alone_it_is_a_tagger():
    nlp = load_pipeline(EMBEDDED)
    found = as_tensors(SharedTagger(nlp, EMBEDDED, None)(TEXTS))
    expected = as_tensors(Tagger(nlp)(TEXTS))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_another_pipeline_in_a_process_is_refused():
    nlp = load_pipeline(EMBEDDED)
    SharedTagger(nlp, EMBEDDED, None)
    with pytest.raises(UserError, match="install the same"):
        shared_tagging.tag_texts(None, TEXTS, EMBEDDED, describe(nlp) + " and more")
