"""Directions of the kernel and of its rivals, found on the train half of the windows alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_entk.alignment.direction_search import Search
from tl_entk.alignment.probes import fit_logistic
from tl_entk.alignment.readout_sweep import (
    LATER_LAYERS,
    component_patterns,
    resolve_readout,
)
from tl_entk.compressed.eigendirections import all_eigendirections
from tl_entk.directions.eigen import EigenDirections, eigendecompose
from tl_entk.experiments.language.judging import FLATTENED
from tl_entk.experiments.language.kernels import ALL_LOGITS
from tl_entk.kernel.blocks import kernel_blocks
from tl_entk.kernel.normalize import normalize
from tl_entk.model.adapters import adapt_transformer
from tl_entk.operator.top_directions import top_eigendirections

if TYPE_CHECKING:
    from tl_entk.experiments.language.run import LanguageResult

PROBE, MEANS = "probe", "difference of means"


@dataclass(frozen=True)
class Chosen:
    """One of several directions, chosen for a label on the train half.

    Attributes:
        column: which.
        sign: side of it where the label is.
        train_ap: average precision there.
    """

    column: int
    sign: int
    train_ap: float


def choose(scores: Float[Tensor, "n k"], label: Float[np.ndarray, " n"]) -> Chosen:
    """The direction and sign of the highest average precision."""
    table = scores.cpu().double().numpy()
    found = Search(table, table[:1]).choose(label[:, None])
    return Chosen(int(found.columns[0]), int(found.signs[0]), float(found.ap[0]))


def fit_kernel(
    result: LanguageResult, method: str, layer: str, rows: Int[Tensor, " a"]
) -> EigenDirections:
    """A method's eigendirections of some of the windows.

    Args:
        result: of the run that has the method.
        method: among its kernels.
        layer: or all of them together.
        rows: windows.
    """
    settings, model = result.settings, result.model.model
    tokens = result.data.windows.tokens[rows]
    k = min(settings.k, len(rows))
    candidate = result.judged.candidates[method]
    if method == FLATTENED or candidate.readout == ALL_LOGITS:
        component = f"blocks.{layer}.{settings.weight}"
        if settings.exact or candidate.normalization != "plain":
            return top_eigendirections(
                model, tokens, component, k,
                normalization=candidate.normalization, tol=settings.tol, seed=settings.seed,
            )  # fmt: skip
        outputs = min(settings.outputs, adapt_transformer(model).d_model)
        found = all_eigendirections(
            model, tokens, [component], k, outputs=outputs, seed=settings.seed
        )
        return found[component]
    patterns = component_patterns(candidate.component, layer, adapt_transformer(model).n_layers)
    blocks = kernel_blocks(
        model, tokens, resolve_readout(candidate.readout, settings.seed), patterns
    )
    if candidate.component == LATER_LAYERS:
        return eigendecompose(blocks, k, normalization=candidate.normalization)
    # of several weights, their sum is normalized
    plain = eigendecompose(normalize(blocks.total(), candidate.normalization), k)
    assert blocks.origin is not None
    origin = replace(blocks.origin, normalization=candidate.normalization)
    return replace(plain, origin=origin)


def principal_directions(
    activations: Float[Tensor, "n d"], k: int, *, standardized: bool
) -> tuple[Float[Tensor, "d k"], Float[Tensor, "n k"]]:
    """Principal components as directions of the activations, and their scores.

    Of standardized activations, a direction is what one of its scores looks like in them: times
    their standard deviations.

    Args:
        activations: of the train half.
        k: how many.
        standardized: whether every coordinate is scaled to variance 1.
    """
    centered = (activations - activations.mean(0)).double()
    scale = centered.std(0).clamp_min(1e-12) if standardized else torch.ones_like(centered[0])
    left, values, right = torch.linalg.svd(centered / scale, full_matrices=False)
    count = min(k, len(values))
    return right[:count].T * scale[:, None], left[:, :count] * values[:count]


def label_directions(
    activations: Float[Tensor, "n d"], label: Float[np.ndarray, " n"]
) -> Mapping[str, Float[Tensor, " d"]]:
    """Directions of the activations that know the label: a probe's, and between the two means.

    Args:
        activations: of the train half.
        label: 0 or 1.
    """
    x = activations.double().numpy()
    scaler, probe = fit_logistic(x, label)
    has = label.astype(bool)
    return {
        PROBE: torch.from_numpy(probe.coef_[0] / scaler.scale_),
        MEANS: torch.from_numpy(x[has].mean(0) - x[~has].mean(0)),
    }
