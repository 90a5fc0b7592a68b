"""Checks of what a linear fit is asked for, and how its examples are parted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.linearization.kernel_regression import SOLVERS
from tl_entk.tools.arrays import to_tensor
from tl_entk.tools.indices import is_index_tensor
from tl_entk.tools.values import check_positive, check_share, is_integer

Around = Literal["model", "zero"]
AROUND: tuple[Around, ...] = ("model", "zero")


def check_settings(
    ridge: Any, around: Sequence[str], solver: str, tol: Any, max_iterations: Any
) -> None:
    """Refuse settings out of their range.

    Raises:
        UserError: says which are not.
    """
    why = "; without a ridge the kernel has no inverse where there are fewer weights than rows"
    check_positive("ridge", ridge, why)
    chosen = () if isinstance(around, str) or not isinstance(around, Sequence) else around
    if not chosen or [name for name in chosen if chosen.count(name) > 1 or name not in AROUND]:
        raise UserError(f"around = {around!r}: pass one or both of {AROUND}, as a tuple.")
    if not isinstance(solver, str) or solver not in SOLVERS:
        raise UserError(f"solver = {solver!r}: pass one of {', '.join(SOLVERS)}.")
    check_share("tol", tol, "a relative residual", 1e-6)
    if not is_integer(max_iterations) or max_iterations < 1:
        raise UserError(f"max_iterations = {max_iterations!r}: pass at least one iteration.")


def check_targets(targets: Any, outputs: Float[Tensor, "n r"]) -> Float[Tensor, "n r"]:
    """Targets in float64 on the CPU.

    Raises:
        UserError: unless they are finite numbers, one for each output.
    """
    if isinstance(targets, np.ndarray):
        targets = to_tensor(targets, "targets")
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
        raise UserError("the targets are not finite: drop or fix those examples.")
    return targets.detach().cpu().double()


def check_labels(labels: Any, outputs: Float[Tensor, "n r"]) -> Int[Tensor, " n"] | None:
    """Labels as int64 on the CPU, if there are any.

    Raises:
        UserError: unless they are indices of outputs, one for each example.
    """
    if labels is None:
        return None
    n, r = outputs.shape
    counts = is_index_tensor(labels) and labels.shape == (n,)
    if not counts or int(labels.min()) < 0 or int(labels.max()) >= r:
        raise UserError(f"labels are indices of outputs: pass {n} integers from 0 to {r - 1}.")
    return labels.cpu().long()


def split_examples(train: Any, n: int) -> dict[str, Int[Tensor, " b"]]:
    """Indices of the training rows, and of the rest where there is one.

    Raises:
        UserError: for indices that cannot be meant.
    """
    if train is None:
        return {"train": torch.arange(n)}
    if not is_index_tensor(train) or train.ndim != 1:
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
