"""What steps along one direction and its rivals did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from tl_entk.weight_space.response import NudgeResponse

# rivals; the kernel's own direction goes by the kernel's name
RANDOM_WEIGHTS = "random direction of the weights"
RANDOM_STATES = "random direction of the activations"
PCA, STANDARDIZED = "PCA", "standardized PCA"
GRADIENT = "gradient of the label"
KERNEL = "eNTK direction"
SPAN, RANDOM_SPAN = "read and write span", "random span"


@dataclass(frozen=True, eq=False)
class CausalDirection:
    """One kernel's direction for one label, and its rivals at the same layer.

    Attributes:
        kernel: the method.
        label: what it was chosen for.
        labels: whose log-odds were measured.
        layer: of the kernel; "all" of several.
        rival_layer: whose activations the rivals are directions of.
        direction: which of the kernel's.
        train_ap: average precision on the train half.
        components: weights that were moved.
        norm: of those weights.
        steps: (s,) parts of that norm.
        used_predicted: (a,) change of the readout per unit step, on windows of the kernel.
        used_measured: (s, a) that was measured.
        new_predicted: (b,) the same on windows that the kernel has not.
        new_measured: (s, b).
        scores: (b,) of those windows, the label at the high end.
        has_label: (b,) whether their next word has it.
        sizes: method to sizes of its steps, with the sign; several of what is drawn at random.
        changes: method to (r, b, f) changes of log-odds on the test half.
        divergences: method to (r, b) of the next token's distribution.
        removed_odds: method to (r, b) change of the label's log-odds without the direction.
        removed_loss: method to (r, b) change of the loss.
    """

    kernel: str
    label: str
    labels: list[str]
    layer: str
    rival_layer: str
    direction: int
    train_ap: float
    components: list[str]
    norm: float
    steps: Float[Tensor, " s"]
    used_predicted: Float[Tensor, " a"]
    used_measured: Float[Tensor, "s a"]
    new_predicted: Float[Tensor, " b"]
    new_measured: Float[Tensor, "s b"]
    scores: Float[Tensor, " b"]
    has_label: Tensor
    sizes: dict[str, list[float]]
    changes: dict[str, Float[Tensor, "r b f"]]
    divergences: dict[str, Float[Tensor, "r b"]]
    removed_odds: dict[str, Float[Tensor, "r b"]]
    removed_loss: dict[str, Float[Tensor, "r b"]]

    @property
    def used(self) -> NudgeResponse:
        """Predicted and measured changes on windows of the kernel."""
        return NudgeResponse(self.steps, self.norm, self.used_predicted, self.used_measured)

    @property
    def new(self) -> NudgeResponse:
        """The same on windows that the kernel has not."""
        return NudgeResponse(self.steps, self.norm, self.new_predicted, self.new_measured)

    @property
    def label_index(self) -> int:
        """Place of the label among all that were measured."""
        return self.labels.index(self.label)


@dataclass(frozen=True, eq=False)
class Causal:
    """All directions that were looked at.

    Attributes:
        directions: a kernel's direction for a label each.
        left_out: what was not looked at, and why.
        counts: of windows and tokens, for the report.
    """

    directions: list[CausalDirection]
    left_out: dict[str, str]
    counts: dict[str, Any]
