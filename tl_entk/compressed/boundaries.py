"""Room for the gradients that one stage hands to the next: in memory, or in files."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from feature_sets.errors import UserError


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
        path = Path(self._folder.name) / f"{self._made}"
        self._made += 1
        size = math.prod(shape)
        with path.open("wb") as file:
            _reserve(file.fileno(), size * dtype.itemsize)
        tensor = torch.from_file(str(path), shared=True, size=size, dtype=dtype)
        with contextlib.suppress(OSError):  # where a file in use cannot go, it goes at the end
            path.unlink()
        return tensor.reshape(tuple(shape))


def _reserve(file: int, size: int) -> None:
    """Room on the disk, where the system can say so: a write to a map may not fail later.

    Raises:
        UserError: if there is too little.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        folder = tempfile.gettempdir()
        raise UserError(
            f"gradients between blocks take {size / 2**30:.1f} GiB twice, for which {folder} has "
            f"no room ({error}): set TMPDIR to a folder that has, or pass a larger memory_budget "
            "or fewer outputs."
        ) from error
