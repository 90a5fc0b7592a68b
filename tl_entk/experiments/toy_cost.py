"""What the toy experiments will take: a few steps and one kernel each are measured, and scaled up.

Rotations, linearization and comparison are not measured: to measure them is to do them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from tl_entk.directions.eigen import eigendecompose
from tl_entk.experiments.cost import Cost
from tl_entk.experiments.modular_mlp.analysis import kept_epochs, recorded_epochs
from tl_entk.experiments.modular_mlp.model import seeded_mlp, train_mlp
from tl_entk.experiments.modular_mlp.settings import MLPSettings
from tl_entk.experiments.modular_transformer.settings import ModularSettings
from tl_entk.experiments.modular_transformer.training import TrainedModel, checkpoint_epochs, train
from tl_entk.experiments.paper import FEW_BETAS, SEEDS
from tl_entk.experiments.superposition.analysis import analyze
from tl_entk.experiments.superposition.model import train_toy_model
from tl_entk.experiments.superposition.settings import BETAS, SuperpositionSettings, paper_regimes
from tl_entk.kernel.blocks import kernel_blocks
from tl_entk.model.classes import ModelClass
from tl_entk.tools.timing import seconds

_CPU = torch.device("cpu")
# steps and epochs measured, after as many that set up libraries
_FEW_STEPS, _FEW_EPOCHS = 40, 10
NOT_MEASURED = "rotations, linearization, comparison and the page come on top"


def estimate_superposition(
    regimes: Sequence[SuperpositionSettings], betas: Sequence[float]
) -> Iterator[Cost]:
    """Training and kernels of some regimes, one after the other.

    Args:
        regimes: each trained once.
        betas: importance exponents.
    """
    exponents = sorted({0.0, *betas})
    for settings in regimes:
        few = replace(settings, steps=min(_FEW_STEPS, settings.steps))
        train_toy_model(few)
        one = seconds(lambda few=few: train_toy_model(few), _CPU) / few.steps  # type: ignore[misc]
        yield Cost(
            f"{settings.name}: training", settings.steps * one, 0,
            f"{settings.steps} steps; {few.steps} were measured",
        )  # fmt: skip
        trained = train_toy_model(few)
        one = seconds(lambda trained=trained: analyze(trained, (), fits=False), _CPU)  # type: ignore[misc]
        yield Cost(
            f"{settings.name}: kernels", len(exponents) * one, 0,
            f"{len(exponents)} exponents; one was measured",
        )  # fmt: skip


def estimate_mlp(settings: MLPSettings) -> Iterator[Cost]:
    """Training of one MLP, and the kernels that are followed."""
    few = replace(settings, epochs=min(_FEW_EPOCHS, settings.epochs))
    train_mlp(few)
    one = seconds(lambda: train_mlp(few), _CPU) / few.epochs
    note = f"{settings.epochs} epochs; {few.epochs} were measured"
    yield Cost("training", settings.epochs * one, 0, note)
    model, data = seeded_mlp(settings)
    kernels, decomposition = _measure_kernels(lambda: kernel_blocks(model, data.x, "class_trace"))
    records = len(recorded_epochs(settings)) + len(kept_epochs(settings))
    # of both layers together, and of each
    yield Cost(
        "kernels through training", records * (kernels + 3 * decomposition), 0,
        f"{records} records of 3 kernels; one was measured",
    )  # fmt: skip


def estimate_transformer(
    settings: ModularSettings, model_class: ModelClass, device: str = "cpu"
) -> Iterator[Cost]:
    """Training of one Transformer, its kernels, and those of its checkpoints."""
    few = replace(settings, epochs=min(_FEW_EPOCHS, settings.epochs))
    where = torch.device(device)

    def train_few() -> TrainedModel:
        with tempfile.TemporaryDirectory() as folder:
            return train(few, model_class, Path(folder), device=device)

    trained = train_few()
    one = seconds(train_few, where) / few.epochs
    note = f"{settings.epochs} epochs; {few.epochs} were measured"
    yield Cost("training", settings.epochs * one, 0, note)
    model, tokens = trained.model, trained.data.tokens
    blocks = kernel_blocks(model, tokens, "mean_logit", "*.W_*")
    kernels, decomposition = _measure_kernels(
        lambda: kernel_blocks(model, tokens, "mean_logit", "*.W_*")
    )
    yield Cost(
        "kernels of the trained model", kernels + (1 + len(blocks)) * decomposition, 0,
        f"{1 + len(blocks)} kernels; one was decomposed",
    )  # fmt: skip
    records = len(checkpoint_epochs(settings.epochs))
    yield Cost(
        "kernels through training", records * (kernels + 3 * decomposition), 0,
        f"{records} checkpoints; at most what one kernel of all weights takes",
    )  # fmt: skip


def estimate_paper(model_class: ModelClass) -> Iterator[Cost]:
    """Every training of the paper's toy settings, one after the other."""
    seeds = len(SEEDS)
    for whole in (True, False):
        found = list(estimate_superposition(paper_regimes(), BETAS if whole else FEW_BETAS))
        times = 1 if whole else seeds - 1
        yield _together(f"superposition, {times} of {seeds} seeds", found, times)
    # five seeds and the narrow one
    yield _together("MLP", list(estimate_mlp(MLPSettings())), seeds + 1)
    yield _together(
        "Transformer", list(estimate_transformer(ModularSettings(), model_class)), seeds
    )


def _together(part: str, costs: Sequence[Cost], times: int) -> Cost:
    note = f"{times} times {', '.join(f'{cost.part} {cost.seconds:.1f} s' for cost in costs)}"
    return Cost(part, times * sum(cost.seconds for cost in costs), 0, note)


def _measure_kernels(make: Callable[[], Mapping[str, Tensor]]) -> tuple[float, float]:
    """Seconds of all kernels of one model, and of the eigendirections of one."""
    blocks = make()
    kernel = next(iter(blocks.values()))
    k = min(130, len(kernel))
    return seconds(make, _CPU), seconds(lambda: eigendecompose(kernel, k), _CPU)
