"""The settings that the choice is made over: models, texts, and what the features are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from feature_sets import fourier
from feature_sets.feature_set import FeatureSet
from feature_sets.pipelines import load_pipeline
from tl_entk.alignment.frequencies import embedding_spectrum, key_frequencies
from tl_entk.experiments import ModularSettings
from tl_entk.experiments.language.data import language_data
from tl_entk.experiments.language.settings import SAMPLED, LanguageSettings, windows_name
from tl_entk.experiments.modular_transformer.model import weights_of
from tl_entk.experiments.modular_transformer.settings import run_name
from tl_entk.experiments.modular_transformer.training import train
from tl_entk.language.loading import load_language_model
from tl_entk.language.next_words import greedy_continuation

MLP_AND_ATTENTION = {"W_out": "mlp.W_out", "W_in": "mlp.W_in", "W_O": "attn.W_O"}


@dataclass(frozen=True)
class Setting:
    """Model, examples and features of one setting.

    Attributes:
        model: a TransformerLens model.
        tokens: (n, t).
        features: of the examples.
        predicted: (n,) the most probable token of each.
        seed: of halves and resamples.
    """

    model: Any
    tokens: Tensor
    features: FeatureSet
    predicted: Tensor
    seed: int = 0


@dataclass(frozen=True)
class Places:
    """Where things lie that are not part of this project: GGUF file, stories, spaCy pipeline."""

    out: Path
    gemma: str | None
    text: str | None
    pipeline: str | None


def language(places: Places, **changes: Any) -> Setting:
    """A language model on text; GEMMA and TEXT stand for the places given."""
    given = {"GEMMA": places.gemma, "TEXT": places.text}
    missing = [value for value in changes.values() if value in given and not given[value]]
    if missing:
        raise SystemExit(f"this setting needs --{missing[0].lower()}")
    values = {name: given.get(value, value) for name, value in changes.items()}
    settings = LanguageSettings(**values, pipeline=places.pipeline, layers=(0,))
    found = load_language_model(settings.model)
    data = language_data(
        settings,
        found,
        load_pipeline(settings.pipeline),
        places.out / windows_name(settings),
        progress=True,
    )
    predicted = torch.tensor(data.predicted)
    return Setting(found.model, data.windows.tokens, data.features, predicted, settings.seed)


def modular(places: Places, seed: int = 2) -> Setting:
    """The modular-addition Transformer; features are the waves of its key frequencies."""
    settings = ModularSettings(seed=seed)
    trained = train(settings, "bridge", places.out / "models" / run_name(settings, "bridge"))
    # the row after the p numbers is that of "="
    embedding = weights_of(trained.model)["embed.W_E"][:-1]
    keys = sorted(key_frequencies(embedding_spectrum(embedding)))
    a, b = trained.data.a.numpy(), trained.data.b.numpy()
    features = fourier(a, b, settings.p, frequencies=keys, families=["a", "b", "a+b"])
    predicted = greedy_continuation(trained.model, trained.data.tokens, 1)[:, 0]
    return Setting(trained.model, trained.data.tokens, features, predicted, seed)


_GEMMA = dict(model="GEMMA", dataset="TEXT", length=64)
SETTINGS: dict[str, Callable[[Places], Setting]] = {
    "Gemma": partial(language, **_GEMMA, bos=False),
    "Gemma, <bos>": partial(language, **_GEMMA, bos=True),
    "Gemma, no agreement": partial(language, **_GEMMA, bos=False, agree=False),
    "story model, real text": partial(language, dataset="TEXT", per_tag=64),
    "story model, sampled text": partial(language, dataset=SAMPLED, per_tag=64, sampled=800),
    "modular addition": modular,
}
