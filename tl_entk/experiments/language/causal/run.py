"""Does a direction do anything? For the most frequent labels, beside rivals of the same layer.

Everything is found on the train half of the windows: the kernel anew, its direction, the rivals,
the labels' tokens, signs of the steps. Everything reported is of the test half.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from feature_sets.errors import UserError
from tl_entk.alignment.names import PCA as PCA_BASELINE
from tl_entk.directions.eigen import EigenDirections
from tl_entk.experiments.language.causal.directions import choose, fit_kernel
from tl_entk.experiments.language.causal.outcomes import Outcomes, remove, take_steps
from tl_entk.experiments.language.causal.result import Causal, CausalDirection
from tl_entk.experiments.language.causal.rivals import (
    activation_steps,
    label_gradient,
    removals,
    weight_steps,
    without_each,
)
from tl_entk.experiments.language.causal.setup import MOST, Setup, set_up
from tl_entk.experiments.language.kept_judging import content_key
from tl_entk.experiments.records import recall, store
from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.stages import first_layer
from tl_entk.tools.files import DamagedFileError
from tl_entk.tools.progress import Progress
from tl_entk.weight_space.response import nudge_response

if TYPE_CHECKING:
    from tl_entk.experiments.language.run import LanguageResult

# raised where what an earlier version kept must not be taken up
_FORMAT = 3


def run_causal(
    result: LanguageResult, folder: Path | None = None, *, progress: bool = False
) -> Causal:
    """Steps along kernel directions and their rivals, and models without them.

    Args:
        result: of ``run_language``.
        folder: where each direction's outcome is kept, and taken up; None keeps nothing.
        progress: show a bar.
    """
    setup = set_up(result)
    left_out: dict[str, str] = {}
    rivals: dict[tuple[str, str], Outcomes] = {}
    found = []
    kernels = result.judged.shown_kernels
    with Progress("causal checks", len(kernels) * len(setup.labels[:MOST]), progress) as bar:
        for kernel in kernels:
            fits: dict[str, EigenDirections] = {}
            for label in setup.labels[:MOST]:
                try:
                    found.append(_keep(setup, kernel, label, fits, rivals, folder))
                except UserError as error:
                    left_out[f"{kernel}, {label}"] = str(error)
                bar.advance(1)
    counts = {
        "train": len(setup.train),
        "test": len(setup.test),
        "tokens": {label: len(tokens) for label, tokens in setup.by_label.items()},
    }
    return Causal(found, left_out, counts)


def _keep(
    setup: Setup,
    kernel: str,
    label: str,
    fits: dict[str, EigenDirections],
    rivals: dict[tuple[str, str], Outcomes],
    folder: Path | None,
) -> CausalDirection:
    """One direction's outcome, from the folder if it is there."""
    if folder is None:
        return look_at(setup, kernel, label, fits, rivals)
    result, settings = setup.result, setup.result.settings
    key = content_key(
        _FORMAT, kernel, result.judged.candidates[kernel], label, setup.by_label,
        result.data.windows.tokens, setup.train, settings.k, settings.seed, settings.exact,
        settings.outputs, settings.tol,
        result.judged.tables[kernel].rows[result.data.features.names.index(label)].place,
    )  # fmt: skip
    path = folder / f"{key}.safetensors"
    if path.exists():
        with suppress(DamagedFileError):  # it is measured anew
            return recall(CausalDirection, path)
    found = look_at(setup, kernel, label, fits, rivals)
    store(found, path)
    return found


def look_at(
    setup: Setup,
    kernel: str,
    label: str,
    fits: dict[str, EigenDirections],
    rivals: dict[tuple[str, str], Outcomes],
) -> CausalDirection:
    """One kernel's direction for one label, and its rivals at the same layer.

    Args:
        setup: of the run.
        kernel: the method.
        label: among the setup's.
        fits: layer to the kernel's eigendirections of the train half, which are added to.
        rivals: layer and label to what steps of activations do there, which are added to.

    Raises:
        UserError: for a kernel whose directions have no single counterpart in the weights.
    """
    result, train, test = setup.result, setup.train, setup.test
    model, tokens, seed = result.model.model, result.data.windows.tokens, result.settings.seed
    place = result.judged.tables[kernel].rows[result.data.features.names.index(label)].place
    assert place.layer is not None
    if place.layer not in fits:
        fits[place.layer] = fit_kernel(result, kernel, place.layer, torch.as_tensor(train))
    own = setup.label(label)
    chosen = choose(fits[place.layer].scores, own[train])
    eigen = fits[place.layer].take([chosen.column])
    directions = eigen.weight_directions(model)
    used = nudge_response(directions, model, tokens[train])
    new = nudge_response(directions, model, tokens[test])
    layer = place.layer if place.layer in result.data.activations else _layer_of_pca(result)
    components, index = list(directions.weights), setup.labels.index(label)
    gradient = label_gradient(model, tokens[train], components, setup.meters.train.members, index)
    steps = weight_steps(model, directions[0], used.norm, gradient, seed)
    meters = setup.meters.from_layer(first_layer(components, adapt_transformer(model).n_layers))
    found = take_steps(meters, steps, index)
    found |= remove(meters, removals(model, steps, directions[0], seed), index)
    if (layer, label) not in rivals:
        rivals[layer, label] = _rivals(setup, layer, label)
    found |= rivals[layer, label]
    scores = chosen.sign * directions.project(model, tokens[test])[:, 0].double()
    return CausalDirection(
        kernel, label, setup.labels, place.layer, layer, chosen.column, chosen.train_ap,
        components, used.norm, used.steps, used.predicted, used.measured, new.predicted,
        new.measured, scores, torch.from_numpy(own[test]), **vars(found),
    )  # fmt: skip


def _rivals(setup: Setup, layer: str, label: str) -> Outcomes:
    """What steps of the activations of a layer do, and models without their directions."""
    result, index, own = setup.result, setup.labels.index(label), setup.label(label)[setup.train]
    steps = activation_steps(
        result.model.model,
        f"blocks.{layer}.hook_resid_post",
        result.data.activations[layer][setup.train],
        own,
        result.settings.k,
        result.settings.seed,
    )
    meters = setup.meters.from_layer(int(layer))
    return take_steps(meters, steps, index) | remove(meters, without_each(steps), index)


def _layer_of_pca(result: LanguageResult) -> str:
    """The layer at which PCA is best within the train half."""
    return result.judged.best_layer[PCA_BASELINE]
