"""What candidates and baselines reach in a setting, and the lead of a choice over the settings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from benchmarks.default_kernel.kernels import ALL, EVERY, LATER, Candidate
from benchmarks.default_kernel.settings import Setting
from feature_sets.feature_set import FeatureSet
from tl_entk.alignment.best_directions import best_directions
from tl_entk.alignment.bootstrap import Samples
from tl_entk.alignment.overlap import subspace_overlap
from tl_entk.alignment.readout_sweep import validation
from tl_entk.alignment.splitting import halves

RESAMPLES = 1000
# places of a layer among all: a rule that a new model can be given
RULES = {"last": 1.0, "second last": None, "three quarters": 0.75, "middle": 0.5, "quarter": 0.25}


def rule_layers(n_layers: int) -> dict[str, str]:
    """Rule to the number of the layer, counted from 0."""
    found = {
        rule: round(share * n_layers) - 1 if share else n_layers - 2
        for rule, share in RULES.items()
    }
    return {rule: str(max(0, layer)) for rule, layer in found.items()}


def judge(scores: Tensor, setting: Setting, resamples: int = 1) -> Samples:
    """Figure of every feature on the test half: average precision, or the share of a wave.

    Waves are not binary, and no direction is chosen for them: their figure is the share of the
    span of sine and cosine that the directions' span holds.
    """
    features = setting.features
    if all(features.is_binary):
        table = best_directions(
            scores.double(), features, seed=setting.seed, n_bootstrap=resamples, n_permutations=0
        )
        return table.samples["ap"]
    shares = np.array(
        [
            subspace_overlap(scores.double(), torch.from_numpy(features.group(name).values)).share
            for name in features.group_names()
        ]
    )
    rng = np.random.default_rng(setting.seed)
    drawn = rng.integers(len(shares), size=(resamples, len(shares)))
    return Samples(shares, shares[drawn])


def validate(scores: Tensor, setting: Setting) -> float:
    """What the scores reach within the train half."""
    features: FeatureSet = setting.features
    if not all(features.is_binary):
        return float(judge(scores, setting).values.mean())
    train, _ = halves(features, seed=setting.seed)
    return validation(scores.double()[train], features.rows(train), setting.seed)


def macro(samples: Samples) -> tuple[float, np.ndarray]:
    """Mean over features, and the resamples' mean moved to it."""
    value = float(samples.values.mean())
    means = np.nanmean(samples.resampled, 1)
    return value, means - means.mean() + value


def drawn_by_layer(candidate: Candidate) -> bool:
    """Whether the figure by layer shows it: kernels of one layer, scaled as the default is."""
    one_of = candidate._replace(readout="", component="", layer="")
    return one_of == Candidate("", "", EVERY, "cosine", False, "") and candidate.layer.isdigit()


def by_rule(candidate: Candidate, numbers: Mapping[str, str]) -> list[Candidate]:
    """The candidate under every rule that names its layer."""
    if candidate.layer in (ALL, LATER):
        return [candidate]
    return [
        candidate._replace(layer=rule)
        for rule, layer in numbers.items()
        if layer == candidate.layer
    ]
