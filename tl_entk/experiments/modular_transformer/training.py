"""Training of the modular-addition Transformer: seeded, checkpointed, resumable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tl_entk.experiments.modular_transformer.last_position import LastPosition
from tl_entk.experiments.modular_transformer.model import build_model, load_weights
from tl_entk.experiments.modular_transformer.settings import ModularSettings
from tl_entk.experiments.modular_transformer.task import ModularData, Weights, seeded_start
from tl_entk.experiments.optimizer_state import optimizer_tensors, restore_optimizer
from tl_entk.experiments.settings import refuse_divergence
from tl_entk.model.classes import ModelClass
from tl_entk.tools.files import read_kept, read_tensors, refuse_damaged, write_kept, write_tensors
from tl_entk.tools.progress import Progress

RESUME_EVERY = 250
# what the files are
_WEIGHTS, _STATE, _CURVE = "weights", "training", "curve of a training"
_WHAT = "checkpoint of this training"


@dataclass(frozen=True)
class TrainingCurve:
    """Loss and accuracy after each recorded epoch, on the training and the test part."""

    epoch: list[int]
    train_loss: list[float]
    test_loss: list[float]
    train_accuracy: list[float]
    test_accuracy: list[float]


@dataclass(frozen=True)
class TrainedModel:
    """A trained model with its data and its course.

    Attributes:
        model: HookedTransformer or TransformerBridge, in evaluation mode.
        data: all examples and the split.
        curve: losses and accuracies by epoch.
        checkpoints: epoch to weights file (TransformerLens names, safetensors).
        reused: whether it was found on disk.
    """

    model: Any
    data: ModularData
    curve: TrainingCurve
    checkpoints: dict[int, Path]
    reused: bool


def checkpoint_epochs(epochs: int) -> list[int]:
    """Epochs at which weights are kept: dense early, where grokking starts, then sparser.

    Example:
        >>> checkpoint_epochs(90)
        [0, 25, 50, 75, 90]
    """
    wanted = {*range(0, 600, 25), *range(600, 1000, 50), *range(1000, epochs, 250), epochs}
    return sorted(epoch for epoch in wanted if epoch <= epochs)


def train(
    settings: ModularSettings,
    model_class: ModelClass,
    folder: Path,
    *,
    device: str = "cpu",
    progress: bool = False,
) -> TrainedModel:
    """Train, or take up a finished or interrupted training found in the folder.

    Cross-entropy over the first p logits at the last position; AdamW; batches of shuffled
    training examples. Weights are kept at :func:`checkpoint_epochs`; every 250 epochs the whole
    state is, so that an interrupted run goes on with the same numbers.

    Args:
        settings: task, sizes, optimizer and seed.
        model_class: ``"hooked"`` or ``"bridge"``.
        folder: where checkpoints lie; made if missing.
        device: where to train.
        progress: show a progress bar with the accuracies.

    Raises:
        UserError: if the training diverges.
    """
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    start = seeded_start(settings)
    model = build_model(settings, model_class, start.weights)
    plain = LastPosition(start.weights, device)
    if device != "cpu":
        model.to(device)  # the host's own, which also tells its configuration
    kept = {
        epoch: checkpoints / f"epoch_{epoch:05d}.safetensors"
        for epoch in checkpoint_epochs(settings.epochs)
    }
    # the number tells it from trainings by other code
    curve_file = folder / "training-3.json"
    if curve_file.exists() and all(path.exists() for path in kept.values()):
        load_checkpoint(model, kept[settings.epochs])
        with refuse_damaged(curve_file, _CURVE):
            curve = TrainingCurve(**read_kept(curve_file, _CURVE))
        return TrainedModel(model, start.data, curve, kept, reused=True)
    run = _Run(plain, settings, start.data, start.generator, folder / "resume.safetensors", device)
    first = run.resume()
    with Progress("training", settings.epochs, progress) as bar:
        bar.advance(first)
        if first == 0:
            write_tensors(kept[0], plain.weights(), kind=_WEIGHTS)
            run.record(0)
        for epoch in range(first + 1, settings.epochs + 1):
            run.epoch()
            if epoch % 20 == 0 or epoch in kept:
                run.record(epoch)
            if epoch in kept:
                write_tensors(kept[epoch], plain.weights(), kind=_WEIGHTS)
            if epoch % RESUME_EVERY == 0 and epoch < settings.epochs:
                run.save(epoch)
            bar.advance(1, run.note())
    load_weights(model, plain.weights())
    curve = TrainingCurve(**run.curve)
    write_kept(curve_file, run.curve)
    run.forget()
    return TrainedModel(model.eval(), start.data, curve, kept, reused=False)


def load_checkpoint(model: Any, path: Path) -> None:
    """Copy a checkpoint's weights into a model, in place.

    Raises:
        UserError: if the file is damaged, or no checkpoint of this model.
    """
    weights = read_tensors(path, _WEIGHTS, _WHAT).tensors
    with refuse_damaged(path, _WHAT):
        load_weights(model, weights)


class _Run:
    """The moving parts of a training: model, optimizer, random stream, curve."""

    def __init__(
        self,
        model: LastPosition,
        settings: ModularSettings,
        data: ModularData,
        generator: torch.Generator,
        path: Path,
        device: str,
    ) -> None:
        self.model = model
        self.device = device
        self.settings = settings
        self.data = data
        self.tokens = data.tokens.to(device)
        self.labels = data.labels.to(device)
        self.generator = generator
        self.optimizer = self._optimizer()
        self.curve: dict[str, list] = {name: [] for name in TrainingCurve.__dataclass_fields__}
        self.path = path

    def _optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            self.model.parameters,
            lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
            fused=True,
        )

    def logits(self, rows: Tensor) -> Tensor:
        return self.model.logits(self.tokens[rows])[:, : self.settings.p]

    def epoch(self) -> None:
        train = self.data.train
        order = train[torch.randperm(len(train), generator=self.generator)]
        for rows in order.split(self.settings.batch_size):
            loss = cross_entropy(self.logits(rows), self.labels[rows])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def record(self, epoch: int) -> None:
        self.curve["epoch"].append(epoch)
        with torch.no_grad():
            for part, rows in (("train", self.data.train), ("test", self.data.test)):
                logits, labels = self.logits(rows), self.labels[rows]
                right = (logits.argmax(-1) == labels).float().mean()
                self.curve[f"{part}_loss"].append(float(cross_entropy(logits, labels)))
                self.curve[f"{part}_accuracy"].append(float(right))
                refuse_divergence(self.curve[f"{part}_loss"][-1], epoch, self.settings)

    def note(self) -> str:
        if not self.curve["epoch"]:
            return ""
        train, test = self.curve["train_accuracy"][-1], self.curve["test_accuracy"][-1]
        return f"accuracy train {train:.2f} test {test:.2f}"

    def save(self, epoch: int) -> None:
        tensors: Weights = {f"weight.{k}": v for k, v in self.model.weights().items()}
        tensors |= optimizer_tensors(self.optimizer, self.model.parameters)
        tensors["generator"] = self.generator.get_state()
        # one file, so that an interruption cannot part weights from their epoch
        state = {"epoch": epoch, "curve": self.curve}
        write_tensors(self.path, tensors, kind=_STATE, about=state)

    def resume(self) -> int:
        """Take up the saved state if there is one; returns its epoch."""
        try:
            _, tensors, saved = read_tensors(self.path, _STATE, _WHAT)
        except FileNotFoundError:
            return 0
        with refuse_damaged(self.path, _WHAT):
            return self._restore(tensors, saved)

    def _restore(self, tensors: Weights, saved: dict[str, Any]) -> int:
        names = [name for name in tensors if name.startswith("weight.")]
        saved_weights = {name.removeprefix("weight."): tensors[name] for name in names}
        # in the order of the optimizer's states
        self.model.load({name: saved_weights[name] for name in self.model.leaves}, self.device)
        self.optimizer = self._optimizer()
        restore_optimizer(self.optimizer, self.model.parameters, tensors)
        self.generator.set_state(tensors["generator"])
        self.curve = saved["curve"]
        return int(saved["epoch"])

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
