"""The modular-addition MLP: spectra, cliffs, rotations and their course through training.

Thin wiring: train with a Track, keep the model at some epochs, and look at the kernels' cliffs
there before and after rotation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from scipy.sparse import csr_array
from torch import Tensor, nn

from feature_sets import FeatureSet, fourier
from tl_entk.alignment.overlap import group_projections, subspace_overlap
from tl_entk.directions.cliffs import Cliff, find_cliffs
from tl_entk.directions.eigen import EigenDirections, eigendecompose
from tl_entk.directions.laplacians import torus_laplacians
from tl_entk.directions.rotation import rotate_by_smoothness
from tl_entk.dynamics.course import Course
from tl_entk.dynamics.track import Track
from tl_entk.dynamics.watch import Watch
from tl_entk.experiments.clock import Clock
from tl_entk.experiments.linear_fits import linear_fits
from tl_entk.experiments.modular_mlp.model import MLPData, MLPSettings, seeded_mlp, train_mlp
from tl_entk.experiments.rotations import (
    DIFFERENCE,
    NESTED,
    NONE,
    mark_residues,
    measure_purities,
    rotate_every_way,
)
from tl_entk.kernel.blocks import kernel_blocks
from tl_entk.linearization.build_jacobian import jacobian
from tl_entk.model.readouts import ReadoutLike
from tl_entk.tools.progress import Progress

FULL, LAYER_1, LAYER_2 = "total", "W1.weight", "W2.weight"
FAMILIES = ("a", "b", "a+b", "a-b")
LAYER_1_FIRST = "layer 1, first cliff"
FULL_FIRST, FULL_SECOND = "both layers, first cliff", "both layers, second cliff"
# which kernel, which of its cliffs, and the families that it should hold
CLIFFS = {
    LAYER_1_FIRST: (LAYER_1, 0, ("a", "b")),
    FULL_FIRST: (FULL, 0, ("a", "b")),
    FULL_SECOND: (FULL, 1, ("a+b", "a-b")),
}
SUM = f"{FULL_SECOND} on a+b"


@dataclass(frozen=True, eq=False)
class MLPResult:
    """What the kernels of one training show.

    Attributes:
        settings: of the training.
        epochs: those whose directions were kept, the last being the trained model's.
        eigenvalues: kernel to its leading eigenvalues after training, by layer and collapse.
        start: the same of the class trace at epoch 0.
        projections: :func:`projection_key` to (modes, groups): shares of the squared norm of each
            direction on each (family, frequency).
        groups: names of those groups, by cliff.
        purities: rows of the rotations side by side, after training.
        overlaps: cliff to family to overlap after training, of at most 2 floor(p / 2).
        fits: rows of the linearization; empty if not asked for.
        seconds: wall time of each part.
    """

    settings: dict[str, Any]
    epochs: list[int]
    eigenvalues: dict[str, Float[Tensor, " _k"]]
    start: dict[str, Float[Tensor, " _k"]]
    projections: dict[str, Float[Tensor, "_k _g"]]
    groups: dict[str, list[str]]
    purities: list[dict[str, Any]]
    overlaps: dict[str, dict[str, float]]
    fits: list[dict[str, Any]]
    seconds: dict[str, float]

    def cliffs(self, kernel: str, *, start: bool = False) -> list[Cliff]:
        """The three largest drops of a kernel's spectrum, largest first."""
        return find_cliffs((self.start if start else self.eigenvalues)[kernel], count=3)

    def shares(self, epoch: int, cliff: str, rotation: str) -> Float[Tensor, "_k _g"]:
        """Shares of a cliff's directions on the groups, at one of the epochs, as rotated."""
        return self.projections[projection_key(epoch, cliff, rotation)]


def projection_key(epoch: int, cliff: str, rotation: str) -> str:
    """Under what the projections of one rotation are kept: files have text for names."""
    return f"{epoch}/{cliff}/{rotation}"


def recorded_epochs(settings: MLPSettings) -> list[int]:
    """Every fifth epoch up to 200, where this model groks, then every twenty-fifth, and the last.

    Example:
        >>> recorded_epochs(MLPSettings(epochs=11))
        [0, 5, 10, 11]
    """
    last = settings.epochs
    wanted = {*range(0, 200, 5), *range(200, last, 25), last}
    return sorted(epoch for epoch in wanted if epoch <= last)


def kept_epochs(settings: MLPSettings) -> list[int]:
    """Epochs whose directions are shown: untrained, two while the default model groks, the last.

    Example:
        >>> kept_epochs(MLPSettings())
        [0, 75, 100, 500]
    """
    return sorted({e for e in (0, 75, 100) if e < settings.epochs} | {settings.epochs})


def cliff_modes(settings: MLPSettings, number: int) -> range:
    """Modes of the first (0) or the second (1) cliff; mode 0 is the mean.

    Example:
        >>> cliff_modes(MLPSettings(), 1)
        range(57, 113)
    """
    first = 1 + number * settings.cliff
    return range(first, first + settings.cliff)


def run_modular_mlp(
    settings: MLPSettings,
    folder: str | Path,
    *,
    collapses: bool = True,
    fits: bool = True,
    progress: bool = False,
) -> tuple[MLPResult, Course]:
    """Train the MLP, follow its kernels, and analyze them.

    Args:
        settings: of the task.
        folder: where the course is written.
        collapses: also single classes, the class mean and the flattened kernel.
        fits: also the linearization, before and after grokking.
        progress: show progress bars.

    Returns:
        The analysis, and the course of eigenvalues, overlaps and metrics.

    Raises:
        OSError: if the folder cannot be written to.

    Source: arXiv 2510.00468 (the MLP), appendices C and D.
    """
    clock = Clock()
    data = seeded_mlp(settings)[1]
    features = torus_features(data, settings.p)
    track = follow_cliffs(settings, data, features, Path(folder) / "course.safetensors")
    models: dict[int, nn.Module] = {}

    def callback(epoch: int, model: nn.Module, metrics: Callable[[], dict[str, float]]) -> None:
        track(epoch, model, metrics)
        if epoch in kept_epochs(settings):
            models[epoch] = copy.deepcopy(model).eval()

    train_mlp(settings, callback=callback, progress=progress)
    clock.lap("training and tracking")
    course = track.course()
    with Progress("analyzing", 1 + fits, progress) as bar:
        result = analyze(settings, models, data, features, collapses=collapses, clock=clock)
        bar.advance(1, "the linearization")
        if fits:
            result.fits.extend(_fit_linearly(settings, models, data))
            clock.lap("linearization")
    result.seconds.update(clock.seconds, tracking=course.tracking_seconds)
    return result, course


def torus_features(data: MLPData, p: int) -> FeatureSet:
    """Fourier features of a, b, a + b and a - b at every frequency."""
    return fourier(data.a.numpy(), data.b.numpy(), p, families=FAMILIES)


def follow_cliffs(settings: MLPSettings, data: MLPData, features: FeatureSet, path: Path) -> Track:
    """A Track of layer 1 and of both layers, with the overlaps of their cliffs."""
    path.unlink(missing_ok=True)  # a training starts anew
    watches = {
        f"{cliff} on {family}": Watch(
            kernel, cliff_modes(settings, number), features.family(family)
        )
        for cliff, (kernel, number, families) in CLIFFS.items()
        for family in families
    }
    return Track(
        lambda model: kernel_blocks(model, data.x, "class_trace"),
        watches,
        at=recorded_epochs(settings),
        k=_leading(settings),
        path=path,
        provenance=settings.as_dict(),
    )


def analyze(
    settings: MLPSettings,
    models: Mapping[int, nn.Module],
    data: MLPData,
    features: FeatureSet,
    *,
    collapses: bool,
    clock: Clock,
) -> MLPResult:
    """Spectra, overlaps and rotations of the models kept."""
    torus = torus_laplacians(data.a.numpy(), data.b.numpy(), settings.p)
    first, last = min(models), settings.epochs
    spectra: dict[int, dict[str, Tensor]] = {}
    projections: dict[str, Tensor] = {}
    groups: dict[str, list[str]] = {}
    for epoch, model in sorted(models.items()):
        kernels, eigen = _decompose(settings, model, data)
        spectra[epoch] = {name: found.eigenvalues for name, found in eigen.items()}
        for cliff, (kernel, number, families) in CLIFFS.items():
            vectors = _take_cliff(settings, eigen[kernel], number)
            laplacians = [torus[family] for family in families]
            for name, rotated in _rotate(vectors, laplacians).items():
                shares = group_projections(rotated, features.family(*families))
                projections[projection_key(epoch, cliff, name)], groups[cliff] = shares
    # the loop ends with the trained model
    purities, overlaps = _judge_cliffs(settings, kernels, eigen, data, features)
    clock.lap("rotations")
    after = dict(spectra[last])
    if collapses:
        after |= _collapse_otherwise(settings, models[last], data)
        clock.lap("other collapses")
    return MLPResult(
        settings=settings.as_dict(),
        epochs=sorted(models),
        eigenvalues=after,
        start=spectra[first],
        projections=projections,
        groups=groups,
        purities=purities,
        overlaps=overlaps,
        fits=[],
        seconds={},
    )


def _decompose(
    settings: MLPSettings, model: nn.Module, data: MLPData
) -> tuple[dict[str, Tensor], dict[str, EigenDirections]]:
    """The class-trace kernels of both layers together and of each, and their leading directions."""
    blocks = kernel_blocks(model, data.x, "class_trace")
    kernels = {FULL: blocks.total(), **blocks}
    # a cliff has its number of directions, beyond the rank of a network of few units too
    leading = range(_leading(settings))
    return kernels, {
        name: eigendecompose(kernel, None).take(leading) for name, kernel in kernels.items()
    }


def _take_cliff(settings: MLPSettings, eigen: EigenDirections, number: int) -> Tensor:
    """Directions of the first (0) or the second (1) cliff."""
    modes = cliff_modes(settings, number)
    return eigen.vectors[:, modes.start : modes.stop]


def _rotate(vectors: Tensor, laplacians: Sequence[csr_array]) -> dict[str, Tensor]:
    """A cliff's directions as they are, and rotated by what is known of the torus."""
    first, second = laplacians
    return {
        NONE: vectors,
        NESTED: rotate_by_smoothness(vectors, [first, second]).vectors,
        DIFFERENCE: rotate_by_smoothness(vectors, [first - second]).vectors,
    }


def _judge_cliffs(
    settings: MLPSettings,
    kernels: Mapping[str, Tensor],
    eigen: Mapping[str, EigenDirections],
    data: MLPData,
    features: FeatureSet,
) -> tuple[list[dict[str, Any]], dict[str, dict[str, float]]]:
    """Purities of every cliff under every rotation, and its overlap with every family."""
    torus = torus_laplacians(data.a.numpy(), data.b.numpy(), settings.p)
    purities: list[dict[str, Any]] = []
    overlaps: dict[str, dict[str, float]] = {}
    for cliff, (kernel, number, families) in CLIFFS.items():
        vectors = _take_cliff(settings, eigen[kernel], number)
        laplacians = [torus[family] for family in families]
        rotated = rotate_every_way(vectors, kernels[kernel], laplacians, seed=settings.seed)
        residues = mark_residues(data.a, data.b, settings.p, families)
        purities += measure_purities(rotated, features, residues, cliff=cliff)
        overlaps[cliff] = {
            family: subspace_overlap(vectors, features.family(family)).overlap
            for family in FAMILIES
        }
    return purities, overlaps


def _leading(settings: MLPSettings) -> int:
    """Eigenvalues kept: past both cliffs."""
    return min(settings.p**2, 2 * settings.cliff + 18)


def _collapse_otherwise(
    settings: MLPSettings, model: nn.Module, data: MLPData
) -> dict[str, Tensor]:
    """Leading eigenvalues of the kernel's other collapses, both layers together."""
    k = _leading(settings)
    readouts: dict[str, ReadoutLike] = {
        "class 0": ("class", 0),
        "class 1": ("class", 1),
        "class mean": "mean_logit",
    }
    found = {
        name: eigendecompose(kernel_blocks(model, data.x, readout).total(), k).eigenvalues
        for name, readout in readouts.items()
    }
    J = jacobian(model, data.x)
    flattened = J.eigendecompose(min(k, 2 * settings.p + 18, *J.shape), tol=1e-4)
    return {**found, "flattened": flattened.eigenvalues}


def _fit_linearly(
    settings: MLPSettings, models: Mapping[int, nn.Module], data: MLPData
) -> list[dict[str, Any]]:
    """The linearization before training, before grokking and after."""
    names = {0: "before training", 75: "epoch 75", settings.epochs: "trained"}
    return linear_fits(
        {names[epoch]: models[epoch] for epoch in names if epoch in models},
        data.x,
        data.targets,
        train=data.train,
        labels=data.labels,
        # its kernel's diagonal grows from 2e-5 to 3e-3 in training
        ridge=1e-2,
        relative_ridge=True,
        tol=1e-4,
    )
