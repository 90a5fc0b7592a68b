"""Room for the gradients that one stage hands to the next: in memory, or in files."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor


class Boundaries:
    """Context manager around a folder of files that large tensors lie in.

    Args:
        on_disk: whether tensors are files, which the system holds in memory as long as it has any;
            they go with the context. On the CPU then, whatever device was asked for.
    """

    def __init__(self, *, on_disk: bool) -> None:
        self._folder = (
            tempfile.TemporaryDirectory(prefix="tl_entk-", ignore_cleanup_errors=True)
            if on_disk
            else None
        )
        self._made = 0

    def __enter__(self) -> Boundaries:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def room_for(self, shape: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """A tensor to be filled."""
        if self._folder is None:
            return torch.empty(*shape, dtype=dtype, device=device)
        # two are in use at a time: the one before the last is written over
        path = Path(self._folder.name) / f"{self._made % 2}"
        self._made += 1
        size = math.prod(shape)
        return torch.from_file(str(path), shared=True, size=size, dtype=dtype).reshape(shape)
