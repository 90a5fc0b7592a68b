"""Directions that are compared with the true features, n of each method or as many as it has.

What each may use, on the same examples: the kernel the weights and all outputs (through their
gradients); PCA and ICA of the outputs the outputs; PCA, ICA and the sparse autoencoder of the
hidden activations those alone; the outputs as they are, that output i was trained to be feature i.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.alignment.baselines import leading_scores
from tl_entk.directions.rotation import Rotation
from tl_entk.directions.scores import score_vectors
from tl_entk.directions.unsupervised_rotation import rotate_by_ica
from tl_entk.experiments.structured_superposition.cosines import (
    Alignment,
    States,
    align,
    best_cosines,
)
from tl_entk.experiments.structured_superposition.sparse_autoencoders import (
    PENALTIES,
    choose_penalty,
    train_autoencoders,
)

ENTK = "eNTK"
ENTK_ICA = "eNTK, rotated by ICA"
OUTPUTS = "outputs as they are"
OUTPUT_PCA = "PCA of the outputs"
OUTPUT_ICA = "ICA of the outputs"
HIDDEN_PCA = "PCA of the hidden activations"
HIDDEN_ICA = "ICA of the hidden activations"
SAE = "SAE of the hidden activations"
# an upper bound, no method: its penalty is chosen by the truth
SAE_BOUND = "SAE, best penalty by the truth"
RANDOM = "random directions of hidden space"
METHODS = (
    ENTK, ENTK_ICA, OUTPUTS, OUTPUT_PCA, OUTPUT_ICA, HIDDEN_PCA, HIDDEN_ICA, SAE, SAE_BOUND, RANDOM,
)  # fmt: skip
# those of the kernel, and those that a user without the truth could take instead
KERNEL_METHODS = METHODS[:2]
BASELINES = METHODS[2:8]
# of FastICA on the flattened eigenvectors, of which an iteration takes as long as it does
_KERNEL_ITERATIONS = 200


@dataclass(frozen=True, eq=False)
class Compared:
    """What the methods reach, and how their own trainings ended.

    Attributes:
        alignments: method to its |cos| with the true features.
        converged: method with a rotation to whether FastICA converged.
        autoencoder: of the one taken: penalty, share of the variance explained, active latents
            per example, latents that are never active.
    """

    alignments: dict[str, Alignment]
    converged: dict[str, bool] = field(default_factory=dict)
    autoencoder: dict[str, float] = field(default_factory=dict)


def compare_methods(states: States, vectors: Float[Tensor, "N n k"], seed: int) -> Compared:
    """The alignment of every method.

    Args:
        states: of the trained model.
        vectors: (N, n, k) the leading eigenvectors of its flattened kernel. Their scores are their
            leading left singular vectors, as everywhere here.
        seed: of ICA, the autoencoder and the random directions.
    """
    found = Compared({ENTK: _align_patterns(states, vectors)})
    rotation = _rotate(vectors.flatten(0, 1), seed, _KERNEL_ITERATIONS)
    found.alignments[ENTK_ICA] = _align_patterns(states, rotation.vectors.reshape(vectors.shape))
    found.converged[ENTK_ICA] = rotation.converged
    # each has its own output as its pattern
    patterns = torch.diag_embed(states.outputs)
    found.alignments[OUTPUTS] = align(states, states.outputs, patterns=patterns)
    _add_components(found, states, states.outputs, (OUTPUT_PCA, OUTPUT_ICA), seed)
    _add_components(found, states, states.hidden, (HIDDEN_PCA, HIDDEN_ICA), seed)
    _add_autoencoders(found, states, seed)
    generator = torch.Generator().manual_seed(seed)
    m, n = states.weight.shape
    drawn = torch.randn(m, n, generator=generator, dtype=torch.float64)
    found.alignments[RANDOM] = align(states, states.hidden @ drawn, hidden=drawn)
    return found


def _rotate(vectors: Float[Tensor, "n k"], seed: int, iterations: int = 1000) -> Rotation:
    with warnings.catch_warnings():
        # one that has not converged is compared as it came, and the result says so
        warnings.simplefilter("ignore", UserWarning)
        return rotate_by_ica(vectors, seed, max_iterations=iterations)


def _align_patterns(states: States, patterns: Float[Tensor, "N n k"]) -> Alignment:
    scores, patterns, _ = score_vectors(patterns)
    return align(states, scores, patterns=patterns)


def _add_components(
    found: Compared,
    states: States,
    activations: Float[Tensor, "N d"],
    names: tuple[str, str],
    seed: int,
) -> None:
    """Principal components, and the independent components of the same span."""
    components = leading_scores(activations, activations.shape[1])
    rotation = _rotate(components, seed)
    for name, scores in zip(names, (components, rotation.vectors), strict=True):
        found.alignments[name] = align(states, _uncenter(scores, activations))
    found.converged[names[1]] = rotation.converged


def _uncenter(
    scores: Float[Tensor, "N k"], activations: Float[Tensor, "N d"]
) -> Float[Tensor, "N k"]:
    """The same linear maps of the activations without taking their mean out.

    Expanded features are not centered, and neither are the kernel's eigenvectors.
    """
    centered = activations - activations.mean(0)
    return activations @ torch.linalg.lstsq(centered, scores, driver="gelsd").solution


def _add_autoencoders(found: Compared, states: States, seed: int) -> None:
    """The autoencoder taken without the truth, and the best of all penalties by it."""
    h, width = states.hidden, states.x.shape[1]
    taken = choose_penalty(h, width, seed)
    trained = train_autoencoders(h, width, PENALTIES, seed)
    latents, explained = trained.latents(h), trained.explained(h)
    aligned = [
        align(states, z, hidden=rows.T)
        for z, rows in zip(latents.unbind(0), trained.decoder.unbind(0), strict=True)
    ]
    found.alignments[SAE] = aligned[taken]
    found.alignments[SAE_BOUND] = max(
        aligned, key=lambda alignment: float(best_cosines(alignment.scores).mean())
    )
    active = latents[taken] > 0
    found.autoencoder.update(
        penalty=PENALTIES[taken],
        explained=float(explained[taken]),
        active=float(active.sum(1).double().mean()),
        dead=float((~active.any(0)).sum()),
    )
