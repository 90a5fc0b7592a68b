"""Stories written by the embedded story model."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AutoTokenizer, DynamicCache, Gemma3ForCausalLM

from feature_sets.errors import UserError
from tl_entk.language.story_model.architecture import CONTEXT, WEIGHTS
from tl_entk.language.story_model.stories import clean
from tl_entk.tools.hugging_face import cache_argument
from tl_entk.tools.progress import Progress
from tl_entk.tools.values import (
    check_at_least,
    check_positive,
    check_seed,
    is_integer,
    is_number,
)

# the model was trained on <bos> and a piece of stories that each end with <eos>: what follows
# <eos> is the beginning of a story
_START = 2
_SENTENCE_END = re.compile(r"[.!?][\"']?(?=\s|$)")


def sample_stories(
    n: int,
    seed: int = 0,
    *,
    temperature: float = 0.9,
    top_p: float = 0.95,
    max_tokens: int = 220,
    batch_size: int = 64,
    folder: Path = WEIGHTS,
    progress: bool = False,
) -> list[str]:
    """Stories sampled from the story model, from beginning to end.

    Story i depends on the seed and i alone (its uniform numbers are drawn from them, and a token
    is where one falls in the cumulative distribution), so neither on n nor on batch_size, up to
    the rounding of the logits: a batch of another size may, rarely, turn a token over.

    Args:
        n: how many.
        seed: of the sampling.
        temperature: divides the logits; near 0 the most probable token.
        top_p: sample from the most probable tokens that together have this probability.
        max_tokens: of a story; a longer one is cut at its last sentence end.
        batch_size: stories written at the same time.
        folder: the model's, in Hugging Face's format.
        progress: show a progress bar.

    Returns:
        The stories, in the training text's form.

    Raises:
        UserError: if an option is out of range.
        OSError: if the folder holds no model.

    Example:
        >>> sample_stories(1, max_tokens=300)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        feature_sets.errors.UserError: max_tokens = 300: pass 1 to 254, the model's context ...
    """
    most = CONTEXT - _START
    if not is_integer(max_tokens) or not 1 <= max_tokens <= most:
        raise UserError(
            f"max_tokens = {max_tokens!r}: pass 1 to {most}, the model's context being {CONTEXT}."
        )
    check_at_least("n", n)
    check_at_least("batch_size", batch_size)
    check_seed(seed)
    check_positive("temperature", temperature)
    if not is_number(top_p) or not 0 < top_p <= 1:
        raise UserError(f"top_p = {top_p!r}: pass a number above 0, up to 1.")
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"there is no story model in {folder}: train one with "
            "`python -m tl_entk.language.story_model.train`."
        )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = Gemma3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    stories: list[str] = []
    # counted in tokens: all stories of a batch end together
    with Progress("writing stories", -(-n // batch_size) * max_tokens, progress) as bar:
        for rows in torch.arange(n).split(batch_size):
            uniform = np.stack(
                [np.random.default_rng([seed, row]).random(max_tokens) for row in rows.tolist()]
            )
            count = partial(bar.advance, 1, f"{len(stories)} to {len(stories) + len(rows)} of {n}")
            written = _write(model, tokenizer, torch.from_numpy(uniform), temperature, top_p, count)
            stories += [_text(tokenizer, row) for row in written.tolist()]
            bar.advance(max_tokens - written.shape[1])
    return stories


@torch.no_grad()
def _write(
    model: Any,
    tokenizer: Any,
    uniform: Float[Tensor, "b t"],
    temperature: float,
    top_p: float,
    count: Callable[[], object] = lambda: None,
) -> Int[Tensor, "b s"]:
    """Tokens after the start, until every row has had an <eos>; each step is counted."""
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    new = torch.tensor([[bos, eos]]).expand(len(uniform), -1)
    options = {cache_argument(model): DynamicCache(config=model.config), "use_cache": True}
    written: list[Tensor] = []
    ended = torch.zeros(len(uniform), dtype=torch.bool)
    for numbers in uniform.unbind(1):
        logits = model(new, logits_to_keep=1, **options).logits[:, -1]
        token = _draw(logits / temperature, numbers, top_p)
        written.append(token)
        count()
        ended |= token == eos
        if ended.all():
            break
        new = token[:, None]
    return torch.stack(written, 1)


def _draw(
    logits: Float[Tensor, "b v"], uniform: Float[Tensor, " b"], top_p: float
) -> Int[Tensor, " b"]:
    """The token at which the cumulative probability passes a uniform number."""
    probability, order = logits.double().softmax(1).sort(descending=True, stable=True)
    cumulative = probability.cumsum(1)
    # at least the most probable one, and those before the sum reaches top_p
    kept = (cumulative - probability < top_p).sum(1, keepdim=True)
    mass = cumulative.gather(1, kept - 1)
    place = torch.searchsorted(cumulative, uniform[:, None] * mass, right=True)
    return order.gather(1, torch.minimum(place, kept - 1))[:, 0]


def _text(tokenizer: Any, tokens: list[int]) -> str:
    """A story without what follows its <eos>; one that has none ends with its last sentence."""
    ended = tokenizer.eos_token_id in tokens
    if ended:
        tokens = tokens[: tokens.index(tokenizer.eos_token_id)]
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return clean(text if ended or not ends else text[: ends[-1]])
