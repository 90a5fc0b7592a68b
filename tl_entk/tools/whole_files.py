"""A file written whole or not at all, and paths that one can be written to."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from feature_sets.errors import UserError
from tl_entk.tools.locks import temporary_beside

_FULL, _CLOSED, _TAKEN = (
    "free some room, and call the same again",
    "make the folder writable, or write to another",
    "move away what is in its place",
)
_FIXES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EACCES: _CLOSED,
    errno.EPERM: _CLOSED,
    errno.EROFS: _CLOSED,
    errno.EISDIR: _TAKEN,
    errno.ENOTDIR: _TAKEN,
    errno.EEXIST: _TAKEN,
    errno.ENAMETOOLONG: "pass a shorter name",
}


def check_path(path: Any) -> Path:
    """A path that can name a file.

    Raises:
        UserError: for anything else: None, no name, characters that no file name has.

    Example:
        >>> check_path("runs/blocks").name
        'blocks'
    """
    if not isinstance(path, str | Path):
        raise UserError(
            f"path is a {type(path).__name__}: pass the path of a file, as text or Path."
        )
    found = Path(path)
    if found.name in ("", "..") or "\0" in found.name:
        raise UserError(f"path {str(path)!r} names no file: pass the path of a file.")
    try:
        str(found).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"path {str(path)!r} has a character that UTF-8 has not: pass another name."
        ) from error
    return found


def check_writable(path: Any) -> Path:
    """A path that a file can be written to later; its folder is made.

    Raises:
        UserError: as :func:`check_path`.
        OSError: as :func:`write_atomically`.
    """
    path = check_path(path)
    with _temporary_for(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return path


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then move it into place.

    Raises:
        UserError: if the path can name no file.
        OSError: if it cannot be written to, with the fix; the old file is left as it was.
    """
    with _temporary_for(check_path(path)) as written:
        write(written)
        os.replace(written, path)


@contextmanager
def _temporary_for(path: Path) -> Iterator[Path]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_beside(path) as folder:
            yield folder / "content"
    except OSError as error:
        # of the temporary file: the user knows of no such file
        fix = _FIXES.get(error.errno or 0, "see that it can be written to")
        named = type(error)(f"cannot write {path} ({error.strerror or error}): {fix}.")
        named.errno = error.errno
        raise named from error
