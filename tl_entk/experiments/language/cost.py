"""What a run of the language-model experiment will take, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor

from tl_entk.alignment.readout_sweep import resolve_readout, sweep_weights
from tl_entk.compressed.cost import estimate_compressed
from tl_entk.compressed.work import read_work
from tl_entk.directions.eigen import eigendecompose
from tl_entk.experiments.cost import Cost
from tl_entk.experiments.language.causal.setup import MOST, SIGNED_ON
from tl_entk.experiments.language.kernels import SHARES_READOUT, share_components
from tl_entk.experiments.language.settings import LanguageSettings
from tl_entk.kernel.blocks import estimate_kernel_blocks
from tl_entk.kernel.normalizations import NORMALIZATIONS
from tl_entk.language.loading import LanguageModel
from tl_entk.language.next_words import greedy_continuation
from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.last_logits import last_logits
from tl_entk.operator.build import kernel_operator
from tl_entk.tools.timing import seconds

# windows tried for each that is kept where the model must agree with the text (Gemma, TinyStories)
_TRIED = 3.2
# windows measured
_FEW = 16
# passes over all windows for activations, predicted tokens and baselines
_STATE_PASSES = 3
# of the causal checks: kernels, and passes for a direction and its rivals over the windows that
# signs of steps are set on, and over half of all
_KERNELS_SHOWN, _SIGNS, _JUDGING = 3, 24, 85


def estimate_language(
    settings: LanguageSettings, language_model: LanguageModel, memory_budget: int | None
) -> Iterator[Cost]:
    """Time and memory of every part, measured on a few windows of random tokens and scaled up.

    Nothing is kept, and what the folder has already is not known here. Reading texts, spaCy and
    judging are left out: they depend on the text and the labels.

    Args:
        settings: of the run.
        language_model: the model, loaded.
        memory_budget: bytes for the kernels' temporaries (default 4 GiB, on a GPU half of
            what is free).
    """
    model = language_model.model
    adapter = adapt_transformer(model)
    layers = settings.chosen_layers(adapter.n_layers)
    tokens = _random_windows(settings, language_model)
    n, few = len(tokens), tokens[:_FEW]
    if settings.agree:
        greedy_continuation(model, few, 3)  # the first call sets up libraries
        taken = seconds(lambda: greedy_continuation(model, few, 3), tokens.device) / len(few)
        note = f"{_TRIED:g} tried for each kept, as on TinyStories"
        yield Cost("windows: the model's own next words", _TRIED * n * taken, 0, note)
    taken = seconds(lambda: last_logits(model, few), tokens.device) / len(few)
    note = f"{_STATE_PASSES} forward passes"
    yield Cost("activations, predictions, baselines", _STATE_PASSES * n * taken, 0, note)
    if settings.all_logits:
        yield from _all_logits(settings, language_model, tokens, layers, memory_budget)
    if settings.readouts:
        weights = sweep_weights(settings.components, layers, adapter.n_layers)
        decompositions = _decompositions(n, settings, len(layers))
        for name in settings.readouts:
            readout = resolve_readout(name, settings.seed)
            found = estimate_kernel_blocks(model, tokens, readout, weights, memory_budget)
            yield Cost(
                f"kernels of {name}", found.seconds + decompositions, found.memory_bytes, str(found)
            )
    if settings.causal:
        directions = _KERNELS_SHOWN * MOST
        seen = directions * (_SIGNS * SIGNED_ON + _JUDGING * n // 2)
        note = f"about {directions} directions and their rivals"
        yield Cost("causal checks", seen * taken, 0, note)
    if settings.shares:
        found = estimate_kernel_blocks(
            model, tokens, SHARES_READOUT, share_components(map(str, layers)), memory_budget
        )
        yield Cost("shares of weights and heads", found.seconds, found.memory_bytes, str(found))


def _random_windows(
    settings: LanguageSettings, language_model: LanguageModel
) -> Int[Tensor, "n t"]:
    """As many windows as a run has, of tokens that are words."""
    adapter, tokenizer = adapt_transformer(language_model.model), language_model.tokenizer
    own = getattr(language_model.model, "tokenizer", None)
    special = {*tokenizer.all_special_ids, getattr(own, "pad_token_id", None)}
    words = torch.tensor([i for i in range(adapter.vocabulary) if i not in special])
    generator = torch.Generator().manual_seed(0)
    shape = (settings.n_windows, settings.length)
    tokens = words[torch.randint(len(words), shape, generator=generator)]
    if settings.bos and tokenizer.bos_token_id is not None:
        tokens[:, 0] = tokenizer.bos_token_id
    return tokens.to(adapter.device)


def _all_logits(
    settings: LanguageSettings,
    language_model: LanguageModel,
    tokens: Int[Tensor, "n t"],
    layers: list[int],
    memory_budget: int | None,
) -> Iterator[Cost]:
    """The kernels of all logits: compressed together, or each solved whole."""
    model = language_model.model
    names = list(dict.fromkeys(f"blocks.{layer}.{settings.weight}" for layer in layers))
    if not settings.exact:
        work = read_work(
            model, tokens, names, settings.k, settings.outputs, memory_budget=memory_budget
        )
        found = estimate_compressed(work)
        yield Cost("kernels of all logits", found.seconds, found.memory_bytes, str(found))
    kinds = dict.fromkeys(("plain", *settings.normalizations))
    solved = len(kinds) - (0 if settings.exact else 1)
    for name in names if solved else ():
        operator = kernel_operator(model, tokens, name, memory_budget=memory_budget)
        whole = operator.estimate(settings.k)
        yield Cost(
            f"kernels of all logits, {name}, solved whole",
            solved * whole.seconds,
            whole.memory_bytes,
            f"{solved} times {whole}" if solved > 1 else str(whole),
        )


def _decompositions(n: int, settings: LanguageSettings, layers: int) -> float:
    """Seconds of the eigendirections of all kernels of one readout."""
    matrix = torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel = matrix @ matrix.T
    one = seconds(lambda: eigendecompose(kernel, settings.k), kernel.device)
    return one * len(NORMALIZATIONS) * len(settings.components) * layers
