"""Room for the gradients that one stage hands to the next: in memory, or in files."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from feature_sets.errors import UserError


@contextlib.contextmanager
def room_for_tensors(*, on_disk: bool) -> Iterator[Callable[..., Tensor]]:
    """What makes tensors to be filled, of a shape, ``dtype=`` and ``device=``.

    Args:
        on_disk: whether tensors are files, which the system holds in memory as long as it has any;
            they go with the context. On the CPU then, whatever device was asked for.
    """
    if not on_disk:
        yield torch.empty
        return
    with tempfile.TemporaryDirectory(prefix="tl_entk-", ignore_cleanup_errors=True) as folder:
        names = (Path(folder) / str(i) for i in itertools.count())

        def make(shape: Sequence[int], *, dtype: torch.dtype, **_device: object) -> Tensor:
            return _tensor_in_file(next(names), shape, dtype)

        yield make


def _tensor_in_file(path: Path, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
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
