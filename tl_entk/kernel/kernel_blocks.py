"""Kernel blocks as a mapping: the dense N x N eNTK of every component, and sums of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.display import Shown, list_some
from feature_sets.errors import UserError
from tl_entk.kernel.normalize import normalize
from tl_entk.model.origin import Origin
from tl_entk.model.sites import match_names, partition
from tl_entk.tools.arrays import to_tensor
from tl_entk.tools.values import check_kind


@dataclass(frozen=True, eq=False, repr=False)
class KernelBlocks(Shown, Mapping[str, Tensor]):
    """Kernel blocks by component name, each (N, N), symmetric and positive semidefinite.

    Attributes:
        blocks: name to matrix, in the model's order; a weight is followed by its heads.
        provenance: model, readout, position, number formats and versions.
        origin: what they were computed of, where that is known; not kept in files.

    Raises:
        UserError: if there is none, or they are not square and of one size.

    Example:
        >>> eye = torch.eye(2)
        >>> blocks = KernelBlocks({"attn.W_Q": 3 * eye, "attn.W_Q[0]": eye, "mlp.W_in": eye})
        >>> blocks.total().diagonal().tolist(), blocks.sum("attn.*").diagonal().tolist()
        ([4.0, 4.0], [3.0, 3.0])
    """

    blocks: dict[str, Float[Tensor, "n n"]]
    provenance: dict[str, Any] = field(default_factory=dict)
    origin: Origin | None = None

    def __post_init__(self) -> None:
        check_kind("blocks", self.blocks, Mapping, "a mapping from names to matrices")
        check_kind("provenance", self.provenance, dict, "a dict of what they were made of")
        if not self.blocks:
            raise UserError("there are no blocks: pass one or more.")
        found = {name: _check_block(name, block) for name, block in self.blocks.items()}
        first, shape = next((name, block.shape) for name, block in found.items())
        for name, block in found.items():
            if block.shape != shape:
                raise UserError(
                    f"block {name!r} has shape {tuple(block.shape)}, {first!r} {tuple(shape)}: "
                    "pass kernels of the same examples."
                )
        object.__setattr__(self, "blocks", found)

    # two results are the same object or different: tensors have no single truth value
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getitem__(self, name: str) -> Float[Tensor, "n n"]:
        if name not in self:
            raise KeyError(
                f"no block {name!r} was computed; there are {list(self.blocks)[:6]} ... "
                "Ask for it with components=[...]."
            )
        return self.blocks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.blocks)

    def __len__(self) -> int:
        return len(self.blocks)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.blocks

    def _lines(self) -> list[str]:
        n = len(next(iter(self.blocks.values())))
        readout = self.provenance.get("readout")
        of = f", readout {readout}" if readout else ""
        return [f"KernelBlocks: {len(self)} blocks of {n} x {n}{of}", list_some(self)]

    def to_pandas(self) -> Any:
        """A row per block: component, trace, share of the total's trace, in the total.

        A share that is not ``in_total`` is part of another block's, as a head's is of its weight's.
        """
        import pandas as pd

        traces = {name: float(block.double().trace()) for name, block in self.items()}
        parts = set(self.partition())
        total = sum(traces[name] for name in parts) or 1.0
        return pd.DataFrame(
            {
                "component": list(traces),
                "trace": list(traces.values()),
                "share": [trace / total for trace in traces.values()],
                "in_total": [name in parts for name in traces],
            }
        )

    def partition(self) -> list[str]:
        """Names that make up the total: no head beside its weight, no role beside its whole."""
        return partition(self)

    def total(self) -> Float[Tensor, "n n"]:
        """Kernel of all computed components together, nothing counted twice.

        Where embedding and unembedding are one parameter and its kernel was computed, the
        cross terms of the two roles are in it.
        """
        return self._add(self.partition())

    def sum(
        self, pattern: str | Sequence[str], normalization: str = "plain"
    ) -> Float[Tensor, "n n"]:
        """Kernel of the components that match a glob, nothing counted twice.

        Args:
            pattern: for example ``"blocks.0.*"`` for a layer, ``"*.attn.W_V[*]"`` for heads; or
                several.
            normalization: of each component's kernel before it is added, so that, by cosines, a
                layer with large gradients does not outweigh the others. One of
                :data:`tl_entk.kernel.normalize.NORMALIZATIONS`.

        Raises:
            UserError: if nothing matches (the message has the nearest names), or as ``normalize``.
        """
        return self._add(partition(match_names(list(self), pattern)), normalization)

    def _add(self, names: list[str], normalization: str = "plain") -> Float[Tensor, "n n"]:
        total = torch.zeros_like(self.blocks[names[0]])
        for name in names:
            total += normalize(self.blocks[name], normalization)
        return total


def _check_block(name: Any, block: Any) -> Float[Tensor, "n n"]:
    """A block as a tensor.

    Raises:
        UserError: if it has no name, or is no square matrix of real numbers.
    """
    if not isinstance(name, str):
        raise UserError(f"block name {name!r}: pass a text.")
    check_kind(f"block {name!r}", block, (Tensor, np.ndarray), "a tensor (N, N)")
    if block.ndim != 2 or block.shape[0] != block.shape[1] or not len(block):
        raise UserError(f"block {name!r} has shape {tuple(block.shape)}: pass (N, N).")
    numbers = to_tensor(block, f"block {name!r}")
    return block if isinstance(block, Tensor) else numbers


def check_blocks(blocks: KernelBlocks) -> None:
    """Refuse blocks that are no kernels.

    Raises:
        UserError: names the block that is of no real floating-point numbers, not finite, or not
            symmetric.

    Example:
        >>> check_blocks(KernelBlocks({"W": torch.eye(2)}))
    """
    for name, block in blocks.items():
        if not block.is_floating_point():
            raise UserError(f"block {name!r} is of {block.dtype}: pass real floating-point ones.")
        if not bool(block.isfinite().all()):
            raise UserError(f"block {name!r} is not finite: compute it in a wider format.")
        if float((block - block.T).abs().max()) > 1e-4 * float(block.abs().max()):
            raise UserError(f"block {name!r} is not symmetric: pass kernels.")
