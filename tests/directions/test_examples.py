from dataclasses import replace

import pytest
import torch

import tl_entk
from feature_sets.errors import UserError
from tests.test_display import windows
from tl_entk.directions.examples import top_examples, top_tokens
from tl_entk.directions.token_scores import score_covariances

SCORES = torch.tensor([[0.1, 5.0], [-2.0, 4.0], [0.7, 3.0], [0.7, 2.0]])
TOKENS = torch.randint(0, 7, (30, 6), generator=torch.Generator().manual_seed(0))


class Words:
    """A tokenizer whose tokens are numbers in brackets; 0 is special."""

    all_special_ids = (0,)

    def decode(self, ids):
        return "".join(f"<{i}>" for i in ids)

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": [6] if text.startswith(" ") else []}


@pytest.mark.plain
def test_either_end_and_the_sign():
    found = top_examples(SCORES, 0, ["a", "b", "c", "d"], n=2)
    assert [(one.row, one.text) for one in found.highest] == [(2, "c"), (3, "d")]
    assert [one.row for one in found.lowest] == [1, 0]
    turned = top_examples(SCORES, 0, n=2, sign=-1)
    assert [one.row for one in turned.highest] == [1, 0]
    assert turned.highest[0].score == 2
    assert list(turned.to_pandas()) == ["end", "score", "row"]
    assert len(top_examples(SCORES, 1).to_pandas()) == 8


@pytest.mark.plain
def test_texts_come_from_windows_or_tokens():
    found = top_examples(SCORES[:2], 0, windows(), n=1)
    assert (found.highest[0].word, found.highest[0].tag) == ("dog", "NOUN")
    assert "The fox saw [dog]" in repr(found)
    decoded = top_examples(SCORES[:2], 0, torch.tensor([[1, 2], [3, 4]]), n=1, tokenizer=Words())
    assert decoded.lowest[0].text == "<3><4>"


def test_tokens_that_go_along_are_those_of_the_covariance(model):
    scores = torch.randn(30, 2, generator=torch.Generator().manual_seed(1))
    weights = score_covariances(model, TOKENS, scores)[:, 1]
    found = top_tokens(scores, 1, model, TOKENS, n=3, among="all", tokenizer=Words())
    best = int(weights.argmax())
    assert found.raised[0].token == best
    assert found.raised[0].text == f"<{best}>"
    assert found.raised[0].weight == pytest.approx(float(weights[best]))
    assert found.lowered[0].weight == pytest.approx(float(weights.min()))
    assert found.among == len(weights)
    turned = top_tokens(scores, 1, model, TOKENS, n=3, among="all", sign=-1, tokenizer=Words())
    assert [one.token for one in turned.raised] == [one.token for one in found.lowered]


def test_only_tokens_of_the_examples_and_of_the_words_after_them(model):
    scores = torch.randn(30, 1, generator=torch.Generator().manual_seed(1))
    few = TOKENS % 4
    found = top_tokens(scores, 0, model, few, tokenizer=Words())
    assert {one.token for one in found.raised + found.lowered} <= {1, 2, 3}
    assert found.among == 3
    assert all(one.weight > 0 for one in found.raised)
    own = replace(
        windows(), tokens=few[:2], words=("dog", "here"), model_words=("cat", ""), model_tags=None
    )
    beside = top_tokens(scores[:2], 0, model, own, tokenizer=Words())
    assert beside.among == len({*few[:2].flatten().tolist(), 6} - {0})


def test_directions_have_them_as_methods(model):
    blocks = tl_entk.kernel_blocks(model, TOKENS, components="blocks.0.mlp.W_out")
    eigen = tl_entk.eigendecompose(blocks.total(), k=2)
    texts = [str(i) for i in range(30)]
    assert eigen.top_examples(1, texts, n=2) == top_examples(eigen, 1, texts, n=2)
    found = eigen.top_tokens(1, model, TOKENS, n=2)
    assert found == top_tokens(eigen, 1, model, TOKENS, n=2)
    assert repr(found).startswith("TopTokens: direction 1, among ")
    assert set(found.to_pandas().change) == {"raised", "lowered"}


@pytest.mark.plain
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direction": 2}, "0 to 1"),
        ({"direction": True}, "0 to 1"),
        ({"sign": 2}, "1 or -1"),
        ({"n": 0}, "n = 0"),
        ({"windows": ["a"]}, "same examples"),
        ({"windows": TOKENS[:4]}, "tokenizer=model.tokenizer"),
    ],
)
def test_what_a_caller_can_fix_is_said(options, message, untyped):
    with pytest.raises(UserError, match=message):
        top_examples(**{"eigen": SCORES, "direction": 0, **options})


def test_windows_of_other_examples_are_refused(model, untyped):
    with pytest.raises(UserError, match="as many windows"):
        top_tokens(SCORES, 0, model, TOKENS)
