"""Does the linearization hold? The network's tangent model as kernel ridge regression.

The network's linearization at its trained weights is f(x) + J(x) w for a change w of the weights.
Fitting it to targets with a ridge is kernel regression with the flattened eNTK; where it predicts
what the network does, the kernel's features are the network's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import mse_loss

from feature_sets.errors import UserError
from tl_entk.linearization.build_jacobian import jacobian
from tl_entk.linearization.jacobian import Jacobian
from tl_entk.linearization.kernel_regression import (
    SOLVERS,
    RidgeSolution,
    Solver,
    fit_ridge,
    mean_diagonal,
)
from tl_entk.model.adapters import adapt
from tl_entk.model.checks import Position
from tl_entk.model.factors import forward, measure_uses
from tl_entk.model.memory import check_memory_budget, examples_per_pass
from tl_entk.model.provenance import hash_of
from tl_entk.model.readouts import LOGITS, Readout, ReadoutLike
from tl_entk.model.request import Request, read_request
from tl_entk.model.sites import Components

Around = Literal["model", "zero"]
AROUND: tuple[Around, ...] = ("model", "zero")
Loss = Callable[[Tensor, Tensor], Tensor]
_INDICES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


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
class Linearized:
    """Predictions of a network's linearization.

    Attributes:
        outputs: (N, R) of the model.
        predictions: (N, R) of the linearization around the model, and around zero.
        solutions: how each was solved, with the change of the weights.
        fits: how good they are, by linearization and part.
        ridge: in the kernel's units.
        provenance: model, components, examples and versions.
    """

    outputs: Float[Tensor, "n r"]
    predictions: dict[str, Float[Tensor, "n r"]]
    solutions: dict[str, RidgeSolution]
    fits: tuple[LinearFit, ...]
    ridge: float
    provenance: dict[str, Any] = field(default_factory=dict)

    def fit(self, around: Around = "model", part: str = "train") -> LinearFit:
        """One of the fits.

        Raises:
            UserError: if there is none such.
        """
        for fit in self.fits:
            if (fit.around, fit.part) == (around, part):
                return fit
        there = ", ".join(f"({fit.around!r}, {fit.part!r})" for fit in self.fits)
        raise UserError(f"no fit ({around!r}, {part!r}): there are {there}.")

    def rows(self) -> list[dict[str, Any]]:
        """The fits as rows of a table, plain values."""
        return [
            {
                **vars(fit),
                "loss_ratio": fit.loss_ratio,
                "accuracy_gap": fit.accuracy_gap,
                "ridge": self.ridge,
                "solver": self.solutions[fit.around].solver,
                "iterations": self.solutions[fit.around].iterations,
                "residual": self.solutions[fit.around].residual,
            }
            for fit in self.fits
        ]


def linearized(
    model: torch.nn.Module,
    inputs: Shaped[Tensor, "n ..."],
    targets: Float[Tensor, "n r"],
    *,
    train: Int[Tensor, " n_train"] | None = None,
    ridge: float = 5e-4,
    relative_ridge: bool = False,
    components: Components = None,
    around: Sequence[Around] = AROUND,
    class_slice: slice | None = None,
    position: Position = -1,
    labels: Int[Tensor, " n"] | None = None,
    loss: Loss | None = None,
    solver: Solver = "auto",
    tol: float = 1e-6,
    max_iterations: int = 2000,
    memory_budget: int | None = None,
    dtype: torch.dtype = torch.float64,
) -> Linearized:
    """Predictions of the network's linearization at its weights, and how close they come.

    Kernel ridge regression with the flattened eNTK K = J J^T of all outputs, X the training rows:

        around the model   f(x) + K(x, X) (K(X, X) + ridge)^-1 (y - f(X))
        around zero        K(x, X) (K(X, X) + ridge)^-1 y

    The second knows the kernel alone. On the training rows of a network homogeneous in its weights
    (f = J w / degree) the two meet as the ridge goes to zero: look at the test part.
    By Cholesky up to 5000 weights or training rows (examples times outputs), whichever are fewer;
    else by conjugate gradients, two products with J an iteration.

    Args:
        model: anything :func:`tl_entk.jacobian` takes, in evaluation mode.
        inputs: (N, t) token numbers, or (N, ...) for a module of one's own.
        targets: (N, R) what the outputs should be; one-hot for classes.
        train: indices of the training rows; default all. The rest is the test part.
        ridge: in the kernel's units. The default is the source's for toy models of superposition,
            whose kernel has about 1 on its diagonal.
        relative_ridge: take ``ridge`` times the mean diagonal entry of K(X, X) instead, where
            kernels are small or differ in size: the mean-field MLP's diagonal is 2e-5 at the start
            of training and 3e-3 at its end.
        components: as for :func:`tl_entk.kernel_blocks`: the weights that may change.
        around: which of the two.
        class_slice: the logits that are outputs, for a vocabulary with more entries than classes.
        position: where logits are read.
        labels: (N,) index of the right output, for accuracies.
        loss: of (outputs, targets), both (n, R), a scalar; default the mean squared error.
        solver: ``"cholesky"``, ``"cg"``, or ``"auto"``.
        tol: relative residual up to which conjugate gradients go.
        max_iterations: of conjugate gradients.
        memory_budget: bytes that factors and matrices may take (default 4 GiB).
        dtype: number format of the kernel's factors.

    Returns:
        Predictions with R^2, loss ratio and accuracy gap by part (``fits``, ``rows()``).

    Raises:
        UserError: for what cannot be meant; the message says what to do.

    Warns:
        RuntimeWarning: where conjugate gradients did not reach ``tol``.

    Source: arXiv 2510.00468 and its author's code (eNTK regression).

    Example:
        >>> layer = torch.nn.Linear(2, 1, bias=False)
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> found = linearized(layer, x, x @ torch.tensor([[2.0], [3.0]]), ridge=1e-9)
        >>> found.predictions["zero"].round(decimals=3).tolist()
        [[2.0], [3.0], [5.0]]
    """
    _check_settings(ridge, around, solver, tol, max_iterations)
    adapter = adapt(model)
    readout = _readout(class_slice, adapter.check_inputs(inputs).outputs)
    request = read_request(adapter, inputs, components, readout, position=position, dtype=dtype)
    budget = check_memory_budget(memory_budget)
    network = _Network(request, components, readout, budget)
    outputs = network.outputs()
    targets = _check_targets(targets, outputs)
    judge = _Judge(outputs, targets, _check_labels(labels, outputs), loss or mse_loss)
    parts = _parts(train, len(outputs))
    chosen = parts["train"]
    J = network.jacobian(chosen)
    if relative_ridge:
        ridge = ridge * mean_diagonal(J)
    start: dict[str, Tensor] = {"model": outputs, "zero": torch.zeros_like(outputs)}
    solved = fit_ridge(
        J,
        [(targets - start[key])[chosen] for key in around],
        ridge,
        solver=solver,
        tol=tol,
        max_iterations=max_iterations,
    )
    solutions: dict[str, RidgeSolution] = dict(zip(around, solved, strict=True))
    info = _provenance(J, request)
    predictions: dict[str, Tensor] = {key: start[key].clone() for key in around}
    for part, rows in parts.items():
        if part == "test":
            del J  # one part's factors at a time
            J = network.jacobian(rows)
        for key, solution in solutions.items():
            predictions[key][rows] += _plain(J.apply(solution.change))
    fits = [
        judge.fit(key, part, predictions[key], rows)
        for key in around
        for part, rows in parts.items()
    ]
    return Linearized(outputs, predictions, solutions, tuple(fits), float(ridge), info)


def _provenance(J: Jacobian, request: Request) -> dict[str, Any]:
    """Of all examples, with the training rows' number and digits beside."""
    return {
        **J.provenance,
        "n": len(request.task),
        "n_train": J.n,
        "tokens_sha256": hash_of(request.task.inputs),
        "train_sha256": J.provenance["tokens_sha256"],
    }


def _plain(values: Float[Tensor, "n r"]) -> Float[Tensor, "n r"]:
    return values.detach().cpu().double()


@dataclass(frozen=True, eq=False)
class _Network:
    """The model with what is read from it, checked."""

    request: Request
    components: Components
    readout: ReadoutLike
    budget: int

    def outputs(self) -> Float[Tensor, "n r"]:
        """What the readout reads of every example."""
        task, n = self.request.task, len(self.request.task)
        with torch.enable_grad():
            uses, _ = measure_uses(task, task.adapter.sites)
        floats = task.example_floats(uses)
        step = examples_per_pass(n, floats, self.request.dtype.itemsize, self.budget)
        found = []
        with torch.no_grad():
            for at in range(0, n, step):
                rows = slice(at, min(at + step, n))
                _, logits = forward(task, [], rows)
                found.append(_plain(task.readout.outputs(logits, rows)))
        return torch.cat(found)

    def jacobian(self, chosen: Int[Tensor, " b"]) -> Jacobian:
        """J of some of the examples."""
        task = self.request.task
        here = chosen.to(task.inputs.device)
        return jacobian(
            task.adapter.model,
            task.inputs[here],
            self.components,
            readout=self.readout,
            position=task.positions[here],
            memory_budget=self.budget,
            dtype=self.request.dtype,
        )


@dataclass(frozen=True, eq=False)
class _Judge:
    """What predictions are compared with."""

    outputs: Float[Tensor, "n r"]
    targets: Float[Tensor, "n r"]
    labels: Int[Tensor, " n"] | None
    loss: Loss

    def fit(
        self, around: str, part: str, prediction: Float[Tensor, "n r"], rows: Int[Tensor, " b"]
    ) -> LinearFit:
        """Of one part of the examples."""
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
            float(self.loss(predicted, y)),
            float(self.loss(f, y)),
            *accuracies,
        )


def _readout(class_slice: slice | None, n_outputs: int) -> ReadoutLike:
    if class_slice is None:
        return LOGITS
    if not isinstance(class_slice, slice):
        raise UserError(f"class_slice is {class_slice!r}: pass a slice, for example slice(0, 10).")
    start, stop, step = class_slice.indices(n_outputs)
    if not range(start, stop, step):
        raise UserError(f"class_slice {class_slice} holds none of the {n_outputs} classes.")
    return Readout(lambda logits: logits[:, class_slice], name=f"logits {start} to {stop - 1}")


def _parts(train: Tensor | None, n: int) -> dict[str, Int[Tensor, " b"]]:
    """Indices of the training rows, and of the rest where there is one.

    Raises:
        UserError: for indices that cannot be meant.
    """
    if train is None:
        return {"train": torch.arange(n)}
    if not isinstance(train, Tensor) or train.ndim != 1 or train.dtype not in _INDICES:
        raise UserError(f"train = {train!r}: pass indices of examples, a tensor of integers.")
    train = train.cpu().long()
    if len(train.unique()) < len(train) or not bool(((train >= 0) & (train < n)).all()):
        raise UserError(f"train has indices that repeat or are not among the {n} examples.")
    rest = torch.ones(n, dtype=torch.bool)
    rest[train] = False
    test = rest.nonzero()[:, 0]
    if len(train) < 2 or len(test) == 1:
        raise UserError(
            f"{len(train)} training rows and {len(test)} others: a kernel compares examples; pass "
            "at least two of either (or all rows for training)."
        )
    return {"train": train, "test": test} if len(test) else {"train": train}


def _check_targets(targets: Any, outputs: Float[Tensor, "n r"]) -> Float[Tensor, "n r"]:
    if not isinstance(targets, Tensor) or not targets.is_floating_point():
        raise UserError(
            "targets are numbers, a tensor (N, R) of floats: for classes pass "
            "torch.nn.functional.one_hot(labels, R).double()."
        )
    if targets.shape != outputs.shape:
        raise UserError(
            f"targets of shape {tuple(targets.shape)} for outputs of shape "
            f"{tuple(outputs.shape)}: pass one row per example, one column per output (class_slice "
            "chooses the outputs)."
        )
    if not bool(torch.isfinite(targets).all()):
        raise UserError("the targets are not finite: drop or mend those examples.")
    return _plain(targets)


def _check_labels(labels: Any, outputs: Float[Tensor, "n r"]) -> Int[Tensor, " n"] | None:
    if labels is None:
        return None
    n, r = outputs.shape
    counts = isinstance(labels, Tensor) and labels.shape == (n,) and labels.dtype in _INDICES
    if not counts or int(labels.min()) < 0 or int(labels.max()) >= r:
        raise UserError(f"labels are indices of outputs: pass {n} integers from 0 to {r - 1}.")
    return labels.cpu().long()


def _check_settings(
    ridge: float, around: Sequence[str], solver: str, tol: float, max_iterations: int
) -> None:
    """Refuse settings out of their range.

    Raises:
        UserError: says which are not.
    """
    if not 0 < ridge < math.inf:
        raise UserError(
            f"ridge = {ridge}: pass a positive number; without a ridge the kernel has no inverse "
            "where there are fewer weights than rows."
        )
    if isinstance(around, str) or sorted(set(around) & set(AROUND)) != sorted(around) or not around:
        raise UserError(f"around = {around!r}: pass one or both of {AROUND}, as a tuple.")
    if solver not in SOLVERS:
        raise UserError(f"solver = {solver!r}: pass one of {', '.join(SOLVERS)}.")
    if not 0 < tol < 1 or max_iterations < 1:
        raise UserError(
            f"tol = {tol}, max_iterations = {max_iterations}: pass a relative residual between 0 "
            "and 1, and at least one iteration."
        )
