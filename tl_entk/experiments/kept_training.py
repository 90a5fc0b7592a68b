"""A training whose state is kept whole: an interrupted one goes on with the same numbers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from tl_entk.experiments.optimizer_state import optimizer_tensors, restore_optimizer
from tl_entk.experiments.plain_transformer import PlainTransformer, Weights
from tl_entk.tools.files import read_tensors, refuse_damaged, write_tensors

# what the files are
WEIGHTS, _STATE = "weights", "training"
CHECKPOINT = "checkpoint of this training"


class KeptTraining:
    """The moving parts of a training: model, optimizer, random stream, curve.

    Args:
        model: trained in place by AdamW.
        settings: with learning_rate and weight_decay.
        generator: of the batches.
        path: where the whole state is kept.
        columns: of the curve.
        device: where the model is.
    """

    def __init__(
        self,
        model: PlainTransformer,
        settings: Any,
        generator: torch.Generator,
        path: Path,
        columns: Iterable[str],
        device: str = "cpu",
    ) -> None:
        self.model = model
        self.settings = settings
        self.generator = generator
        self.path = path
        self.curve: dict[str, list] = {name: [] for name in columns}
        self.device = device
        self.optimizer = self._optimizer()

    def _optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            self.model.parameters,
            lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
            fused=True,
        )

    def save(self, epoch: int) -> None:
        """Keep the state after so many epochs, or steps."""
        tensors: Weights = {f"weight.{k}": v for k, v in self.model.weights().items()}
        tensors |= optimizer_tensors(self.optimizer, self.model.parameters)
        tensors["generator"] = self.generator.get_state()
        # one file, so that an interruption cannot part weights from their epoch
        state = {"epoch": epoch, "curve": self.curve}
        write_tensors(self.path, tensors, kind=_STATE, about=state)

    def resume(self) -> int:
        """Take up the saved state if there is one; returns its epoch."""
        try:
            _, tensors, saved = read_tensors(self.path, _STATE, CHECKPOINT)
        except FileNotFoundError:
            return 0
        with refuse_damaged(self.path, CHECKPOINT):
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
        """Remove the state that was kept."""
        self.path.unlink(missing_ok=True)
