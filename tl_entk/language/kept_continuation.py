"""A continuation that keeps its answers in a file: a search for windows goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import torch
from jaxtyping import Int
from torch import Tensor

from tl_entk.tools.files import read_tensors, write_tensors

_SECONDS_BETWEEN_WRITES = 20.0
_WINDOWS, _NEW, _KIND = "windows", "new", "continuation"


class KeptContinuation:
    """Context manager around a continuation; windows that it was asked of before are looked up.

    However the context ends, what was answered is in the file.

    Args:
        continuation: token numbers (b, t) to the next token numbers (b, m).
        path: of the file; it must be of this continuation.
    """

    def __init__(self, continuation: Callable[[Tensor], Tensor], path: Path) -> None:
        self._continuation, self._path = continuation, path
        self._known: dict[tuple[int, ...], list[int]] = {}
        self._written, self._saved_at = 0, time.monotonic()

    def __enter__(self) -> KeptContinuation:
        if self._path.exists():
            kept = read_tensors(self._path, _KIND).tensors
            rows = zip(kept[_WINDOWS].tolist(), kept[_NEW].tolist(), strict=True)
            self._known = {tuple(window): new for window, new in rows}
            self._written = len(self._known)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._write()

    def __call__(self, windows: Int[Tensor, "b t"]) -> Int[Tensor, "b m"]:
        """The next tokens of every window."""
        asked = [tuple(row) for row in windows.tolist()]
        new = [i for i, row in enumerate(asked) if row not in self._known]
        if new:
            found = self._continuation(windows[new]).tolist()
            self._known |= {asked[i]: row for i, row in zip(new, found, strict=True)}
            if time.monotonic() - self._saved_at > _SECONDS_BETWEEN_WRITES:
                self._write()
        return torch.tensor([self._known[row] for row in asked])

    def _write(self) -> None:
        if len(self._known) > self._written:
            tensors = {
                _WINDOWS: torch.tensor(list(self._known)),
                _NEW: torch.tensor(list(self._known.values())),
            }
            write_tensors(self._path, tensors, kind=_KIND)
            self._written = len(self._known)
        self._saved_at = time.monotonic()
