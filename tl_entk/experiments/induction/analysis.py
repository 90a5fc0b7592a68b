"""Induction heads: known scores of every head, attributions of the feature, and their course."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.experiments.clock import Clock
from tl_entk.experiments.induction.attributions import (
    TARGET_LOGIT,
    attribute,
    head_kernels,
    share_of_heads,
    trace_of_heads,
)
from tl_entk.experiments.induction.data import Windows, draw_windows
from tl_entk.experiments.induction.head_scores import (
    HeadScores,
    attention_scores,
    score_heads,
)
from tl_entk.experiments.induction.model import build_attention_only, seeded_weights
from tl_entk.experiments.induction.settings import InductionSettings
from tl_entk.experiments.induction.training import Training, train_attention_only
from tl_entk.experiments.modular_transformer.training import load_checkpoint
from tl_entk.model.classes import default_model_class
from tl_entk.tools.progress import Progress

SHARE, TRACE_SHARE = "share", "trace share"


@dataclass(frozen=True, eq=False)
class InductionResult:
    """What one seed's heads show.

    Attributes:
        settings: of the training.
        steps: of the records.
        losses: "repeated" and "new" to the loss at every record.
        known: score of heads to its numbers, of the trained model.
        attributions: method to its numbers, of the trained model.
        course: quantity to its numbers at every record, (records, layers, heads).
        seconds: wall time of each part.
    """

    settings: dict[str, Any]
    steps: list[int]
    losses: dict[str, list[float]]
    known: dict[str, HeadScores]
    attributions: dict[str, HeadScores]
    course: dict[str, Float[Tensor, "records layers heads"]]
    seconds: dict[str, float]

    def leading_head(self, score: str) -> Head:
        """The head of the trained model with the largest known score."""
        return Head(*divmod(int(self.known[score].argmax()), self.known[score].shape[1]))


class Head(NamedTuple):
    """An attention head."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"{self.layer}.{self.head}"


def run_induction(
    settings: InductionSettings, folder: Path, *, progress: bool = False
) -> InductionResult:
    """Train a Transformer, score its heads, and attribute the repeated token to them.

    Args:
        settings: of the training.
        folder: where its checkpoints are kept, and an interrupted training goes on.
        progress: show progress bars.

    Raises:
        UserError: if the training diverges.
    """
    clock = Clock()
    training = train_attention_only(settings, folder, progress=progress)
    clock.lap("training")
    windows = draw_windows(settings)
    model = build_trained(settings, training)
    known = score_heads(model, windows)
    clock.lap("known scores")
    attributions = attribute(model, windows)
    clock.lap("attributions")
    course = follow_heads(model, training, windows, progress=progress)
    clock.lap("course")
    losses = {"repeated": training.curve.repeated, "new": training.curve.new}
    return InductionResult(
        settings.as_dict(), training.curve.step, losses, known, attributions, course, clock.seconds
    )


def build_trained(settings: InductionSettings, training: Training) -> Any:
    """The trained model, of the class that the installed TransformerLens has."""
    generator = torch.Generator().manual_seed(settings.seed)
    model = build_attention_only(
        settings, default_model_class(), seeded_weights(settings, generator)
    )
    load_checkpoint(model, training.checkpoints[settings.steps])
    return model


def follow_heads(
    model: Any, training: Training, windows: Windows, *, progress: bool = False
) -> dict[str, Float[Tensor, "records layers heads"]]:
    """Attention scores and shares of every head at every kept step; the model ends as trained.

    The share and the trace are of the kernel of ``target_logit``.

    Args:
        model: of either TransformerLens class.
        training: with its checkpoints.
        windows: pairs.
        progress: show a progress bar.
    """
    rows: dict[str, list[Tensor]] = {}
    with Progress("following the heads", len(training.checkpoints), progress) as bar:
        for path in training.checkpoints.values():
            load_checkpoint(model, path)
            blocks = head_kernels(model, windows, TARGET_LOGIT)
            found = attention_scores(model, windows)
            found |= {
                SHARE: share_of_heads(blocks, windows.feature),
                TRACE_SHARE: trace_of_heads(blocks),
            }
            for name, values in found.items():
                rows.setdefault(name, []).append(values.double())
            bar.advance()
    return {name: torch.stack(values) for name, values in rows.items()}
