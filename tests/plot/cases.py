"""One realistic call of every plot, by name."""

from functools import cache

import numpy as np
import torch

import tl_entk
from feature_sets import FeatureSet
from tl_entk import plot

N = 120
RNG = np.random.default_rng(0)
HIDDEN = RNG.standard_normal((N, 12))
TAGS = ["NOUN" if x > 0.4 else "VERB" if x > -0.5 else "DET" for x in HIDDEN[:, 0]]
HOSTILE = 'it\'s "x" \\ <script>alert(1)</script> \u202e🦊'


def features():
    columns = {"NOUN": HIDDEN[:, 0] > 0.4, "DET": HIDDEN[:, 0] <= -0.5, "long": HIDDEN[:, 1] > 0}
    families = {"NOUN": "tag", "DET": "tag", "long": "word"}
    return FeatureSet.from_dict(columns, families=families)


@cache
def eigen(seed=0):
    rng = np.random.default_rng(seed)
    states = HIDDEN + 0.5 * rng.standard_normal(HIDDEN.shape)
    return tl_entk.eigendecompose(states @ states.T, k=6)


@cache
def tables():
    fast = {"n_bootstrap": 20, "n_permutations": 5}
    return {
        "eNTK": tl_entk.best_directions(eigen(), features(), **fast),
        "random": tl_entk.best_directions(tl_entk.random_directions(N, 6), features(), **fast),
    }


@cache
def comparison():
    return tl_entk.compare(eigen(), features(), HIDDEN, n_bootstrap=20, probe="ridge")


def course(records=9):
    steps = 100 * torch.arange(records)
    rise = torch.linspace(0, 1, records, dtype=torch.float64)
    return tl_entk.Course(
        steps,
        {"total": torch.ones(records, 3)},
        {"a+b": 4 * rise**2, "a": 3 * rise},
        {"a+b": 4, "a": 4},
        {"test_accuracy": rise.where(steps > 0, torch.nan)},
        {},
    )


SHARES = {
    "embed.W_E": 0.05,
    "blocks.0.attn.W_Q": 0.3,
    "blocks.0.attn.W_Q[0]": 0.1,
    "blocks.0.attn.W_Q[1]": 0.2,
    "blocks.0.mlp.W_in": 0.15,
    "blocks.1.mlp.W_in": 0.2,
    "unembed.W_U": 0.3,
}
OTHER_SHARES = {**SHARES, "blocks.1.mlp.W_in": 0.1, "unembed.W_U": 0.4}
OVERLAP = tl_entk.subspace_overlap(HIDDEN[:, :4], HIDDEN[:, 2:6])

PARTS = tl_entk.PositionContributions(
    torch.tensor(RNG.standard_normal((2, 3, 1))), torch.ones(2, 1), torch.zeros(1)
)

CASES = {
    "spectrum": lambda **to: plot.spectrum({"a": eigen(), "b": eigen(1)}, [1, 3], **to),
    "spectrum, many": lambda **to: plot.spectrum({str(i): eigen(i) for i in range(11)}, **to),
    "spectrum, linear": lambda **to: plot.spectrum(
        np.array([3.0, 1.0, -0.1]), log=False, relative=False, **to
    ),
    "alignment": lambda **to: plot.alignment(eigen(), features(), **to),
    "alignment, groups": lambda **to: plot.alignment(eigen(), features(), by="group", **to),
    "alignment, matrix": lambda **to: plot.alignment(
        np.eye(2), names=([HOSTILE, "b"], ["x", "y"]), **to
    ),
    "alignment, angles": lambda **to: plot.alignment(OVERLAP, **to),
    "shares": lambda **to: plot.shares(SHARES, **to),
    "shares, heads": lambda **to: plot.shares(SHARES, heads=True, **to),
    "shares, features": lambda **to: plot.shares({"NOUN": SHARES, "DET": OTHER_SHARES}, **to),
    "shares, less mean": lambda **to: plot.shares(
        {"NOUN": SHARES, HOSTILE: OTHER_SHARES}, less_mean=True, **to
    ),
    "directions": lambda **to: plot.directions(tables(), **to),
    "directions, one": lambda **to: plot.directions(tables()["eNTK"], "auroc", top=2, **to),
    "compare, scores": lambda **to: plot.compare(comparison(), panel="scores", **to),
    "compare, difference": lambda **to: plot.compare(
        comparison(), panel="difference", against=["PCA", "random"], **to
    ),
    "course": lambda **to: plot.course(
        course(), metrics=["test_accuracy"], marks={"onset": 400, "never": None}, **to
    ),
    "course, log": lambda **to: plot.course(course(), overlaps=["a"], log=True, **to),
    "contributions": lambda **to: plot.contributions(PARTS, ["the", HOSTILE, "\n"], 1, **to),
    "windows": lambda **to: plot.windows(eigen(), 0, TAGS, **to),
    "windows, hostile": lambda **to: plot.windows(
        eigen(), 1, [HOSTILE if tag == "NOUN" else tag for tag in TAGS], sign=-1, **to
    ),
    "windows, no labels": lambda **to: plot.windows(HIDDEN, 2, **to),
}


def values_in(spec):
    """Every mapping in a specification."""
    if isinstance(spec, dict):
        yield spec
        for value in spec.values():
            yield from values_in(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from values_in(value)
