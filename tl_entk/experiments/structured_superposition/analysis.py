"""Superposition with structure: where the spectra drop, and which methods find the features.

Thin wiring: train, decompose the flattened kernel before and after training, and set its top n
eigendirections beside PCA, ICA and sparse autoencoders of the same examples.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.directions.cliffs import Cliff, find_cliffs
from tl_entk.directions.eigen import EigenDirections
from tl_entk.experiments.clock import Clock
from tl_entk.experiments.structured_superposition.cosines import (
    States,
    best_cosines,
    matched_cosines,
)
from tl_entk.experiments.structured_superposition.methods import compare_methods
from tl_entk.experiments.structured_superposition.model import seeded_structured_model
from tl_entk.experiments.structured_superposition.settings import StructureSettings
from tl_entk.experiments.superposition.analysis import REPRESENTED, last_cliff_modes
from tl_entk.experiments.superposition.model import ToyModel, TrainedToyModel, fit_toy_model
from tl_entk.linearization.build_jacobian import jacobian

Ground = Literal["scores", "hidden", "expanded"]
# The spectra: the kernel's, its before training, and that of the outputs' second moments, which
# their PCA has too, but centered, as the kernel is not.
TRAINED, UNTRAINED, OUTPUTS = "eNTK", "eNTK before training", "outputs"
_PLURALS = {"parent": "parents", "child": "children", "part": "parts", "whole": "wholes"}


@dataclass(frozen=True, eq=False)
class StructureResult:
    """What one structured toy model shows.

    Attributes:
        settings: of the model.
        loss: at every hundredth step.
        diagonal: (n,) of W^T W.
        eigenvalues: name of a spectrum to its leading eigenvalues.
        scores: method to (k, n) |cos| with the true features by scores over the examples.
        hidden: method to (k, n) in hidden space.
        expanded: method to (k, n) over examples and outputs.
        converged: method with a rotation to whether FastICA converged.
        autoencoder: of the sparse autoencoder: penalty, share of variance explained, active
            latents per example, latents that are never active.
        seconds: wall time of each part.
    """

    settings: dict[str, Any]
    loss: list[float]
    diagonal: Float[Tensor, " n"]
    eigenvalues: dict[str, Float[Tensor, " _modes"]]
    scores: dict[str, Float[Tensor, "_k n"]]
    hidden: dict[str, Float[Tensor, "_k n"]]
    expanded: dict[str, Float[Tensor, "_k n"]]
    converged: dict[str, bool]
    autoencoder: dict[str, float]
    seconds: dict[str, float]

    @property
    def parsed(self) -> StructureSettings:
        """The settings as such."""
        return StructureSettings(**self.settings)

    @property
    def name(self) -> str:
        """What the structure is called in figures and tables."""
        return self.parsed.name

    @property
    def known_numbers(self) -> dict[str, int]:
        """What a cliff could count, by name; several may be of one number."""
        kinds, n = self.parsed.kinds, len(self.diagonal)
        features = {_PLURALS[k]: kinds.count(k) for k in dict.fromkeys(kinds) if k in _PLURALS}
        pairs = {"pairs": n // 2} if set(kinds) == {"paired"} else {}
        represented = int((self.diagonal > REPRESENTED).sum())
        counts = {"width m": self.parsed.m, **pairs, **features, "features": n}
        return {**counts, "represented": represented}

    def drops(self, spectrum: str) -> list[Cliff]:
        """All relative drops after modes 2 to 1.4 n, the largest first."""
        values = self.eigenvalues[spectrum][: last_cliff_modes(len(self.diagonal))]
        return find_cliffs(values, count=len(values), skip=2)

    def cosines(self, method: str, ground: Ground, *, matched: bool) -> Float[Tensor, " n"]:
        """Every feature's largest |cos|, or that of its one-to-one matched direction."""
        found: Tensor = getattr(self, ground)[method]
        return matched_cosines(found) if matched else best_cosines(found)

    def mean_cosine(
        self, method: str, ground: Ground, *, matched: bool = False, kind: str | None = None
    ) -> float:
        """Mean over the features, or those of one kind."""
        found = self.cosines(method, ground, matched=matched)
        chosen = [kind in (None, one) for one in self.parsed.kinds]
        return float(found[torch.tensor(chosen)].mean())


def run_structure(settings: StructureSettings, *, progress: bool = False) -> StructureResult:
    """Train a toy model with structured features and analyze it.

    Args:
        settings: of the model.
        progress: show a progress bar.

    Raises:
        UserError: if the training diverges, or a feature is zero in every example.
    """
    clock = Clock()
    start, x = seeded_structured_model(settings)
    trained = fit_toy_model(settings, copy.deepcopy(start), x, progress=progress)
    clock.lap("training")
    return analyze(settings, start, trained, clock)


def analyze(
    settings: StructureSettings, start: ToyModel, trained: TrainedToyModel, clock: Clock
) -> StructureResult:
    """Spectra and alignments, in float64.

    Args:
        settings: of the model.
        start: the model before training.
        trained: the same after it.
        clock: of the run.
    """
    states, n = read_states(trained.model, trained.x), settings.features
    eigen, before = (_decompose(model, states.x, n) for model in (trained.model, start))
    clock.lap("kernels")
    compared = compare_methods(states, eigen.vectors[:, :, :n], settings.seed)
    clock.lap("comparison")
    return StructureResult(
        settings.as_dict(),
        trained.loss,
        states.weight.square().sum(0),
        {
            TRAINED: eigen.eigenvalues,
            UNTRAINED: before.eigenvalues,
            OUTPUTS: torch.linalg.svdvals(states.outputs).square(),
        },
        {method: found.scores for method, found in compared.alignments.items()},
        {method: found.hidden for method, found in compared.alignments.items()},
        {method: found.expanded for method, found in compared.alignments.items()},
        compared.converged,
        compared.autoencoder,
        clock.seconds,
    )


def read_states(model: ToyModel, x: Float[Tensor, "N n"]) -> States:
    """What a model computes on its samples, in float64.

    Example:
        >>> states = read_states(ToyModel(torch.eye(2)), torch.eye(2))
        >>> states.outputs.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    wide, x = copy.deepcopy(model).double(), x.double()
    with torch.no_grad():
        return States(x, wide.W.detach(), wide.encode(x), wide(x))


def _decompose(model: ToyModel, x: Float[Tensor, "N n"], n: int) -> EigenDirections:
    """As many pairs of the flattened kernel as the search for cliffs takes, or as there are."""
    J = jacobian(copy.deepcopy(model).double(), x)
    return J.eigendecompose(min(last_cliff_modes(n), *J.shape))
