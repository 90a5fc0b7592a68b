"""Locks of the system, which end with their process, however it ends."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from feature_sets.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has none of these
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
_ENDING = ".tmp"


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Around a run: no other run writes to its folder.

    The file that is locked stays, which blocks nobody: only a living process holds a lock. What
    killed ones left half written in the folder is swept.

    Args:
        folder: of the run; made if missing.

    Raises:
        UserError: if another process has it.
        OSError: if the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        if _lock(file.fileno()) is False:
            raise UserError(
                f"another run is writing to {folder}: wait until it has ended, or pass another "
                "folder for this one."
            )
        for found in folder.rglob(f".*{_ENDING}"):
            with _alone_in(found.parent):
                _sweep(found)
        yield


@contextlib.contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A folder to write in what is then moved to ``path``; it is gone at the end.

    It is locked as long as its process lives: what others, that were killed, left of the same path
    is swept before. A folder, since safetensors makes a temporary file of its own where it writes.
    """
    with contextlib.ExitStack() as kept:
        # between the making of a folder and its lock nobody else may sweep
        with _alone_in(path.parent):
            for found in path.parent.glob(f".{glob.escape(path.name)}.*{_ENDING}"):
                _sweep(found)
            made = tempfile.TemporaryDirectory(
                _ENDING, f".{path.name}.", path.parent, ignore_cleanup_errors=True
            )
            folder = Path(kept.enter_context(made))
            _lock(kept.enter_context(_opened(folder)))
        yield folder


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Inside, no other process is inside for the same folder; it waits a moment."""
    with contextlib.ExitStack() as kept:
        # where a folder cannot be read, or a file system has no locks, nobody waits
        with contextlib.suppress(OSError):
            handle = kept.enter_context(_opened(folder))
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _sweep(folder: Path) -> None:
    with contextlib.suppress(OSError), _opened(folder) as handle:
        if _lock(handle):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _opened(folder: str | Path) -> Iterator[int]:
    """A folder's handle; a number of none on Windows, which opens no folders."""
    if fcntl is None:
        yield -1
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def _lock(handle: int) -> bool | None:
    """Whether this process has the lock now; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True
