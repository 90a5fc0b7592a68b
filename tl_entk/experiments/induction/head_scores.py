"""What is known of an attention head without the kernel: what it attends to, copies, and does.

Each score is (layers, heads), of pairs of windows that repeat their last token or do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.experiments.induction.data import Windows
from tl_entk.experiments.induction.model import LAYERS

HeadScores = Float[Tensor, "layers heads"]

PREFIX, PREVIOUS, COPYING = "prefix matching", "previous token", "copying"
ABLATION, PATCHING = "ablation", "attribution patching"
_PATTERNS = [f"blocks.{layer}.attn.hook_pattern" for layer in range(LAYERS)]
# what every head hands to its output weights
HEAD_OUTPUTS = [f"blocks.{layer}.attn.hook_z" for layer in range(LAYERS)]


def score_heads(model: Any, windows: Windows) -> dict[str, HeadScores]:
    """Every score of every head.

    Args:
        model: of either TransformerLens class.
        windows: pairs.

    Example:
        >>> from tl_entk.experiments.induction.data import draw_windows
        >>> from tl_entk.experiments.induction.model import build_attention_only, seeded_weights
        >>> from tl_entk.experiments.induction.settings import InductionSettings
        >>> settings = InductionSettings(pairs=4)
        >>> weights = seeded_weights(settings, torch.Generator().manual_seed(0))
        >>> model = build_attention_only(settings, "bridge", weights)
        >>> score_heads(model, draw_windows(settings))["prefix matching"].shape
        torch.Size([2, 4])
    """
    return {
        **attention_scores(model, windows),
        COPYING: copying_scores(model),
        ABLATION: ablation_effects(model, windows),
        PATCHING: patching_effects(model, windows),
    }


def attention_scores(model: Any, windows: Windows) -> dict[str, HeadScores]:
    """Attention of the read position in windows that repeat: mean over the windows of two sums.

    Prefix matching is the attention to every token that follows an earlier occurrence of the
    last one; the previous-token score is the attention to the token before, over all positions of
    the window up to the read one.

    Args:
        model: of either TransformerLens class.
        windows: pairs; those that repeat are looked at.

    Source: Olsson et al. 2022, In-context Learning and Induction Heads.
    """
    tokens, position = windows.tokens[windows.repeated], windows.position[windows.repeated]
    rows, places = torch.arange(len(tokens)), torch.arange(tokens.shape[1])
    follows = torch.zeros_like(tokens, dtype=torch.bool)
    # what comes after the read position is not attended to
    follows[:, 1:] = tokens[:, :-1] == tokens[rows, position][:, None]
    # the first position has none before it
    seen = (places[1:] <= position[:, None]).float()
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens, names_filter=_PATTERNS)
    prefix, previous = [], []
    for name in _PATTERNS:
        pattern = cache[name]
        at_end = pattern[rows, :, position]
        prefix.append((at_end * follows[:, None]).sum(-1).mean(0))
        before = pattern.diagonal(-1, dim1=-2, dim2=-1)
        previous.append(((before * seen[:, None]).sum(-1) / seen.sum(-1)[:, None]).mean(0))
    return {PREFIX: torch.stack(prefix), PREVIOUS: torch.stack(previous)}


def copying_scores(model: Any) -> HeadScores:
    """Sum of the eigenvalues of W_E W_V W_O W_U over the sum of their sizes, of every head.

    It is 1 for a head whose output raises the logits of the tokens that it attends to.

    Source: Elhage et al. 2021, A Mathematical Framework for Transformer Circuits.
    """
    from transformer_lens import FactoredMatrix

    with torch.no_grad():
        circuit = FactoredMatrix(model.W_E @ model.W_V, model.W_O @ model.W_U)
        eigenvalues = circuit.eigenvalues
    return eigenvalues.real.sum(-1) / eigenvalues.abs().sum(-1)


def answer_logprob(logits: Float[Tensor, "n t v"], windows: Windows) -> Float[Tensor, " n"]:
    """Log-probability of every window's next token at its read position."""
    rows = torch.arange(len(logits))
    return logits[rows, windows.position].log_softmax(-1)[rows, windows.target]


def ablation_effects(model: Any, windows: Windows) -> HeadScores:
    """By how much the loss of windows that repeat rises when a head gives its mean output.

    The mean is over all windows, at each position.

    Args:
        model: of either TransformerLens class.
        windows: pairs.
    """
    half = windows.repeated
    repeating = Windows(*(values[half] for values in windows))
    with torch.no_grad():
        _, cache = model.run_with_cache(windows.tokens, names_filter=HEAD_OUTPUTS)
        means = {name: cache[name].mean(0) for name in HEAD_OUTPUTS}
        kept = answer_logprob(model(repeating.tokens), repeating).mean()
        effects = []
        for name, mean in means.items():
            for head in range(mean.shape[1]):
                with _replaced(model, name, head, mean):
                    logits = model(repeating.tokens)
                effects.append(kept - answer_logprob(logits, repeating).mean())
    return torch.stack(effects).view(LAYERS, -1)


@contextmanager
def _replaced(model: Any, name: str, head: int, mean: Tensor) -> Iterator[None]:
    """One head's output is its mean inside."""

    def replace(z: Tensor, **_: Any) -> Tensor:
        z = z.clone()
        z[:, :, head] = mean[:, head]
        return z

    with model.hooks(fwd_hooks=[(name, replace)]):
        yield


def patching_effects(model: Any, windows: Windows) -> HeadScores:
    """Attribution patching: (z of a window that repeats - z of its pair) . gradient at the pair.

    The gradient is of the log-probability of the next token of the window that repeats; the sum
    is over positions, the mean over pairs. TransformerLens' ``attribution_patch`` refuses models
    without an MLP; its cache of activations and gradients takes them.

    Args:
        model: of either TransformerLens class.
        windows: pairs.

    Source: Nanda 2023, Attribution Patching.
    """
    from transformer_lens.tools.analysis.attribution_patching import cache_activation_and_gradient

    half = windows.repeated
    clean = Windows(*(values[half] for values in windows))

    def metric(logits: Tensor) -> Tensor:
        return answer_logprob(logits, clean).sum()

    # a bridge hands on the gradients of points that have another before them
    names = ["hook_embed", *HEAD_OUTPUTS]
    there = cache_activation_and_gradient(
        model, clean.tokens, metric, names_filter=names, compute_gradient=False
    )
    other = cache_activation_and_gradient(model, windows.tokens[~half], metric, names_filter=names)
    found = []
    for name in HEAD_OUTPUTS:
        difference, gradient = (
            there.activations[name] - other.activations[name],
            other.gradients[name],
        )
        assert gradient is not None, name
        found.append((difference * gradient).sum((1, 3)).mean(0))
    return torch.stack(found)
