"""Does the linearization hold? The network's tangent model as kernel ridge regression.

The network's linearization at its trained weights is f(x) + J(x) w for a change w of the weights.
Fitting it to targets with a ridge is kernel regression with the flattened eNTK; where it predicts
what the network does, the kernel's features are the network's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import mse_loss

from feature_sets.errors import UserError
from tl_entk.linearization.build_jacobian import build_jacobian
from tl_entk.linearization.fit_checks import (
    AROUND,
    Around,
    check_labels,
    check_settings,
    check_targets,
    split_examples,
)
from tl_entk.linearization.jacobian import Jacobian
from tl_entk.linearization.judge import Judge, LinearFit, Loss
from tl_entk.linearization.kernel_regression import (
    RidgeSolution,
    Solver,
    fit_ridge,
    mean_diagonal,
)
from tl_entk.model.adapters import adapt
from tl_entk.model.batches import run_in_batches
from tl_entk.model.checks import Position
from tl_entk.model.factors import forward, measure_uses
from tl_entk.model.finite import check_finite
from tl_entk.model.memory import check_memory_budget, examples_per_pass
from tl_entk.model.provenance import hash_of
from tl_entk.model.readouts import LOGITS
from tl_entk.model.request import Request, read_request
from tl_entk.model.sites import Components
from tl_entk.tools.arrays import Matrix
from tl_entk.tools.values import check_kind


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
    targets: Matrix,
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
        targets: (N, R) what the outputs should be, a tensor or a numpy array; one-hot for classes.
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
        memory_budget: bytes that factors and matrices may take (default 4 GiB, on a GPU 40 % of
            its memory).
        dtype: number format of the kernel's factors.

    Returns:
        Predictions with R^2, loss ratio and accuracy gap by part (``fits``, ``rows()``).

    Raises:
        UserError: for what cannot be meant; the message says what to do.
        torch.OutOfMemoryError: if the factors, or a single example's rows of J, do not fit the
            device.

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
    check_settings(ridge, around, solver, tol, max_iterations)
    check_kind("loss", loss, (Callable, type(None)), "a function of (outputs, targets)")
    request = read_request(
        adapt(model),
        inputs,
        components,
        LOGITS,
        position=position,
        dtype=dtype,
        class_slice=class_slice,
    )
    network = _Network(request, check_memory_budget(memory_budget, request.task.inputs.device))
    outputs = network.outputs()
    targets = check_targets(targets, outputs)
    judge = Judge(outputs, targets, check_labels(labels, outputs), loss or mse_loss)
    parts = split_examples(train, len(outputs))
    chosen = parts["train"]
    start: dict[str, Tensor] = {"model": outputs, "zero": torch.zeros_like(outputs)}
    start = {key: start[key] for key in around}
    J = network.jacobian(chosen)
    if relative_ridge:
        ridge = ridge * mean_diagonal(J)
    wanted = [(targets - values)[chosen] for values in start.values()]
    solved = fit_ridge(J, wanted, ridge, solver=solver, tol=tol, max_iterations=max_iterations)
    solutions = dict(zip(start, solved, strict=True))
    info = _provenance(J, request) | {"class_slice": str(class_slice)}
    predictions = {key: values.clone() for key, values in start.items()}
    _add_changes(predictions, solutions, J, chosen)
    del J  # one part's factors at a time
    if "test" in parts:
        _add_changes(predictions, solutions, network.jacobian(parts["test"]), parts["test"])
    fits = [
        judge.judge_part(key, part, prediction, rows)
        for key, prediction in predictions.items()
        for part, rows in parts.items()
    ]
    return Linearized(outputs, predictions, solutions, tuple(fits), float(ridge), info)


def _add_changes(
    predictions: Mapping[str, Float[Tensor, "n r"]],
    solutions: Mapping[str, RidgeSolution],
    J: Jacobian,
    rows: Int[Tensor, " b"],
) -> None:
    """Add to predictions, in place, what the changes of the weights do to some of the examples."""
    for key, solution in solutions.items():
        predictions[key][rows] += _to_float64(J.apply(solution.change))


def _provenance(J: Jacobian, request: Request) -> dict[str, Any]:
    """Of all examples, with the training rows' number and digits beside."""
    return {
        **J.provenance,
        "n": len(request.task),
        "n_train": J.n,
        "tokens_sha256": hash_of(request.task.inputs),
        "train_sha256": J.provenance["tokens_sha256"],
    }


def _to_float64(values: Float[Tensor, "n r"]) -> Float[Tensor, "n r"]:
    return values.detach().cpu().double()


@dataclass(frozen=True, eq=False)
class _Network:
    """The model with what is read from it, checked."""

    request: Request
    budget: int

    def outputs(self) -> Float[Tensor, "n r"]:
        """What the readout reads of every example."""
        task, n = self.request.task, len(self.request.task)
        with torch.enable_grad():
            uses, _ = measure_uses(task, task.adapter.sites)
        floats = task.example_floats(uses)
        step = examples_per_pass(n, floats, self.request.dtype.itemsize, self.budget)
        found = []

        def read(rows: slice) -> None:
            _, logits = forward(task, [], rows)
            outputs = task.readout.outputs(logits, rows)
            check_finite(outputs, task, rows, "an output")
            found.append(_to_float64(outputs))

        with torch.no_grad():
            run_in_batches(n, step, read)
        return torch.cat(found)

    def jacobian(self, chosen: Int[Tensor, " b"]) -> Jacobian:
        """J of some of the examples."""
        task = self.request.task
        part = replace(self.request, task=task.take(chosen.to(task.inputs.device)))
        return build_jacobian(part, self.budget)
