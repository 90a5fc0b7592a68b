"""Modular addition by an MLP with squared activations: data, model and training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import mse_loss, one_hot

from tl_entk.experiments.modular_addition import Additions, split_additions
from tl_entk.experiments.modular_mlp.settings import MLPSettings
from tl_entk.experiments.settings import refuse_divergence
from tl_entk.tools.progress import Progress

# step, model, the loop's metrics when asked for
Callback = Callable[[int, nn.Module, Callable[[], dict[str, float]]], None]


class SquareMLP(nn.Module):
    """f(x) = W2 (W1 x)^2 with mean-field scaling: x / sqrt(2 p) goes in, 1 / n comes out.

    Args:
        first: (n, 2 p), W1.
        second: (p, n), W2.
    """

    def __init__(self, first: Float[Tensor, "n two_p"], second: Float[Tensor, "p n"]):
        super().__init__()
        n, width = first.shape
        self.W1 = nn.Linear(width, n, bias=False)
        self.W2 = nn.Linear(n, len(second), bias=False)
        with torch.no_grad():
            self.W1.weight.copy_(first)
            self.W2.weight.copy_(second)

    def forward(self, x: Float[Tensor, "N two_p"]) -> Float[Tensor, "N p"]:
        """Scores of the p sums."""
        hidden = self.W1(x / x.shape[1] ** 0.5)
        return self.W2(hidden.square()) / hidden.shape[1]


@dataclass(frozen=True, eq=False)
class MLPData(Additions):
    """All p^2 pairs, their labels and their split, and the pairs as the MLP reads them.

    Attributes:
        x: (p^2, 2 p), the one-hot vectors of a and b beside each other.
    """

    x: Float[Tensor, "n two_p"]

    @property
    def targets(self) -> Float[Tensor, "n p"]:
        """The labels as one-hot vectors."""
        return one_hot(self.labels, self.x.shape[1] // 2).to(self.x.dtype)


def seeded_mlp(settings: MLPSettings) -> tuple[SquareMLP, MLPData]:
    """The untrained model and the data of a seed: W1, W2, then the split, from one stream.

    Example:
        >>> model, data = seeded_mlp(MLPSettings(p=5, n=8))
        >>> data.x.shape, int(data.labels[7]), model(data.x).shape
        (torch.Size([25, 10]), 3, torch.Size([25, 5]))
    """
    p, n = settings.p, settings.n
    generator = torch.Generator().manual_seed(settings.seed)
    first = torch.randn(n, 2 * p, generator=generator)
    second = torch.randn(p, n, generator=generator)
    pairs = split_additions(p, settings.train_fraction, generator)
    x = torch.cat([one_hot(pairs.a, p), one_hot(pairs.b, p)], 1).float()
    return SquareMLP(first, second), MLPData(**vars(pairs), x=x)


def metrics_of(model: nn.Module, data: MLPData) -> dict[str, float]:
    """Accuracy and mean squared error on the training and the test part."""
    found = {}
    with torch.no_grad():
        outputs, targets = model(data.x), data.targets
        for part, rows in (("train", data.train), ("test", data.test)):
            found[f"{part}_loss"] = float(mse_loss(outputs[rows], targets[rows]))
            right = outputs[rows].argmax(1) == data.labels[rows]
            found[f"{part}_accuracy"] = float(right.float().mean())
    return found


def train_mlp(
    settings: MLPSettings, *, callback: Callback | None = None, progress: bool = False
) -> tuple[SquareMLP, MLPData]:
    """Train the MLP: AdamW on the whole training part, mean squared error to one-hot labels.

    Args:
        settings: of the task.
        callback: called before the first epoch (0) and after every one with its number, the model
            and a function that gives the metrics; a :class:`tl_entk.Track` is one.
        progress: show a progress bar.

    Returns:
        The trained model and its data.

    Raises:
        UserError: if the training diverges.

    Source: arXiv 2510.00468 (the MLP), after Gromov 2023.
    """
    model, data = seeded_mlp(settings)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    x, targets = data.x[data.train], data.targets[data.train]
    with Progress(f"training the MLP, seed {settings.seed}", settings.epochs, progress) as bar:
        for epoch in range(settings.epochs + 1):
            loss = mse_loss(model(x), targets)
            refuse_divergence(loss.item(), epoch, settings)
            if callback is not None:
                callback(epoch, model, lambda: metrics_of(model, data))
            if epoch == settings.epochs:
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            bar.advance()
    return model.eval(), data
