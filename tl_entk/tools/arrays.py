"""Numbers that a caller hands over, as tensors or numpy arrays, made one kind in one place."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from feature_sets.errors import UserError
from feature_sets.warn import warn_user

# what a caller may pass for a matrix of n examples: (n, d), or (n, t, d) as run_with_cache gives it
Rows: TypeAlias = Shaped[Tensor, "n ..."] | Shaped[np.ndarray, "n ..."]
# of one matrix whose two sizes are checked by name
Matrix: TypeAlias = Shaped[Tensor, "n m"] | Shaped[np.ndarray, "n m"]
# by how much entries (n, m) and (m, n) of a kernel may differ, over its largest
ASYMMETRY = 1e-4
# any numbers
Array: TypeAlias = Shaped[Tensor, "..."] | Shaped[np.ndarray, "..."]


def to_tensor(values: Any, name: str) -> Tensor:
    """Numbers as a detached tensor; floats keep their number format, others become float64.

    Args:
        values: a tensor, a numpy array, or what numpy makes one of.
        name: of the argument, for the message.

    Raises:
        UserError: if they are no real numbers.

    Example:
        >>> to_tensor(np.arange(2), "activations")
        tensor([0., 1.], dtype=torch.float64)
    """
    if isinstance(values, Tensor):
        tensor = values.detach()
        if tensor.is_complex():
            raise UserError(f"{name} is complex: pass real numbers, such as {name}.real.")
        if tensor.layout != torch.strided:
            raise UserError(f"{name} is sparse: pass {name}.to_dense().")
        if tensor.is_meta:
            raise UserError(f"{name} is on the meta device and has no numbers: load it on another.")
        return tensor if tensor.is_floating_point() else tensor.double()
    if np.ma.is_masked(values):
        raise UserError(f"{name} has masked numbers: leave those examples out, or fill them.")
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError):  # rows of different lengths, most often
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise UserError(
            f"{name} is a {type(values).__name__} of {array.dtype}: pass a tensor or a numpy "
            "array of real numbers."
        )
    narrow = array.dtype.kind == "f" and array.dtype.itemsize <= 8
    # a copy: torch warns of arrays that it may not write to, and takes no foreign byte order
    return torch.from_numpy(
        np.array(array, dtype=array.dtype.newbyteorder("=") if narrow else np.float64, order="C")
    )


def to_matrix(values: Any, name: str, n: int | None = None) -> Float[Tensor, "n d"]:
    """Numbers of n examples as a finite tensor (n, d).

    Args:
        values: (n, d), or (n, t, d) activations of all positions as ``run_with_cache`` gives them,
            of which the last position is taken, with a warning.
        name: of the argument, for the message.
        n: examples there have to be; None for any number.

    Raises:
        UserError: for another shape or number of examples, none at all, or if a number is not
            finite.

    Warns:
        UserWarning: that the last of several positions is taken.

    Example:
        >>> to_matrix(np.eye(2, dtype=np.float32), "activations").dtype
        torch.float32
    """
    tensor = to_tensor(values, name)
    if tensor.ndim == 3:
        warn_user(
            f"{name} has shape {tuple(tensor.shape)}, read as (examples, positions, width): taken "
            f"at the last position. Pass {name}[:, position] for another, or to silence this."
        )
        tensor = tensor[:, -1]
    if tensor.ndim != 2:
        fix = f" One column is {name}[:, None]." if tensor.ndim == 1 else ""
        raise UserError(
            f"{name} has shape {tuple(tensor.shape)}: pass (examples, width), or (examples, "
            f"positions, width).{fix}"
        )
    if 0 in tensor.shape:
        raise UserError(
            f"{name} has shape {tuple(tensor.shape)}: pass one example and one column or more."
        )
    if n is not None and len(tensor) != n:
        raise UserError(
            f"{name} of {len(tensor)} examples beside {n}: pass the same examples in the same "
            "order."
        )
    finite = torch.isfinite(tensor).all(1)
    if not bool(finite.all()):
        bad = (~finite).nonzero()[:, 0]
        raise UserError(
            f"{name} is not finite in {len(bad)} of {len(tensor)} examples (the first is "
            f"{int(bad[0])}): drop those examples, or compute it in a wider format."
        )
    return tensor


def to_vector(values: Any, name: str, one: str) -> Float[Tensor, " n"]:
    """Finite numbers as a tensor of one axis.

    Args:
        values: (n,) numbers.
        name: of the argument, for the message.
        one: of them, for the message, such as "eigenvalue".

    Raises:
        UserError: for another shape, none at all, or if one is not finite.

    Example:
        >>> to_vector(np.array([2, 1]), "eigenvalues", "eigenvalue")
        tensor([2., 1.], dtype=torch.float64)
    """
    tensor = to_tensor(values, name)
    if tensor.ndim != 1:
        raise UserError(f"{name} has shape {tuple(tensor.shape)}: pass one axis, a number each.")
    if len(tensor) == 0:
        raise UserError(f"there is no {one} in {name}: pass one or more.")
    finite = torch.isfinite(tensor)
    if not bool(finite.all()):
        raise UserError(
            f"{name} is not finite: {one} {int((~finite).nonzero()[0])} is "
            f"{float(tensor[~finite][0])}; compute it in a wider format, or leave it out."
        )
    return tensor


def to_kernel(values: Any) -> Float[Tensor, "n n"]:
    """A kernel as a tensor in its own format, where it is.

    Args:
        values: (N, N), a tensor or a numpy array.

    Raises:
        UserError: if it is neither, not square, empty, not finite, not symmetric, or negative on
            its diagonal.

    Example:
        >>> to_kernel(np.eye(2, dtype=np.float32)).dtype
        torch.float32
    """
    if not isinstance(values, Tensor | np.ndarray):
        raise UserError(
            f"a kernel is a tensor or a numpy array, not {type(values).__name__}: pass one block, "
            "blocks[name], or blocks.total()."
        )
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise UserError(f"a kernel is square; this matrix has shape {tuple(values.shape)}.")
    kernel = to_tensor(values, "kernel")
    if len(kernel) == 0:
        raise UserError("the kernel has no examples: pass one of two or more.")
    if not bool(torch.isfinite(kernel).all()):
        raise UserError("the kernel is not finite: compute it in a wider format.")
    allowed = ASYMMETRY * float(kernel.abs().max())
    if float((kernel - kernel.T).abs().max()) > allowed:
        raise UserError("the kernel is not symmetric: pass one of KernelBlocks' matrices.")
    lowest = float(kernel.diagonal().min())
    if lowest < -allowed:
        raise UserError(
            f"the diagonal has the negative entry {lowest:.3g}, so this is no kernel: those are "
            "positive semidefinite; check its sign."
        )
    return kernel
