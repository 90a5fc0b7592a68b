"""How close predictions of a linearization come to what the network does."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LinearFit:
    """How well a linearization predicts one part of the examples.

    Attributes:
        around: ``"model"`` (f + K (K + ridge)^-1 (y - f)) or ``"zero"`` (K (K + ridge)^-1 y).
        part: ``"train"`` or ``"test"``.
        examples: in the part.
        r2: R^2 of the prediction against the model's outputs f, 1 - sum (f - prediction)^2 / sum
            (f - mean f)^2: each output about its mean over the part, sums over all outputs; nan
            where no output varies.
        loss: of the prediction.
        model_loss: of the model.
        accuracy: of the prediction's largest output; None without labels.
        model_accuracy: of the model's.
    """

    around: str
    part: str
    examples: int
    r2: float
    loss: float
    model_loss: float
    accuracy: float | None = None
    model_accuracy: float | None = None

    @property
    def loss_ratio(self) -> float:
        """Loss of the prediction over that of the model."""
        return self.loss / self.model_loss if self.model_loss else math.nan

    @property
    def accuracy_gap(self) -> float | None:
        """Accuracy of the prediction less that of the model."""
        if self.accuracy is None or self.model_accuracy is None:
            return None
        return self.accuracy - self.model_accuracy


@dataclass(frozen=True, eq=False)
class Judge:
    """What predictions are compared with.

    Attributes:
        outputs: (N, R) of the model.
        targets: (N, R) that were fitted.
        labels: (N,) index of the right output; None for no accuracies.
        loss: of (outputs, targets).
    """

    outputs: Float[Tensor, "n r"]
    targets: Float[Tensor, "n r"]
    labels: Int[Tensor, " n"] | None
    loss: Loss

    def judge_part(
        self, around: str, part: str, prediction: Float[Tensor, "n r"], rows: Int[Tensor, " b"]
    ) -> LinearFit:
        """How good a prediction is on one part of the examples.

        Args:
            around: which linearization predicts.
            part: name of the part.
            prediction: (N, R) of all examples.
            rows: of the part.
        """
        predicted, f, y = prediction[rows], self.outputs[rows], self.targets[rows]
        varies = float((f - f.mean(0)).square().sum())
        accuracies = []
        if self.labels is not None:
            right = self.labels[rows]
            accuracies = [float((v.argmax(1) == right).double().mean()) for v in (predicted, f)]
        return LinearFit(
            around,
            part,
            len(rows),
            1 - float((f - predicted).square().sum()) / varies if varies else math.nan,
            self._lose(predicted, y),
            self._lose(f, y),
            *accuracies,
        )

    def _lose(self, outputs: Float[Tensor, "b r"], targets: Float[Tensor, "b r"]) -> float:
        """The loss as a number.

        Raises:
            UserError: if it is none.
        """
        found = self.loss(outputs, targets)
        if not isinstance(found, Tensor | float | int) or Tensor.numel(torch.as_tensor(found)) != 1:
            raise UserError(
                "the loss is no single number: return one for all examples, such as their mean."
            )
        return float(found)
