"""Toy models of superposition: data, model and training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from feature_sets.superposition import sparse_features
from tl_entk.experiments.settings import refuse_divergence
from tl_entk.experiments.superposition.settings import SuperpositionSettings
from tl_entk.model.linear_map import Bias, LinearMap
from tl_entk.tools.progress import Progress


class ToyModel(nn.Module):
    """f(x) = ReLU(W^T W x + b), written so that hooks see both uses of W.

    Args:
        weight: (m, n).
        bias: (n,); default zero.
    """

    def __init__(self, weight: Float[Tensor, "m n"], bias: Float[Tensor, " n"] | None = None):
        super().__init__()
        self.W = nn.Parameter(weight)
        self.b = nn.Parameter(torch.zeros(weight.shape[1]) if bias is None else bias)
        self.encode = LinearMap(self.W, transposed=True)
        self.decode = LinearMap(self.W)
        self.shift = Bias(self.b)

    def forward(self, x: Float[Tensor, "N n"]) -> Float[Tensor, "N n"]:
        """The reconstructed features."""
        return torch.relu(self.shift(self.decode(self.encode(x))))


@dataclass(frozen=True, eq=False)
class TrainedToyModel:
    """A trained toy model with its samples.

    Attributes:
        settings: of the regime.
        model: in evaluation mode.
        x: (N, n) the fixed samples.
        loss: importance-weighted mean squared error at every hundredth step.
    """

    settings: SuperpositionSettings
    model: ToyModel
    x: Float[Tensor, "N n"]
    loss: list[float]

    @property
    def importance(self) -> Float[Tensor, " n"]:
        """I_i = decay^i."""
        return importance(self.settings)


def importance(settings: SuperpositionSettings) -> Float[Tensor, " n"]:
    """I_i = decay^i of every feature.

    Example:
        >>> importance(SuperpositionSettings(features=3)).tolist()
        [1.0, 0.8, 0.6400000000000001]
    """
    return settings.decay ** torch.arange(settings.features, dtype=torch.float64)


def weighted_loss(
    outputs: Float[Tensor, "N n"], x: Float[Tensor, "N n"], weights: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Mean of I_i (x_i - f_i)^2 over examples and features.

    Example:
        >>> weighted_loss(torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([1.0, 0.5])).item()
        0.75
    """
    return ((x - outputs).square() * weights).mean()


def seeded_toy_model(
    settings: SuperpositionSettings,
) -> tuple[ToyModel, Float[Tensor, "N n"]]:
    """The untrained model and the samples of a seed; its stream gives the samples first.

    Example:
        >>> model, x = seeded_toy_model(SuperpositionSettings(m=2, features=3, examples=4))
        >>> model(x).shape
        torch.Size([4, 3])
    """
    generator = torch.Generator().manual_seed(settings.seed)
    x = sparse_features(settings.examples, settings.features, settings.sparsity, generator)
    return untrained_toy_model(settings, generator), x


def untrained_toy_model(settings: SuperpositionSettings, generator: torch.Generator) -> ToyModel:
    """A toy model with weights of Xavier's normal distribution and zero bias.

    Example:
        >>> settings = SuperpositionSettings(m=2, features=3)
        >>> untrained_toy_model(settings, torch.Generator().manual_seed(0)).W.shape
        torch.Size([2, 3])
    """
    weight = torch.empty(settings.m, settings.features)
    nn.init.xavier_normal_(weight, generator=generator)
    return ToyModel(weight)


def train_toy_model(settings: SuperpositionSettings, *, progress: bool = False) -> TrainedToyModel:
    """Train a toy model of superposition: Adam on the whole batch.

    Args:
        settings: of the regime.
        progress: show a progress bar.

    Raises:
        UserError: if the training diverges.

    Source: arXiv 2510.00468, section 3, after Elhage et al. 2022.

    Example:
        >>> trained = train_toy_model(SuperpositionSettings(m=2, features=3, examples=9, steps=101))
        >>> trained.loss[-1] < trained.loss[0]
        True
    """
    return fit_toy_model(settings, *seeded_toy_model(settings), progress=progress)


def fit_toy_model(
    settings: SuperpositionSettings,
    model: ToyModel,
    x: Float[Tensor, "N n"],
    *,
    progress: bool = False,
) -> TrainedToyModel:
    """Train an untrained toy model on its samples, in place.

    Args:
        settings: of the training.
        model: untrained.
        x: (N, n) the fixed samples.
        progress: show a progress bar.

    Raises:
        UserError: if the training diverges.

    Example:
        >>> settings = SuperpositionSettings(m=2, features=3, examples=9, steps=101)
        >>> trained = fit_toy_model(settings, *seeded_toy_model(settings))
        >>> trained.loss[-1] < trained.loss[0]
        True
    """
    weights = importance(settings).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
    losses = []
    with Progress(f"training {settings.name}", settings.steps, progress) as bar:
        for step in range(settings.steps):
            loss = weighted_loss(model(x), x, weights)
            if step % 100 == 0 or step == settings.steps - 1:
                losses.append(loss.item())
                refuse_divergence(losses[-1], step, settings)
                bar.advance(min(100, settings.steps - step), f"loss {losses[-1]:.2e}")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        refuse_divergence(weighted_loss(model(x), x, weights).item(), settings.steps, settings)
    return TrainedToyModel(settings, model.eval(), x, losses)
