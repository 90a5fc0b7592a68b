"""Sweep: dense kernels of several readouts, components and normalizations, layer by layer.

Which readout, which weights, and whether the kernel is centered or cosine-normalized matters for
what its eigendirections show. A sweep makes the directions of every combination from one forward
and one backward pass per readout; the choice among them is made within the train half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError
from feature_sets.feature_set import FeatureSet, check_feature_set
from tl_entk.alignment.best_directions import LayerDirection, best_directions
from tl_entk.alignment.model_baselines import read_layers
from tl_entk.alignment.names import COMPONENTS, LATER_LAYERS, OF_ALL_LAYERS, TOGETHER
from tl_entk.alignment.splitting import Groups, halves, take_groups, too_rare
from tl_entk.directions.default_kernel import (
    DEFAULT_NORMALIZATION,
    DEFAULT_READOUT,
    default_patterns,
)
from tl_entk.directions.eigen import EigenDirections, eigendecompose
from tl_entk.kernel.blocks import kernel_blocks, list_components
from tl_entk.kernel.kernel_blocks import KernelBlocks
from tl_entk.kernel.normalizations import NORMALIZATIONS, check_normalization
from tl_entk.kernel.normalize import normalize
from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.checks import Position
from tl_entk.model.readouts import ReadoutLike, sampled_class_trace
from tl_entk.model.sites import glob_match
from tl_entk.tools.progress import Progress
from tl_entk.tools.values import check_at_least, check_kind, check_seed, read_names

# backward passes of a class trace where the vocabulary is too large for one each
CLASS_TRACE_SIGNS = 32


class Candidate(NamedTuple):
    """One way to make directions: a readout, a component, a normalization."""

    readout: str
    component: str
    normalization: str

    def __str__(self) -> str:
        return f"{self.readout}, {self.component}, {self.normalization}"


# the kernel of default_directions
DEFAULT = Candidate(DEFAULT_READOUT, LATER_LAYERS, DEFAULT_NORMALIZATION)


@dataclass(frozen=True)
class SweepRow:
    """What a candidate reaches.

    Attributes:
        candidate: the way its directions were made.
        validation: macro AP of its best directions over the layers, chosen on one half of the
            train half and judged on the other.
        by_layer: the same for each layer alone.
    """

    candidate: Candidate
    validation: float
    by_layer: dict[str, float]

    @property
    def best_layer(self) -> str:
        """The layer that is best alone."""
        return max(self.by_layer, key=lambda layer: self.by_layer[layer])


def sweep_directions(
    model: Any,
    tokens: Int[Tensor, "n t"],
    readouts: Sequence[str] = ("logsumexp", "target_logit", "target_logprob", "mean_logit"),
    *,
    layers: Sequence[int] | None = None,
    components: Sequence[str] = tuple(COMPONENTS),
    normalizations: Sequence[str] = tuple(NORMALIZATIONS),
    k: int = 25,
    position: Position = -1,
    memory_budget: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[Candidate, dict[str, EigenDirections]]:
    """Top eigendirections of every combination of readout, component and normalization.

    Args:
        model: a TransformerLens model, in evaluation mode.
        tokens: (n, t) windows.
        readouts: scalar readouts by name; "class_trace" is estimated from random signs.
        layers: which layers; default all.
        components: among ``COMPONENTS``.
        normalizations: among ``NORMALIZATIONS``.
        k: directions of each.
        position: where the readout is read.
        memory_budget: bytes for the blocks' temporaries.
        seed: of the signs of a class trace.
        progress: show bars.

    Returns:
        Candidate to layer to directions; the layer of the components "all layers" and "later
        layers" is "all".

    Raises:
        UserError: for an unknown component, normalization or readout.

    Source: arXiv 2510.00468, section 2, and method notes of this project on normalization.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> found = sweep_directions(model, data.tokens, ["logsumexp"], components=["W_out"], k=3)
        >>> [str(candidate) for candidate in found][:2]
        ['logsumexp, W_out, plain', 'logsumexp, W_out, centered']
    """
    readouts = read_names("readouts", readouts)
    components = read_names("components", components)
    normalizations = read_names("normalizations", normalizations)
    check_at_least("k", k)
    check_seed(seed)
    for component in components:
        if component not in COMPONENTS:
            raise UserError(f"no component {component!r}: there are {list(COMPONENTS)}.")
    for normalization in normalizations:
        check_normalization(normalization)
    n_layers = adapt_transformer(model).n_layers
    chosen = read_layers(layers, n_layers)
    wanted = _wanted(components, chosen, n_layers)
    needed = sweep_weights(components, chosen, n_layers)
    # names, which other processes can be sent
    weights = list(filter(needed, list_components(model)))
    found: dict[Candidate, dict[str, EigenDirections]] = {}
    total = len(readouts) * len(normalizations) * len(wanted)
    with Progress("eigendirections of the sweep", total, progress) as bar:
        for readout in readouts:
            blocks = kernel_blocks(
                model,
                tokens,
                resolve_readout(readout, seed),
                weights,
                position=position,
                memory_budget=memory_budget,
                progress=progress,
            )
            for (component, layer), patterns in wanted.items():
                for normalization in normalizations:
                    candidate = Candidate(readout, component, normalization)
                    found.setdefault(candidate, {})[layer] = _decompose(
                        blocks, patterns, candidate, k, layer
                    )
                    bar.advance(1, readout)
    return found


def sweep_weights(
    components: Sequence[str], layers: Sequence[int], n_layers: int
) -> Callable[[str], bool]:
    """Which weights a sweep needs the kernels of, no heads among them."""
    wanted = _wanted(components, layers, n_layers).values()
    every = [pattern for patterns in wanted for pattern in patterns]
    return lambda name: "[" not in name and any(glob_match(name, one) for one in every)


def _wanted(
    components: Sequence[str], layers: Sequence[int], n_layers: int
) -> dict[tuple[str, str], list[str]]:
    """Component and layer to the patterns of the weights that they are made of."""
    return {
        (component, layer): component_patterns(component, layer, n_layers)
        for component in components
        for layer in ([TOGETHER] if component in OF_ALL_LAYERS else map(str, layers))
    }


def component_patterns(component: str, layer: str, n_layers: int) -> list[str]:
    """Globs of the weights of a component.

    Args:
        component: among ``COMPONENTS``.
        layer: its number, or "all" for what is one for all layers.
        n_layers: layers of the model.

    Example:
        >>> component_patterns("W_out", "3", 4)
        ['blocks.3.mlp.W_out']
    """
    if component == LATER_LAYERS:
        return default_patterns(n_layers)
    return [pattern.format(layer=layer) for pattern in COMPONENTS[component]]


def resolve_readout(name: str, seed: int) -> ReadoutLike:
    """The readout of a name; a class trace is estimated from random signs."""
    return sampled_class_trace(CLASS_TRACE_SIGNS, seed) if name == "class_trace" else name


def _decompose(
    blocks: KernelBlocks, patterns: Sequence[str], candidate: Candidate, k: int, layer: str
) -> EigenDirections:
    each = candidate.component == LATER_LAYERS
    total = blocks.sum(patterns, candidate.normalization if each else "plain")
    kernel = total.double() if each else normalize(total.double(), candidate.normalization)
    provenance = {**blocks.provenance, "candidate": str(candidate), "layer": layer}
    return eigendecompose(kernel, k, provenance=provenance, dtype=total.dtype)


def over_layers(
    scores: Mapping[str, Float[Tensor, "n k"] | EigenDirections],
) -> tuple[Float[Tensor, "n columns"], list[LayerDirection]]:
    """The directions of all layers side by side, so that best over layers is one choice.

    Args:
        scores: layer to scores (n, k) or directions.

    Returns:
        (n, all directions), and where each is from; as text "layer 3, direction 7".

    Example:
        >>> columns, places = over_layers({"0": torch.zeros(4, 2), "1": torch.ones(4, 1)})
        >>> columns.shape, str(places[-1])
        (torch.Size([4, 3]), 'layer 1, direction 0')
    """
    parts, places = [], []
    for layer, found in scores.items():
        values = found.scores if isinstance(found, EigenDirections) else found
        parts.append(values.detach().cpu().double())
        places += [LayerDirection(layer, index) for index in range(values.shape[1])]
    return torch.cat(parts, 1), places


def judge_sweep(
    candidates: Mapping[Candidate, Mapping[str, EigenDirections | Float[Tensor, "n k"]]],
    features: FeatureSet,
    *,
    split: float = 0.5,
    seed: int = 0,
    groups: Groups | None = None,
) -> list[SweepRow]:
    """Rank candidates without a look at the test half.

    The train half is halved again: directions and signs are chosen on its first half and judged
    on its second, by macro average precision.

    Args:
        candidates: from :func:`sweep_directions`, or scores by layer.
        features: binary features of the same windows.
        split: share of the train half, as for :func:`best_directions`.
        seed: of the split, as there.
        groups: of the windows, as there.

    Returns:
        Rows, best first.

    Raises:
        UserError: for what is no candidates, or none, and as :func:`best_directions`.
    """
    check_feature_set(features)
    _check_candidates(candidates)
    train, _ = halves(features, split, seed, groups)
    inside = features.rows(train)
    parts = take_groups(groups, train, len(features.values))
    rows = []
    for candidate, layers in candidates.items():
        by_layer = {
            layer: validation(over_layers({layer: found})[0][train], inside, seed, parts)
            for layer, found in layers.items()
        }
        # one layer alone is best over layers
        best = next(iter(by_layer.values()))
        if len(by_layer) > 1:
            best = validation(over_layers(layers)[0][train], inside, seed, parts)
        rows.append(SweepRow(candidate, best, by_layer))
    return sorted(rows, key=lambda row: -row.validation)


def _check_candidates(candidates: Any) -> None:
    advice = "what sweep_directions returns"
    check_kind("candidates", candidates, Mapping, advice)
    if not candidates:
        raise UserError(f"there are no candidates: pass {advice}.")
    for candidate, layers in candidates.items():
        check_kind(f"candidate {str(candidate)!r}", layers, Mapping, advice)
        if not layers:
            raise UserError(f"candidate {str(candidate)!r} has no layer: pass {advice}.")


def validation(
    scores: Float[Tensor, "n k"],
    features: FeatureSet,
    seed: int = 0,
    groups: Groups | None = None,
) -> float:
    """Macro AP of the best directions, chosen on one half of these examples, judged on the other.

    Features too rare to be halved again are left out, the same for every candidate.

    Args:
        scores: (n, k) of the train half.
        features: of the same examples.
        seed: of the split.
        groups: of the same examples.
    """
    kept = features.without(too_rare(features, seed=seed, groups=groups))
    table = best_directions(scores, kept, seed=seed, n_bootstrap=1, n_permutations=0, groups=groups)
    return table.macro().value
