"""The 1-layer modular-addition Transformer: blocks, eigendirections and the features they hold.

Thin wiring: train (or reuse) the model, compute the class-mean blocks of every weight and head,
find the key frequencies from the weights and from the kernel, line the top eigendirections of
every block up with the Fourier families, and compare with PCA, probes and chance.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from feature_sets import FeatureSet, fourier
from feature_sets.fourier import FAMILIES
from tl_entk.alignment.activations import activations_at
from tl_entk.alignment.attribution import component_shares
from tl_entk.alignment.baselines import leading_scores, random_directions
from tl_entk.alignment.comparison import Comparison, compare
from tl_entk.alignment.frequencies import embedding_spectrum, kernel_spectrum, key_frequencies
from tl_entk.alignment.overlap import subspace_overlap
from tl_entk.directions.cliffs import Cliff, find_cliffs
from tl_entk.directions.eigen import EigenDirections, eigendecompose
from tl_entk.directions.laplacians import torus_laplacians
from tl_entk.dynamics.course import Course
from tl_entk.experiments.clock import Clock
from tl_entk.experiments.modular_transformer.course import UNEMBED, follow_checkpoints
from tl_entk.experiments.modular_transformer.model import weights_of
from tl_entk.experiments.modular_transformer.settings import ModularSettings, run_name
from tl_entk.experiments.modular_transformer.task import ModularData
from tl_entk.experiments.modular_transformer.training import TrainedModel, train
from tl_entk.experiments.rotations import mark_residues, measure_purities, rotate_every_way
from tl_entk.kernel.blocks import kernel_blocks
from tl_entk.kernel.kernel_blocks import KernelBlocks
from tl_entk.model.classes import ModelClass

TOTAL = "total"
# the biases are frozen at zero
WEIGHTS_AND_HEADS = "*.W_*"
ACTIVATIONS = "blocks.0.hook_resid_post"
COMPARED = (UNEMBED, TOTAL)
PCA_ROW = "PCA of the residual stream"
RANDOM_ROW = "random directions"


@dataclass(frozen=True)
class OverlapRow:
    """Overlap of two runs of directions with Fourier families at the key frequencies.

    ``first`` is of modes 0..2F, ``second`` of modes 2F+1..4F, by family; the most there can be
    is 2F for either. ``cliffs`` are the largest drops of the block's spectrum; PCA and random
    directions, the rows to compare with, have none.
    """

    component: str
    first: dict[str, float]
    second: dict[str, float]
    cliffs: list[Cliff]


@dataclass(frozen=True)
class ModularResult:
    """Everything the experiment found.

    Attributes:
        settings: of the run.
        model_class: "hooked" or "bridge".
        trained: model, data and curve.
        blocks: class-mean kernel of every weight and head.
        weight_spectrum: frequency to power in W_E.
        kernel_spectrum: frequency to energy of the a + b pair in the W_U block.
        weight_frequencies: key frequencies from the first.
        kernel_frequencies: key frequencies from the second.
        features: all families at the key frequencies.
        eigen: leading eigendirections of every block and of the total.
        overlaps: table, a row per block and the total.
        shares: feature family to component to share of its kernel energy.
        comparisons: block to eNTK, PCA, random, all activations side by side.
        purities: rows of the rotations of the W_U block's modes 0..2F, side by side.
        course: eigenvalues, overlaps and accuracies at every checkpoint.
        seconds: wall time of each part.
    """

    settings: ModularSettings
    model_class: ModelClass
    trained: TrainedModel
    blocks: KernelBlocks
    weight_spectrum: dict[int, float]
    kernel_spectrum: dict[int, float]
    weight_frequencies: list[int]
    kernel_frequencies: list[int]
    features: FeatureSet
    eigen: dict[str, EigenDirections]
    overlaps: list[OverlapRow]
    shares: dict[str, dict[str, float]]
    comparisons: dict[str, Comparison]
    purities: list[dict[str, Any]]
    course: Course
    seconds: dict[str, float]

    @property
    def n_frequencies(self) -> int:
        """F, the number of key frequencies found from the weights."""
        return len(self.weight_frequencies)


def run_modular_transformer(
    settings: ModularSettings,
    folder: str | Path,
    *,
    model_class: ModelClass = "bridge",
    device: str = "cpu",
    progress: bool = False,
) -> ModularResult:
    """Train or reuse the model of these settings and analyze it.

    Args:
        settings: task, sizes, optimizer and seed.
        folder: where the trained model lies or goes, in a folder of its settings' name.
        model_class: which TransformerLens class.
        device: where to train and to compute kernels.
        progress: show progress bars.

    Raises:
        OSError: if the folder cannot be written to.

    Source: arXiv 2510.00468, section 4 (the 1-layer Transformer).
    """
    started = time.perf_counter()
    home = Path(folder) / "models" / run_name(settings, model_class)
    trained = train(settings, model_class, home, device=device, progress=progress)
    training_seconds = time.perf_counter() - started
    return analyze(
        settings,
        model_class,
        trained,
        training_seconds,
        course_file=home / "course.safetensors",
        progress=progress,
    )


def analyze(
    settings: ModularSettings,
    model_class: ModelClass,
    trained: TrainedModel,
    training_seconds: float = 0.0,
    *,
    course_file: Path | None = None,
    progress: bool = False,
) -> ModularResult:
    """Kernels, key frequencies, alignment, shares, comparison and course of a trained model."""
    model, data = trained.model, trained.data
    clock = Clock({"training": training_seconds})
    blocks = kernel_blocks(model, data.tokens, "mean_logit", WEIGHTS_AND_HEADS, progress=progress)
    clock.lap("blocks")
    weights, kernel = measure_spectra(trained, blocks)
    keys = key_frequencies(weights)
    features = fourier(data.a.numpy(), data.b.numpy(), settings.p, frequencies=sorted(keys))
    modes = min(len(data.tokens), 4 * len(keys) + 1)
    eigen = decompose_blocks(blocks, modes + 12)
    clock.lap("eigendirections")
    activations = activations_at(model, data.tokens, ACTIVATIONS)
    k = min(modes, activations.shape[1])
    beside = {
        PCA_ROW: leading_scores(activations, k),
        RANDOM_ROW: random_directions(len(data.tokens), modes, settings.seed),
    }
    overlaps = measure_overlaps(eigen, features, beside)
    shares = {
        family: component_shares(blocks, torch.from_numpy(features.family(family).values))
        for family in features.family_names()
    }
    clock.lap("alignment")
    comparisons = {
        name: compare(eigen[name].scores[:, :k], features, activations, seed=settings.seed)
        for name in COMPARED
    }
    clock.lap("comparison")
    purities = rotate_sums(settings, data, blocks, eigen[UNEMBED], features)
    clock.lap("rotations")
    course = follow_checkpoints(settings, trained, keys, course_file, progress=progress)
    clock.lap("course")
    return ModularResult(
        settings=settings,
        model_class=model_class,
        trained=trained,
        blocks=blocks,
        weight_spectrum=weights,
        kernel_spectrum=kernel,
        weight_frequencies=keys,
        kernel_frequencies=key_frequencies(kernel),
        features=features,
        eigen=eigen,
        overlaps=overlaps,
        shares=shares,
        comparisons=comparisons,
        purities=purities,
        course=course,
        seconds=clock.seconds,
    )


def measure_spectra(
    trained: TrainedModel, blocks: KernelBlocks
) -> tuple[dict[int, float], dict[int, float]]:
    """Frequency to power in W_E, and to energy of its a + b pair in the W_U block."""
    data = trained.data
    # the row after the p numbers is that of "="
    embedding = weights_of(trained.model)["embed.W_E"][:-1]
    waves = fourier(data.a.numpy(), data.b.numpy(), len(embedding), families=["a+b"])
    return embedding_spectrum(embedding), kernel_spectrum(blocks[UNEMBED], waves)


def decompose_blocks(blocks: KernelBlocks, k: int) -> dict[str, EigenDirections]:
    """The k leading eigendirections of the total kernel and of every block, as many as it has."""
    matrices: dict[str, Tensor] = {TOTAL: blocks.total(), **blocks}
    return {
        name: eigendecompose(
            matrix, min(len(matrix), k), provenance={**blocks.provenance, "component": name}
        )
        for name, matrix in matrices.items()
    }


def measure_overlaps(
    eigen: dict[str, EigenDirections], features: FeatureSet, beside: dict[str, Tensor]
) -> list[OverlapRow]:
    """A row per block with its cliffs, then a row per basis to compare with."""
    rows = [
        overlap_row(name, found.vectors, features, find_cliffs(found.eigenvalues, count=3, skip=2))
        for name, found in eigen.items()
    ]
    return rows + [overlap_row(name, vectors, features, []) for name, vectors in beside.items()]


def rotate_sums(
    settings: ModularSettings,
    data: ModularData,
    blocks: KernelBlocks,
    eigen: EigenDirections,
    features: FeatureSet,
) -> list[dict[str, Any]]:
    """Purities of the W_U block's modes 0..2F, less the mean, under every rotation."""
    p, width = settings.p, len(features.family("a+b"))
    first = eigen.vectors[:, : width + 1]
    # without the mean, which is one of them
    sums = torch.linalg.svd(first - first.mean(0), full_matrices=False).U[:, :width]
    torus = torus_laplacians(data.a.numpy(), data.b.numpy(), p)
    laplacians = (torus["a+b"], torus["a-b"])
    rotated = rotate_every_way(sums, blocks[UNEMBED], laplacians, seed=settings.seed)
    residues = mark_residues(data.a, data.b, p, ["a+b"])
    return measure_purities(rotated, features.family("a+b"), residues, cliff="W_U, modes 0..2F")


def overlap_row(
    name: str, directions: Tensor, features: FeatureSet, cliffs: list[Cliff]
) -> OverlapRow:
    """Overlaps of directions 0..2F and 2F+1..4F with every family of the 2F features."""
    width = len(features.family("a+b"))
    first, second = directions[:, : width + 1], directions[:, width + 1 : 2 * width + 1]

    def by_family(vectors: Tensor) -> dict[str, float]:
        # beyond a kernel's rank there are no directions
        there = vectors.shape[1] > 0
        return {
            family: subspace_overlap(vectors, features.family(family)).overlap if there else 0.0
            for family in FAMILIES
        }

    return OverlapRow(name, by_family(first), by_family(second), cliffs)


def headline(result: ModularResult) -> dict[str, Any]:
    """The figures one looks at first, as plain JSON values."""
    f = result.n_frequencies
    row = next(row for row in result.overlaps if row.component == UNEMBED)
    return {
        "test_accuracy": result.trained.curve.test_accuracy[-1],
        "train_accuracy": result.trained.curve.train_accuracy[-1],
        "key_frequencies_from_weights": result.weight_frequencies,
        "key_frequencies_from_kernel": result.kernel_frequencies,
        "ways_agree": set(result.weight_frequencies) == set(result.kernel_frequencies),
        "W_U_modes_0_to_2F_on_a+b": row.first["a+b"],
        "W_U_modes_2F+1_to_4F_on_axis_sum": row.second["axis sum"],
        "most_possible": 2 * f,
        "probe_R2": {
            name: {basis: table.macro(basis, "r2").value for basis in table.bases}
            for name, table in result.comparisons.items()
        },
        "seconds": result.seconds,
        "model_reused": result.trained.reused,
    }
