"""Toy models of superposition: spectra of the flattened eNTK, and the features it picks out.

Thin wiring: train, decompose the (N C) x (N C) kernel through J^T J for several importance
exponents beta, and compare its top eigenvectors with the expanded feature vectors.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from feature_sets.superposition import superposition
from tl_entk.directions.cliffs import Cliff, find_cliffs
from tl_entk.experiments.linear_fits import linear_fits
from tl_entk.experiments.superposition.model import (
    TrainedToyModel,
    seeded_toy_model,
    train_toy_model,
)
from tl_entk.experiments.superposition.settings import BETAS, SuperpositionSettings, check_betas
from tl_entk.linearization.build_jacobian import jacobian

MODES = 120
# W^T W has about 1 on the diagonal where a feature is represented
REPRESENTED = 0.75


@dataclass(frozen=True, eq=False)
class SuperpositionResult:
    """What one toy model's kernels show.

    Attributes:
        settings: of the regime.
        loss: importance-weighted error at every hundredth step.
        products: (n, n), W^T W.
        eigenvalues: beta to the leading eigenvalues of the flattened kernel.
        alignments: beta to (k, n): |cos| of the top k = n eigenvectors with the expanded feature
            vectors, each eigenvector's row then scaled to norm 1.
        fits: rows of the linearization, before and after training; empty if not asked for.
        seconds: wall time of each part.
    """

    settings: dict[str, Any]
    loss: list[float]
    products: Float[Tensor, "n n"]
    eigenvalues: dict[str, Float[Tensor, " _modes"]]
    alignments: dict[str, Float[Tensor, "k n"]]
    fits: list[dict[str, Any]]
    seconds: dict[str, float]

    @property
    def name(self) -> str:
        """What the regime is called in figures and tables."""
        return SuperpositionSettings(**self.settings).name

    @property
    def represented(self) -> int:
        """Number of diagonal entries of W^T W above 0.75."""
        return int((self.products.diagonal() > REPRESENTED).sum())

    def cliff(self, beta: str = "0") -> Cliff | None:
        """The largest relative drop near the number n of features: among modes 0.4 n to 1.4 n."""
        n = len(self.products)
        values = self.eigenvalues[beta][: last_cliff_modes(n)]
        return next(iter(find_cliffs(values, count=1, skip=int(0.4 * n))), None)

    def first_cliff(self, beta: str = "0") -> Cliff | None:
        """The largest relative drop after the first few modes and before mode n: 9 to n - 1."""
        values = self.eigenvalues[beta][: len(self.products)]
        return next(iter(find_cliffs(values, count=1, skip=9)), None)

    def picked(self, beta: str) -> tuple[int, float]:
        """Distinct features that the top n eigenvectors pick out, and how clearly.

        Each picks the feature of its largest entry; the second number is the mean of those.
        """
        largest = self.alignments[beta].max(1)
        return len(largest.indices.unique()), float(largest.values.mean())


def last_cliff_modes(n: int) -> int:
    """How many eigenvalues it takes to look for the last cliff of n features.

    Example:
        >>> last_cliff_modes(50)
        71
    """
    return int(1.4 * n) + 1


def run_superposition(
    settings: SuperpositionSettings,
    betas: Sequence[float] = BETAS,
    *,
    fits: bool = True,
    progress: bool = False,
) -> SuperpositionResult:
    """Train a toy model and analyze it.

    Args:
        settings: of the regime.
        betas: exponents; Jacobian rows of output i are multiplied by I_i^(beta / 2). 0, where
            the cliffs are looked for, is always among them.
        fits: whether to check the linearization too.
        progress: show a progress bar.

    Raises:
        UserError: for settings or betas out of range.

    Source: arXiv 2510.00468, section 3.
    """
    check_betas(betas)
    started = time.perf_counter()
    trained = train_toy_model(settings, progress=progress)
    seconds = {"training": time.perf_counter() - started}
    return analyze(trained, betas, fits=fits, seconds=seconds)


def analyze(
    trained: TrainedToyModel,
    betas: Sequence[float] = BETAS,
    *,
    fits: bool = True,
    seconds: dict[str, float] | None = None,
) -> SuperpositionResult:
    """Spectra, alignments and linear fits of a trained toy model, in float64."""
    model, x = copy.deepcopy(trained.model).double(), trained.x.double()
    weights = trained.importance
    seconds = dict(seconds or {})
    started = time.perf_counter()
    J = jacobian(model, x)
    expanded = superposition(x).flatten(0, 1)
    eigenvalues, alignments = {}, {}
    # past the n-th, where the last cliff is looked for
    modes = min(max(MODES, last_cliff_modes(trained.settings.features)), *J.shape)
    for beta in sorted({0.0, *betas}):
        eigen = J.weighted(weights ** (beta / 2)).eigendecompose(modes)
        key = f"{beta:g}"
        eigenvalues[key] = eigen.eigenvalues
        top = eigen.vectors.flatten(0, 1)[:, : trained.settings.features]
        alignments[key] = torch.nn.functional.normalize((top.T @ expanded).abs(), dim=1)
    seconds["kernels"] = time.perf_counter() - started
    started = time.perf_counter()
    found = _fit_linearly(trained, model, x) if fits else []
    seconds["linearization"] = time.perf_counter() - started
    return SuperpositionResult(
        trained.settings.as_dict(),
        trained.loss,
        (model.W.T @ model.W).detach(),
        eigenvalues,
        alignments,
        found,
        seconds,
    )


class _Weighted(nn.Module):
    """A toy model whose outputs count by their importance, as in its training loss."""

    def __init__(self, model: nn.Module, importance: Float[Tensor, " n"]) -> None:
        super().__init__()
        self.model = model
        self.root = importance.sqrt()

    def forward(self, x: Float[Tensor, "N n"]) -> Float[Tensor, "N n"]:
        return self.model(x) * self.root


def _fit_linearly(trained: TrainedToyModel, model: nn.Module, x: Tensor) -> list[dict[str, Any]]:
    """The linearization before and after training: outputs all alike, and by importance."""
    start = seeded_toy_model(trained.settings)[0].double()
    models = {"before training": start, "trained": model}
    weights = trained.importance
    by_importance = {
        f"{name}, by importance": _Weighted(plain, weights) for name, plain in models.items()
    }
    return [*linear_fits(models, x, x), *linear_fits(by_importance, x, x * weights.sqrt())]
