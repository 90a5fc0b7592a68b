"""What is watched of a kernel: the overlap of some of its eigendirections with features."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from feature_sets.errors import UserError
from feature_sets.feature_set import FeatureSet
from tl_entk.alignment.overlap import Features, subspace_overlap
from tl_entk.kernel.kernel_blocks import KernelBlocks
from tl_entk.tools.arrays import to_tensor
from tl_entk.tools.values import check_at_least, check_kind, is_integer, read_list

TOTAL = "total"


@dataclass(frozen=True, eq=False)
class Watch:
    """A run of a kernel's eigendirections whose overlap with a feature family is followed.

    Attributes:
        kernel: name of the kernel; ``"total"`` is all of them together.
        modes: numbers of the eigendirections, from 0, largest eigenvalue first.
        features: a FeatureSet or an (N, F) tensor.
        max_overlap: the smaller of the two dimensions.

    Raises:
        UserError: if modes are none, no integers, repeated, negative or beyond the N examples, or
            a feature is constant.

    Example:
        >>> Watch("total", range(1, 3), torch.eye(4)[:, :3]).max_overlap
        2
    """

    kernel: str
    modes: Sequence[int]
    features: Features
    max_overlap: int = field(init=False)

    def __post_init__(self) -> None:
        check_kind("kernel", self.kernel, str, "a name, or 'total'")
        kinds = (FeatureSet, Tensor, np.ndarray)
        check_kind("features", self.features, kinds, "a FeatureSet, or an (N, F) tensor")
        modes, shape = read_list("modes", self.modes, "integers"), self.values.shape
        if not all(is_integer(mode) for mode in modes):
            raise UserError(f"modes = {self.modes!r}: pass integers, as range(1, 57).")
        if not modes or len(set(modes)) < len(modes):
            raise UserError(f"modes = {self.modes}: pass one or more, each once, as range(1, 57).")
        if len(shape) != 2:
            raise UserError(f"features have shape {tuple(shape)}: pass (examples, features).")
        if min(modes) < 0 or max(modes) >= shape[0]:
            raise UserError(
                f"modes {min(modes)} to {max(modes)}: a kernel of {shape[0]} examples has modes 0 "
                f"to {shape[0] - 1}."
            )
        # any orthonormal directions tell the largest overlap
        largest = subspace_overlap(torch.eye(shape[0], len(modes)), self.features).max_overlap
        object.__setattr__(self, "max_overlap", largest)

    @property
    def values(self) -> Tensor:
        """Feature values (N, F)."""
        if isinstance(self.features, FeatureSet):
            return torch.from_numpy(self.features.values)
        return to_tensor(self.features, "features").cpu()

    def identity(self) -> dict[str, Any]:
        """What tells this watch from others, as plain JSON values."""
        values = self.values.double().contiguous().numpy()
        digest = hashlib.sha256(values.tobytes()).hexdigest()[:16]
        return {"kernel": self.kernel, "modes": list(self.modes), "features_sha256": digest}


def count_examples(watches: Mapping[str, Watch], k: int) -> dict[str, int]:
    """Number of examples of every watched kernel, if k eigendirections of it go with the watches.

    Raises:
        UserError: if features of one kernel are of different numbers of examples, a watch goes
            beyond the k eigendirections, or k is beyond the examples.
    """
    check_at_least("k", k)
    lengths: dict[str, int] = {}
    for name, watch in watches.items():
        n = lengths.setdefault(watch.kernel, len(watch.values))
        if len(watch.values) != n:
            raise UserError(
                f"features of {name!r} are of {len(watch.values)} examples, others of kernel "
                f"{watch.kernel!r} of {n}: pass features of the kernel's examples."
            )
        if max(watch.modes) >= k:
            raise UserError(
                f"{name!r} watches mode {max(watch.modes)}, but only k = {k} are kept: "
                f"pass k={max(watch.modes) + 1} or more."
            )
    most = min(lengths.values(), default=k)
    if k > most:
        raise UserError(f"k = {k}: pass 1 to the number of examples, here {most}.")
    return lengths


def find_kernel(kernels: Mapping[str, Tensor], name: str) -> Tensor:
    """The kernel that a watch names; ``"total"`` is all together where there is no such entry.

    Raises:
        UserError: if there is none of that name.
    """
    if name in kernels:
        return kernels[name]
    if name != TOTAL or not kernels:
        raise UserError(
            f"kernels gives no {name!r}: there are {[*kernels][:8]} and {TOTAL!r}. Watch one of "
            "these, or let the function compute it."
        )
    blocks = kernels if isinstance(kernels, KernelBlocks) else KernelBlocks(dict(kernels))
    return blocks.total()
