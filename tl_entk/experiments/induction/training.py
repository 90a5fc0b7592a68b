"""Training of the attention-only Transformer: seeded, with kept weights, gone on with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tl_entk.experiments.induction.data import Sequences, draw_sequences
from tl_entk.experiments.induction.model import AttentionOnly, seeded_weights
from tl_entk.experiments.induction.settings import InductionSettings
from tl_entk.experiments.kept_training import WEIGHTS, KeptTraining
from tl_entk.experiments.plain_transformer import PlainTransformer
from tl_entk.experiments.settings import refuse_divergence
from tl_entk.tools.files import read_kept, refuse_damaged, write_kept, write_tensors
from tl_entk.tools.progress import Progress

RESUME_EVERY = 500
# sequences of a stream of their own that the losses are measured on
_HELD_OUT = 256
_CURVE = "curve of a training"


@dataclass(frozen=True)
class LossCurve:
    """Cross-entropy on held-out sequences at the kept steps.

    Attributes:
        step: of the records.
        repeated: loss where the last token has stood before, so that the next is known.
        new: loss elsewhere.
    """

    step: list[int]
    repeated: list[float]
    new: list[float]


class Training(NamedTuple):
    """A finished training.

    Attributes:
        curve: losses at the kept steps.
        checkpoints: step to weights file (TransformerLens names, safetensors).
    """

    curve: LossCurve
    checkpoints: dict[int, Path]


def kept_steps(settings: InductionSettings) -> list[int]:
    """Steps at which weights are kept: the start, and as evenly as whole steps allow.

    Example:
        >>> kept_steps(InductionSettings(steps=10, checkpoints=4))
        [0, 2, 5, 8, 10]
    """
    count = settings.checkpoints
    return [round(settings.steps * i / count) for i in range(count + 1)]


def train_attention_only(
    settings: InductionSettings, folder: Path, *, progress: bool = False
) -> Training:
    """Train, or take up a finished or interrupted training found in the folder.

    Cross-entropy of the next token at every position, AdamW, new sequences at every step.

    Args:
        settings: task, sizes, optimizer and seed.
        folder: where checkpoints lie; made if missing.
        progress: show a progress bar.

    Raises:
        UserError: if the training diverges.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = {step: folder / f"step_{step:06d}.safetensors" for step in kept_steps(settings)}
    curve_file = folder / "curve.json"
    if curve_file.exists() and all(path.exists() for path in kept.values()):
        with refuse_damaged(curve_file, _CURVE):
            return Training(LossCurve(**read_kept(curve_file, _CURVE)), kept)
    generator = torch.Generator().manual_seed(settings.seed)
    model = AttentionOnly(seeded_weights(settings, generator))
    run = _Run(model, settings, generator, folder / "resume.safetensors", LossCurve.__annotations__)
    first = run.resume()
    with Progress("training", settings.steps, progress) as bar:
        bar.advance(first)
        if first == 0:
            run.keep(0, kept[0])
        for step in range(first + 1, settings.steps + 1):
            run.step()
            if step in kept:
                run.keep(step, kept[step])
            if step % RESUME_EVERY == 0 and step < settings.steps:
                run.save(step)
            bar.advance(1, run.note())
    write_kept(curve_file, run.curve)
    run.forget()
    return Training(LossCurve(**run.curve), kept)


class _Run(KeptTraining):
    """A training on sequences that are drawn as it goes."""

    def step(self) -> None:
        tokens = draw_sequences(self.settings, self.settings.batch_size, self.generator).tokens
        loss = _losses(self.model, tokens).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def keep(self, step: int, path: Path) -> None:
        """Weights, and the losses on held-out sequences."""
        write_tensors(path, self.model.weights(), kind=WEIGHTS)
        tokens, period = self._held_out
        with torch.no_grad():
            losses = _losses(self.model, tokens)
        known = torch.arange(self.settings.length) >= period[:, None]
        self.curve["step"].append(step)
        self.curve["repeated"].append(float(losses[known].mean()))
        self.curve["new"].append(float(losses[~known].mean()))
        refuse_divergence(float(losses.mean()), step, self.settings)

    @property
    def _held_out(self) -> Sequences:
        # of a seed that no training begins with
        generator = torch.Generator().manual_seed(2**62 + self.settings.seed)
        return draw_sequences(self.settings, _HELD_OUT, generator)

    def note(self) -> str:
        return f"loss {self.curve['repeated'][-1]:.2f} where tokens repeat"


def _losses(model: PlainTransformer, tokens: Tensor) -> Tensor:
    """Cross-entropy of the next token at every position."""
    logits = model.logits(tokens[:, :-1])
    return cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").view(
        len(tokens), -1
    )
