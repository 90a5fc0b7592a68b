"""Files written whole or not at all, safetensors and JSON, and tensors read from them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from feature_sets.errors import UserError


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then move it into place.

    Raises:
        OSError: if the folder cannot be written to; the old file is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        write(Path(name))
        # mkstemp makes files private; results are as readable as any other file
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], header: dict[str, str] | None = None
) -> None:
    """Tensors as a safetensors file."""
    # safetensors refuses tensors that share memory
    ready = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, lambda temporary: save_file(ready, temporary, metadata=header))


def write_json(path: Path, value: Any) -> None:
    """A JSON file, indented."""
    text = json.dumps(value, indent=1)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def with_suffix(path: str | Path) -> Path:
    """The path, ending in ``.safetensors``.

    Example:
        >>> with_suffix("blocks.0").name, with_suffix("blocks.safetensors").name
        ('blocks.0.safetensors', 'blocks.safetensors')
    """
    path = Path(path)
    return path if path.suffix == ".safetensors" else path.with_name(path.name + ".safetensors")


def locate_saved(path: str | Path) -> Path:
    """The file that was saved under a path: with the suffix added, or else of that very name.

    Raises:
        FileNotFoundError: if there is neither.
    """
    for found in (with_suffix(path), Path(path)):
        if found.is_file():
            return found
    raise FileNotFoundError(
        f"no file {path}: pass the path that tl_entk.save returned, or that of a Track."
    )


def read_tensors(
    path: Path, *, entry: str | None = None, kind: str | None = None, what: str = "safetensors file"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of a safetensors file, and the JSON object in an entry of its header.

    Args:
        path: the file.
        entry: of the header; None if nothing is to be read of it.
        kind: what the object's ``"kind"`` must be; None for any.
        what: the file in words, for the refusal.

    Returns:
        Tensors by name, on the CPU, and the object (empty without ``entry``).

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is no safetensors file, a damaged one, or one with another header.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(entry)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise _foreign(path, what, str(error)) from error
    if entry is None:
        return tensors, {}
    if text is None:
        raise _foreign(path, what, f"it has no {entry} header")
    try:
        header = json.loads(text)
    except json.JSONDecodeError as error:
        raise _foreign(path, what, f"its header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise _foreign(path, what, "its header is not JSON with names")
    if kind is not None and header.get("kind") != kind:
        raise _foreign(path, what, f"it is of kind {header.get('kind')!r}")
    return tensors, header


@contextmanager
def refuse_damaged(path: str | Path, what: str) -> Iterator[None]:
    """Inside, a result is made again of what was read: where that fails, it is the file's fault.

    Args:
        path: of the file.
        what: the file in words.

    Raises:
        UserError: for entries that are missing or of another kind.
    """
    try:
        yield
    except UserError:
        raise
    except KeyError as error:
        raise _foreign(path, what, f"no {error} in it") from error
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise _foreign(path, what, str(error)) from error


def _foreign(path: str | Path, what: str, reason: str) -> UserError:
    return UserError(f"{path} is no {what} ({reason}): pass another path, or delete it.")
