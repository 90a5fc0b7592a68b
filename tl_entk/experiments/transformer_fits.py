"""The linearisation check of the modular-addition Transformer, before and after grokking."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy, one_hot

from tl_entk.experiments.linear_fits import linear_fits
from tl_entk.experiments.modular_addition import ModularSettings
from tl_entk.experiments.modular_model import load_weights
from tl_entk.experiments.training import TrainedModel


def transformer_fits(settings: ModularSettings, trained: TrainedModel) -> list[dict[str, Any]]:
    """Rows of the fits before training, when the training part is learnt, and at the end.

    The targets are one-hot labels, the loss is the cross-entropy; the model comes back with its
    trained weights.

    Args:
        settings: of the training.
        trained: with its checkpoints and curve.
    """
    model, data, curve = trained.model, trained.data, trained.curve
    accurate = dict(zip(curve.epoch, curve.train_accuracy, strict=True))
    last = max(trained.checkpoints)
    learnt = next((e for e in trained.checkpoints if accurate[e] > 0.99), last)
    epochs = {0: "before training", learnt: "training part learnt", last: "trained"}
    rows = []
    for epoch, name in epochs.items():
        load_weights(model, load_file(trained.checkpoints[epoch]))
        rows += linear_fits(
            {f"{name} (epoch {epoch})": model},
            data.tokens,
            one_hot(data.labels, settings.p).to(torch.float32),
            train=data.train,
            labels=data.labels,
            class_slice=slice(0, settings.p),
            loss=lambda outputs, targets: cross_entropy(outputs, targets.argmax(1)),
        )
    return rows
