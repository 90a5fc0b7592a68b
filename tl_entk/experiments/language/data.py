"""Windows, labels and activations of the language-model experiment, kept on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from spacy.language import Language
from torch import Tensor

from feature_sets.balanced_windows import context_windows
from feature_sets.context import CONTEXT, context_labels, present_tokens
from feature_sets.errors import UserError
from feature_sets.feature_set import FeatureSet
from feature_sets.grammar import Rule, grammar, next_tokens
from feature_sets.pipelines import describe
from feature_sets.selection import select_labels
from feature_sets.texts import Text, Texts, read_texts
from feature_sets.windows import Windows
from tl_entk.alignment.activations import activations_at
from tl_entk.alignment.splitting import too_rare
from tl_entk.experiments.language.inputs import (
    NEXT_WORDS,
    STATES,
    WINDOWS,
    discard_stale_results,
    fingerprint,
    forget_folder_without_results,
)
from tl_entk.experiments.language.labels import parse_labels
from tl_entk.experiments.language.settings import (
    PRESENT_WORD,
    SAMPLED,
    TEXT_SO_FAR,
    LanguageSettings,
)
from tl_entk.language.kept_continuation import KeptContinuation
from tl_entk.language.loading import LanguageModel
from tl_entk.language.next_words import greedy_continuation
from tl_entk.language.shared_tagging import SharedTagger
from tl_entk.language.story_model.sample import sample_stories
from tl_entk.model.adapters import adapt_transformer
from tl_entk.results import load, save
from tl_entk.tools.files import read_kept, read_tensors, refuse_damaged, write_kept, write_tensors

# entries of the states' file beside the layers
_TOKENS, _PREDICTED = "tokens", "predicted"
_STATES = "states"


@dataclass(frozen=True, eq=False)
class LanguageData:
    """What the kernels are compared with.

    Attributes:
        windows: the inputs.
        labels: every label of the next words.
        features: the binary ones that were kept by the paper's rules.
        dropped: why other binary ones were not; of your own labels also which are numbers.
        pipeline: which spaCy pipeline labelled them.
        predicted: the model's most probable next token of every window.
        context: binary labels of the window's last word and of the text so far, for controls; None
            where none is asked for, or left.
        activations: layer to residual stream after it at the last position, (n, d_model).
    """

    windows: Windows
    labels: FeatureSet
    features: FeatureSet
    dropped: dict[str, str]
    pipeline: str
    predicted: tuple[int, ...]
    context: FeatureSet | None
    activations: dict[str, Tensor]

    @property
    def features_and_numbers(self) -> FeatureSet:
        """The kept features, and the labels that are numbers, which only probes can find."""
        kept = {*self.features.names, *self.numbers}
        return self.labels.take([i for i, name in enumerate(self.labels.names) if name in kept])

    @property
    def numbers(self) -> list[str]:
        """Names of the labels that are numbers."""
        pairs = zip(self.labels.names, self.labels.is_binary, strict=True)
        return [name for name, binary in pairs if not binary]


def language_data(
    settings: LanguageSettings,
    language_model: LanguageModel,
    nlp: Language,
    folder: Path,
    *,
    own: dict[str, Rule] | None = None,
    progress: bool = False,
) -> LanguageData:
    """Make or reload windows, label their next words, read the activations.

    Args:
        settings: of the run.
        language_model: model and tokenizer.
        nlp: the pipeline that labels.
        folder: where the windows are kept.
        own: your own labels beside those of the settings.
        progress: show bars.

    Raises:
        UserError: if there are fewer windows than directions.
    """
    discard_stale_results(folder, fingerprint(language_model, nlp, settings.dataset))
    own = parse_labels(settings.labels) | (own or {})
    columns = [rule for rule in own.values() if isinstance(rule, str)]
    with forget_folder_without_results(folder):
        windows = _make_or_load_windows(settings, language_model, nlp, folder, columns, progress)
    if len(windows) < settings.k:
        raise UserError(
            f"k = {settings.k} directions of {len(windows)} windows: pass fewer, or more text."
        )
    labels = grammar(windows, nlp, own=own)
    least = least_positives(windows)
    selection = select_labels(labels.binary(), windows.words, min_positives=least)
    rare = too_rare(selection.features, seed=settings.seed)
    dropped = selection.dropped | dict.fromkeys(rare, "too few positives in one half")
    wanted = {PRESENT_WORD, TEXT_SO_FAR}.intersection(settings.controls)
    layers = settings.chosen_layers(adapt_transformer(language_model.model).n_layers)
    states = _make_or_load_states(language_model.model, windows.tokens, layers, folder)
    return LanguageData(
        windows,
        labels,
        selection.features.without(rare),
        dropped | _own_numbers(labels),
        describe(nlp),
        tuple(states[_PREDICTED].tolist()),
        _context(windows, nlp, least) if wanted else None,
        {str(layer): states[str(layer)] for layer in layers},
    )


def _make_or_load_states(
    model: Any, tokens: Tensor, layers: Sequence[int], folder: Path
) -> dict[str, Tensor]:
    """Residual stream after each layer, by its number, and the predicted tokens."""
    path = folder / STATES
    found = read_tensors(path, _STATES).tensors if path.exists() else {}
    if not torch.equal(found.get(_TOKENS, tokens[:0]), tokens.cpu()):
        found = {_TOKENS: tokens.cpu()}
    there = set(found)
    missing = [layer for layer in layers if str(layer) not in found]
    if missing:
        hooks = {f"blocks.{layer}.hook_resid_post": str(layer) for layer in missing}
        states = activations_at(model, tokens, list(hooks), batch_size=64)
        found |= {layer: states[hook].cpu().contiguous() for hook, layer in hooks.items()}
    if _PREDICTED not in found:
        found[_PREDICTED] = greedy_continuation(model, tokens, 1)[:, 0].cpu().contiguous()
    if set(found) != there:
        write_tensors(path, found, kind=_STATES)
    return found


def _own_numbers(labels: FeatureSet) -> dict[str, str]:
    """The user's labels that are numbers, and that these have no single direction."""
    table = zip(labels.names, labels.families, labels.is_binary, strict=True)
    reason = "a number: probes alone are asked for it; text gives a label for each value"
    return {name: reason for name, family, binary in table if family == "own" and not binary}


def _context(windows: Windows, nlp: Language, least: int) -> FeatureSet | None:
    """Labels of the present word and of the text so far that are frequent enough."""
    present = present_tokens(next_tokens(windows, nlp))
    words = [word.text if word else "" for word in present]
    try:
        labels = context_labels(windows, nlp)
        return select_labels(labels, words, min_positives=least, exempt=(CONTEXT,)).features
    except UserError:  # all are the same, or none is frequent enough: these are not the labels
        return None


def least_positives(windows: Windows) -> int:
    """The paper asks for 30 positives; where most tags have fewer windows, for as many as those.

    A tag with less than half as many windows as the middle one does not lower it.
    """
    counts = list(Counter(windows.tags).values())
    usual = [count for count in counts if 2 * count >= median(counts)]
    return min(30, *usual)


def _make_or_load_windows(
    settings: LanguageSettings,
    language_model: LanguageModel,
    nlp: Language,
    folder: Path,
    columns: Sequence[str],
    progress: bool,
) -> Windows:
    path = folder / WINDOWS
    if path.exists():
        kept = load(path)
        if isinstance(kept, Windows) and set(columns) <= set(kept.columns):
            return kept
    own_words = KeptContinuation(
        partial(greedy_continuation, language_model.model), folder / NEXT_WORDS
    )
    with own_words if settings.agree else nullcontext() as continuation:
        windows = context_windows(
            _open_texts(settings, folder, progress),
            language_model.tokenizer,
            SharedTagger(nlp, settings.pipeline, language_model.model),
            length=settings.length,
            per_tag=settings.per_tag,
            per_story=settings.per_story,
            continuation=continuation,
            prepend_bos=settings.bos,
            keep_columns=columns,
            seed=settings.seed,
            max_texts=settings.max_texts,
            missing=settings.missing,
            progress=progress,
        )
    save(windows, path)
    (folder / NEXT_WORDS).unlink(missing_ok=True)
    return windows


def check_texts(settings: LanguageSettings, folder: Path) -> None:
    """Refuse a text that is not there before a model is loaded; windows that are kept need none.

    Raises:
        OSError, UserError: as ``read_texts``, or for a column of a label that the text lacks; says
            what to pass.
    """
    if settings.dataset == SAMPLED or (folder / WINDOWS).exists():
        return
    first = next(_read_data_set(settings))
    for name, rule in parse_labels(settings.labels).items():
        if isinstance(rule, str) and rule not in first.row:
            raise UserError(
                f"label {name!r}: {settings.dataset} has no column {rule!r}; there are "
                f"{list(first.row)}."
            )


def _read_data_set(settings: LanguageSettings) -> Texts:
    return read_texts(
        settings.dataset, column=settings.column, split=settings.split, missing=settings.missing
    )


def _open_texts(settings: LanguageSettings, folder: Path, progress: bool) -> Iterable[Text]:
    if settings.dataset != SAMPLED:
        return _read_data_set(settings)
    path = folder / "sampled_stories.json"
    if not path.exists():
        stories = sample_stories(settings.sampled, settings.seed, progress=progress)
        write_kept(path, {"stories": stories})
    with refuse_damaged(path, "sample of stories"):
        return read_texts(read_kept(path)["stories"])
