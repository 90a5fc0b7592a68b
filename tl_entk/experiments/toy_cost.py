"""What the toy experiments will take: a few steps and one kernel each are measured, and scaled up.

Rotations, linearization and comparison are not measured: to measure them is to do them.
"""

from __future__ import annotations

import copy
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tl_entk.directions.eigen import eigendecompose
from tl_entk.experiments.clock import Clock
from tl_entk.experiments.cost import Cost
from tl_entk.experiments.induction.analysis import build_trained, follow_heads
from tl_entk.experiments.induction.attributions import attribute
from tl_entk.experiments.induction.data import draw_windows
from tl_entk.experiments.induction.settings import InductionSettings
from tl_entk.experiments.induction.training import Training, train_attention_only
from tl_entk.experiments.modular_mlp.analysis import kept_epochs, recorded_epochs
from tl_entk.experiments.modular_mlp.model import MLPData, train_mlp
from tl_entk.experiments.modular_mlp.settings import MLPSettings
from tl_entk.experiments.modular_transformer.analysis import WEIGHTS_AND_HEADS
from tl_entk.experiments.modular_transformer.course import UNEMBED, W_IN
from tl_entk.experiments.modular_transformer.settings import ModularSettings
from tl_entk.experiments.modular_transformer.training import (
    TrainedModel,
    checkpoint_epochs,
    train,
)
from tl_entk.experiments.paper import FEW_BETAS, SEEDS, author_settings
from tl_entk.experiments.structured_superposition import analysis as structured
from tl_entk.experiments.structured_superposition.model import seeded_structured_model
from tl_entk.experiments.structured_superposition.settings import StructureSettings
from tl_entk.experiments.superposition.analysis import analyze
from tl_entk.experiments.superposition.model import (
    ToyModel,
    TrainedToyModel,
    fit_toy_model,
    train_toy_model,
)
from tl_entk.experiments.superposition.settings import BETAS, SuperpositionSettings, paper_regimes
from tl_entk.kernel.blocks import kernel_blocks
from tl_entk.model.classes import ModelClass
from tl_entk.model.sites import Components
from tl_entk.tools.timing import seconds

_CPU = torch.device("cpu")
# two lengths that a training is measured with: their difference leaves out how it is set up
_SHORT, _LONGER = 20, 120
# the rest of a run, said beside an estimate
NOT_MEASURED = (
    "one training after the other, though several are run side by side; other collapses, "
    "rotations, linearization, comparison and the page come on top"
)


def estimate_superposition(
    regimes: Sequence[SuperpositionSettings], betas: Sequence[float]
) -> Iterator[Cost]:
    """Training and kernels of some regimes, one after the other.

    Args:
        regimes: each trained once.
        betas: importance exponents.

    Example:
        >>> toy = SuperpositionSettings(m=2, features=3, examples=9, steps=101)
        >>> [cost.part for cost in estimate_superposition([toy], [0.3])]
        ['m = 2, S = 0.3: training', 'm = 2, S = 0.3: kernels']
    """
    exponents = sorted({0.0, *betas})
    for settings in regimes:
        trained = _train_toy(settings, _SHORT)
        yield _training(
            partial(_train_toy, settings),
            settings.steps, "steps", _CPU, f"{settings.name}: training",
        )  # fmt: skip
        one = seconds(partial(analyze, trained, (), fits=False), _CPU)
        yield Cost(
            f"{settings.name}: kernels", len(exponents) * one, 0,
            f"{len(exponents)} exponents; one was measured",
        )  # fmt: skip


def _train_toy(settings: SuperpositionSettings, steps: int) -> TrainedToyModel:
    return train_toy_model(replace(settings, steps=steps))


def estimate_structures(regimes: Sequence[StructureSettings]) -> Iterator[Cost]:
    """Training and comparison of some structures, one after the other; comparisons are alike.

    Args:
        regimes: each trained once.

    Example:
        >>> toy = StructureSettings(m=2, features=6, examples=40, steps=101)
        >>> [cost.part for cost in estimate_structures([toy])]
        ['independent: training', 'kernels and comparison']
    """
    for settings in regimes:
        yield _training(
            partial(_train_structure, settings),
            settings.steps, "steps", _CPU, f"{settings.name}: training",
        )  # fmt: skip
    first = regimes[0]
    start, trained = _train_structure(first, _SHORT)
    one = seconds(partial(structured.analyze, first, start, trained, Clock()), _CPU)
    yield Cost(
        "kernels and comparison", len(regimes) * one, 0, f"{len(regimes)} models; one was measured"
    )


def _train_structure(settings: StructureSettings, steps: int) -> tuple[ToyModel, TrainedToyModel]:
    start, x = seeded_structured_model(settings)
    return start, fit_toy_model(replace(settings, steps=steps), copy.deepcopy(start), x)


def estimate_mlp(settings: MLPSettings) -> Iterator[Cost]:
    """Training of one MLP, and the kernels that are followed.

    Args:
        settings: of the training.

    Example:
        >>> [cost.part for cost in estimate_mlp(MLPSettings(p=5, n=4, epochs=50))]
        ['training', 'kernels through training']
    """

    def train_for(epochs: int) -> tuple[nn.Module, MLPData]:
        return train_mlp(replace(settings, epochs=epochs))

    model, data = train_for(_SHORT)
    yield _training(train_for, settings.epochs, "epochs", _CPU)
    measured = _measure_kernels(lambda: kernel_blocks(model, data.x, "class_trace"))
    followed, kept = len(recorded_epochs(settings)), len(kept_epochs(settings))
    # two kernels are followed; of kept models layer 2's is decomposed too
    taken = measured.seconds(followed + kept, decomposed=2 * followed + 3 * kept)
    yield Cost(
        "kernels through training", taken, 0,
        f"{followed + kept} records; one was measured",
    )  # fmt: skip


def estimate_transformer(
    settings: ModularSettings, model_class: ModelClass, device: str = "cpu"
) -> Iterator[Cost]:
    """Training of one Transformer, its kernels, and those of its checkpoints.

    Args:
        settings: of the training.
        model_class: which TransformerLens class.
        device: where it is trained.

    Example:
        >>> found = estimate_transformer(ModularSettings(p=5, epochs=50), "bridge")
        >>> [cost.part for cost in found]
        ['training', 'kernels of the trained model', 'kernels through training']
    """

    def train_for(epochs: int) -> TrainedModel:
        with tempfile.TemporaryDirectory() as folder:
            few = replace(settings, epochs=epochs)
            return train(few, model_class, Path(folder), device=device)

    trained = train_for(_SHORT)
    yield _training(train_for, settings.epochs, "epochs", torch.device(device))

    def make(components: Components) -> Mapping[str, Tensor]:
        return kernel_blocks(trained.model, trained.data.tokens, "mean_logit", components)

    whole = _measure_kernels(partial(make, WEIGHTS_AND_HEADS))
    count = 1 + whole.number
    yield Cost(
        "kernels of the trained model", whole.seconds(1, decomposed=count), 0,
        f"{count} kernels; one was decomposed",
    )  # fmt: skip
    followed = _measure_kernels(partial(make, [UNEMBED, W_IN]))
    records = len(checkpoint_epochs(settings.epochs))
    yield Cost(
        "kernels through training", followed.seconds(records, decomposed=2 * records), 0,
        f"{records} checkpoints, two kernels each; one was measured",
    )  # fmt: skip


def estimate_induction(settings: InductionSettings) -> Iterator[Cost]:
    """Training of one attention-only Transformer, its attributions, and shares at every record.

    Args:
        settings: of the training.

    Example:
        >>> small = InductionSettings(d_model=8, d_head=4, pairs=4, steps=150)
        >>> [cost.part for cost in estimate_induction(small)]
        ['training', 'attributions of the trained model', 'shares through training']
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def train_for(steps: int) -> Training:
            # a start and an end, and one between
            few = replace(settings, steps=steps, checkpoints=3)
            return train_attention_only(few, folder / f"{steps}-{next(times)}")

        times = itertools.count()
        training = train_for(_SHORT)
        yield _training(train_for, settings.steps, "steps", _CPU)
        model = build_trained(replace(settings, steps=_SHORT, checkpoints=3), training)
        windows = draw_windows(settings)
        yield Cost(
            "attributions of the trained model",
            seconds(lambda: attribute(model, windows), _CPU), 0,
            f"{len(windows.tokens)} windows; measured",
        )  # fmt: skip
        one = seconds(lambda: follow_heads(model, training, windows), _CPU)
        yield Cost(
            "shares through training",
            one / len(training.checkpoints) * (settings.checkpoints + 1), 0,
            f"{settings.checkpoints + 1} records; {len(training.checkpoints)} were measured",
        )  # fmt: skip


def estimate_paper(model_class: ModelClass) -> Iterator[Cost]:
    """Every training of the paper's toy settings, one after the other.

    Args:
        model_class: of the Transformer.
    """
    seeds = len(SEEDS)
    toys = (
        ("superposition, first seed", paper_regimes(), BETAS, 1),
        ("superposition, other seeds", paper_regimes(), FEW_BETAS, seeds - 1),
        ("the author's toy model", [author_settings(0)], (0.0,), seeds),
    )
    for name, regimes, betas, times in toys:
        yield _together(name, estimate_superposition(regimes, betas), times)
    yield _together("MLP", estimate_mlp(MLPSettings()), seeds)
    yield _together("narrow MLP", estimate_mlp(MLPSettings(n=64)), 1)
    yield _together("Transformer", estimate_transformer(ModularSettings(), model_class), seeds)


def _together(part: str, costs: Iterator[Cost], times: int) -> Cost:
    found = list(costs)
    note = f"{times} times {', '.join(f'{cost.part} {cost.seconds:.1f} s' for cost in found)}"
    return Cost(part, times * sum(cost.seconds for cost in found), 0, note)


def _training(
    work: Callable[[int], object],
    steps: int,
    unit: str,
    device: torch.device,
    part: str = "training",
) -> Cost:
    """A whole training, from what a longer one takes more than a short one.

    One that was run before has set up libraries.
    """
    short, longer = (seconds(partial(work, n), device) for n in (_SHORT, _LONGER))
    one = max(0.0, longer - short) / (_LONGER - _SHORT)
    taken = max(short + (steps - _SHORT) * one, 0.0)
    return Cost(part, taken, 0, f"{steps} {unit}; {_SHORT} and {_LONGER} were measured")


class _Measured(NamedTuple):
    """Seconds of all kernels of one model, how many they are, and of one's eigendirections."""

    kernels: float
    number: int
    decomposition: float

    def seconds(self, times: int, *, decomposed: int) -> float:
        """The kernels so many times, and so many of them decomposed."""
        return times * self.kernels + decomposed * self.decomposition


def _measure_kernels(make: Callable[[], Mapping[str, Tensor]]) -> _Measured:
    blocks = make()
    kernel = next(iter(blocks.values()))
    k = min(130, len(kernel))
    return _Measured(
        seconds(make, kernel.device),
        len(blocks),
        seconds(lambda: eigendecompose(kernel, k), kernel.device),
    )
