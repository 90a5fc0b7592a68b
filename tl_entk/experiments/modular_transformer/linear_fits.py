"""The linearization check of the modular-addition Transformer, before and after grokking."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from tl_entk.experiments.linear_fits import linear_fits
from tl_entk.experiments.modular_transformer.settings import ModularSettings
from tl_entk.experiments.modular_transformer.training import TrainedModel, load_checkpoint


def transformer_fits(settings: ModularSettings, trained: TrainedModel) -> list[dict[str, Any]]:
    """Rows of the fits before training, when the training part is learned, and at the end.

    The loss is the cross-entropy. A kernel regression has a squared error, so the labels are put
    into units of the trained model's logits (:func:`logit_targets`). The model comes back with its
    trained weights.

    Args:
        settings: of the training.
        trained: with its checkpoints and curve.
    """
    model, data, curve = trained.model, trained.data, trained.curve
    accurate = dict(zip(curve.epoch, curve.train_accuracy, strict=True))
    last = max(trained.checkpoints)
    learned = next((e for e in trained.checkpoints if accurate[e] > 0.99), last)
    with torch.no_grad():
        logits = model(data.tokens)[:, -1, : settings.p]
    targets = logit_targets(logits[data.train], data.labels[data.train], data.labels)
    epochs = {0: "before training", learned: "training part learned", last: "trained"}
    rows = []
    for epoch, name in epochs.items():
        load_checkpoint(model, trained.checkpoints[epoch])
        rows += linear_fits(
            {f"{name} (epoch {epoch})": model},
            data.tokens,
            targets,
            train=data.train,
            labels=data.labels,
            class_slice=slice(0, settings.p),
            loss=lambda outputs, wanted: cross_entropy(outputs, wanted.argmax(1)),
            ridge=0.1,
            relative_ridge=True,
            tol=1e-3,
            dtype=torch.float32,
        )
    return rows


def logit_targets(
    logits: Float[Tensor, "n_train c"], seen: Tensor, labels: Tensor
) -> Float[Tensor, "n c"]:
    """Labels in units of a model's logits: its mean logit of the right class, and of the others.

    Args:
        logits: of the training part.
        seen: (n_train,) labels of it.
        labels: (n,) all labels.

    Example:
        >>> logits = torch.tensor([[4.0, 0.0], [2.0, 6.0]])
        >>> logit_targets(logits, torch.tensor([0, 1]), torch.tensor([1, 0])).tolist()
        [[1.0, 5.0], [5.0, 1.0]]
    """
    right = one_hot(seen, logits.shape[1]).bool()
    high, low = logits[right].mean(), logits[~right].mean()
    return torch.where(one_hot(labels, logits.shape[1]).bool(), high, low)
