"""How far a direction's first-order prediction holds: predicted and measured changes, by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.display import Shown
from feature_sets.errors import UserError
from tl_entk.model.checks import Position
from tl_entk.model.memory import check_memory_budget, examples_per_pass
from tl_entk.model.readouts import LOGITS_READOUT, TARGETED, Targets
from tl_entk.model.stages import first_layer
from tl_entk.operator.rerun import Rerun, prepare_rerun
from tl_entk.tools.values import check_kind, check_place, is_number
from tl_entk.weight_space.directions import WeightDirections
from tl_entk.weight_space.layout import weight_of
from tl_entk.weight_space.nudge import nudge
from tl_entk.weight_space.project import first_order_change, read_work
from tl_entk.weight_space.work import ScoreWork

# steps, as parts of the weights' norm
STEPS = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
# up to which relative error a prediction is said to hold
LINEAR = 0.1


@dataclass(frozen=True, eq=False, repr=False)
class NudgeResponse(Shown):
    """What steps along one direction change, beside what the kernel predicts.

    Attributes:
        steps: (s,) as parts of the weights' norm.
        norm: of the weights, which makes steps of them.
        predicted: (n,) change of what is read per unit step, J_n u.
        measured: (s, n) change of what is read.
    """

    steps: Float[Tensor, " s"]
    norm: float
    predicted: Float[Tensor, " n"]
    measured: Float[Tensor, "s n"]

    @property
    def expected(self) -> Float[Tensor, "s n"]:
        """The predicted change at every step."""
        return self.norm * self.steps[:, None] * self.predicted

    @property
    def correlation(self) -> Float[Tensor, " s"]:
        """Of predicted and measured change over the windows, by step."""
        pairs = torch.stack([self.expected, self.measured], 1)
        return torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs])

    @property
    def error(self) -> Float[Tensor, " s"]:
        """Norm of measured less predicted change, over that of the predicted one, by step."""
        return (self.measured - self.expected).norm(dim=1) / self.expected.norm(dim=1)

    @property
    def linear_until(self) -> float:
        """The largest step up to which all have an error of at most a tenth; 0 if there is none."""
        order = self.steps.argsort()
        holds = (self.error[order] <= LINEAR).cumprod(0)
        return float((self.steps[order] * holds).max())

    def _lines(self) -> list[str]:
        return [
            f"NudgeResponse: {len(self.steps)} steps, {len(self.predicted)} windows; linear up to "
            f"{self.linear_until:g} of the weights' norm",
        ]

    def to_pandas(self) -> Any:
        """A row per step: correlation and relative error of prediction and measurement."""
        import pandas as pd

        return pd.DataFrame(
            {
                "step": self.steps.numpy(),
                "correlation": self.correlation.numpy(),
                "error": self.error.numpy(),
            }
        )


def nudge_response(
    directions: WeightDirections,
    model: Any,
    tokens: Int[Tensor, "n t"],
    direction: int = 0,
    *,
    steps: Sequence[float] = STEPS,
    position: Position | None = None,
    targets: Targets = None,
    memory_budget: int | None = None,
) -> NudgeResponse:
    """Move the weights along a direction, and compare what is read with the kernel's prediction.

    Args:
        directions: of the weights.
        model: that they are of; it comes back as it was.
        tokens: (n, t) windows, those that the directions are of or others.
        direction: which of them.
        steps: as parts of the norm of the weights.
        position: where windows are read; default as the directions were made.
        targets: (n,) classes of target readouts; default the model's top token before the step.
        memory_budget: bytes.

    Returns:
        Predicted and measured changes of the readout; of all logits, of their part that scores
        are along.

    Raises:
        UserError: for steps that are no positive numbers, or as :func:`tl_entk.project`.

    Source: this project.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> from tl_entk.operator.top_directions import top_eigendirections
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> eigen = top_eigendirections(model, data.tokens, "blocks.0.mlp.W_out", k=1, tol=1e-6)
        >>> found = nudge_response(eigen.weight_directions(), model, data.tokens)
        >>> bool(found.correlation[0] > 0.999)
        True
    """
    check_kind("directions", directions, WeightDirections, "eigen.weight_directions()")
    check_place("direction", direction, len(directions))
    if not len(steps) or not all(is_number(step) and step > 0 for step in steps):
        raise UserError(f"steps = {steps!r}: pass positive numbers, parts of the weights' norm.")
    if targets is None and directions.readout in TARGETED:
        work = read_work(directions, model, tokens, position, None)
        budget = check_memory_budget(memory_budget, work.adapter.device)
        targets = _top_tokens(work, directions, budget)
    work = read_work(directions, model, tokens, position, targets)
    budget = check_memory_budget(memory_budget, work.adapter.device)
    rerun = _rerun(work, budget, first_layer(work.names, work.adapter.n_layers))
    before = _read(rerun, work, direction)
    one = _take(directions, direction)
    predicted = first_order_change(
        one, model, tokens, position=position, targets=targets, memory_budget=memory_budget
    )
    weights = [weight_of(work.adapter, name) for name in directions.weights]
    norm = float(sum(weight.double().square().sum() for weight in weights)) ** 0.5
    measured = []
    for step in steps:
        with nudge(model, one[0], step * norm):
            measured.append(_read(rerun, work, direction) - before)
    return NudgeResponse(
        torch.tensor(steps, dtype=torch.float64),
        norm,
        predicted[:, 0].double(),
        torch.stack(measured),
    )


def _take(directions: WeightDirections, direction: int) -> WeightDirections:
    """One of them alone: of all logits each takes a backward pass of its own."""
    output = directions.output
    return replace(
        directions,
        weights={name: part[[direction]] for name, part in directions.weights.items()},
        eigenvalues=directions.eigenvalues[[direction]],
        sizes=directions.sizes[[direction]],
        offset=directions.offset[[direction]],
        output=None if output is None else output[:, [direction]],
    )


def _top_tokens(work: ScoreWork, directions: WeightDirections, budget: int) -> Int[Tensor, " n"]:
    """The model's top token of every window: a step must not change what is looked at."""
    classes = torch.arange(work.adapter.n_outputs)[directions.class_slice or slice(None)]
    logits = replace(work, task=replace(work.task, readout=LOGITS_READOUT))
    # they are read once, so that no block's inputs are worth keeping
    rerun = _rerun(logits, budget, 0)
    several = [found[:, classes].argmax(1) for _, found in rerun.outputs()]
    return classes[torch.cat(several).cpu()]


def _rerun(work: ScoreWork, budget: int, layer: int) -> Rerun:
    """The windows, as many at a time as there is room for, from a block on."""
    task, adapter = work.task, work.adapter
    floats, itemsize = adapter.example_floats(task.length), adapter.dtype.itemsize
    batch = examples_per_pass(len(task), floats, itemsize, budget)
    return prepare_rerun(task, layer, batch)


def _read(rerun: Rerun, work: ScoreWork, direction: int) -> Float[Tensor, " n"]:
    """What is read of every window, along the direction's part of the outputs."""
    found = []
    for _, outputs in rerun.outputs():
        wide = outputs.to(work.dtype)
        along = wide[:, 0] if work.output is None else wide @ work.output[:, direction]
        found.append(along.double().cpu())
    return torch.cat(found)
