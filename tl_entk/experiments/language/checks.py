"""What a model has for the settings of the language experiment."""

from __future__ import annotations

from typing import Any

from feature_sets.errors import UserError
from tl_entk.alignment.model_baselines import check_baselines
from tl_entk.alignment.readout_sweep import component_patterns
from tl_entk.experiments.language.settings import LanguageSettings
from tl_entk.kernel.blocks import list_components
from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.sites import match_names


def check_model(settings: LanguageSettings, model: Any) -> None:
    """Refuse what this model does not have, before any work.

    Args:
        settings: of the run.
        model: a TransformerLens model.

    Raises:
        UserError: for an unknown layer, weight or component, windows longer than the model
            reads, or more directions than the residual stream or the windows have.
    """
    names, adapter = list_components(model), adapt_transformer(model)
    for layer in settings.chosen_layers(adapter.n_layers):
        if settings.all_logits:
            match_names(names, f"blocks.{layer}.{settings.weight}")
        for component in settings.components if settings.readouts else ():
            match_names(names, component_patterns(component, str(layer), adapter.n_layers))
    # the model's own next word is read from up to two tokens after the window
    longest = adapter.context - (2 if settings.agree else 0)
    if settings.length > longest:
        raise UserError(
            f"length = {settings.length}: the model reads {adapter.context} tokens; pass up to "
            f"{longest}."
        )
    check_baselines(model, settings.every_baseline)
    most = min(adapter.d_model, settings.n_windows)
    if settings.k > most:
        raise UserError(
            f"k = {settings.k}: activations of width {adapter.d_model} and {settings.n_windows} "
            f"windows have {most} principal components to compare with; pass no more."
        )
