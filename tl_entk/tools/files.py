"""Files of a kind, with a version and a hash that reading checks."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.tools.errors import first_line
from tl_entk.tools.whole_files import check_path, write_atomically

# raised where a file of this version could not be read by the one before
FORMAT = 1
# the entry of ours in a safetensors header and in a JSON object, and that of the hash
_ENTRY, _HASH = "tl_entk", "blake2b"


class DamagedFileError(UserError):
    """A file that is not what it should be; the message names it."""


class Stored(NamedTuple):
    """What a file of ours holds.

    Attributes:
        kind: of the content.
        tensors: by name, on the CPU, in memory of their own.
        about: JSON values beside them.
    """

    kind: str
    tensors: dict[str, Tensor]
    about: dict[str, Any]


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], *, kind: str, about: Mapping[str, Any] | None = None
) -> None:
    """Tensors and JSON values as a safetensors file.

    Args:
        path: the file.
        tensors: by name; dense ones.
        kind: what the file is, for :func:`read_tensors` to ask for.
        about: JSON values.

    Raises:
        UserError: for names, tensors or values that such a file cannot hold.
        OSError: as :func:`write_atomically`.
    """
    ready = {name: _check_tensor(name, tensor) for name, tensor in tensors.items()}
    header = {"kind": kind, "format": FORMAT, "about": dict(about or {})}
    header[_HASH] = _hash(to_json(header, kind), ready)
    # one entry: safetensors writes several in any order
    entries = {_ENTRY: to_json(header, kind)}
    write_atomically(path, lambda temporary: _save(ready, entries, temporary))


def _check_tensor(name: Any, tensor: Tensor) -> Tensor:
    """A tensor as it is written: dense, in memory of its own, which safetensors asks for."""
    # text that UTF-8 has no bytes for is no name either
    known = isinstance(name, str) and name.encode(errors="ignore").decode() == name
    if not known or name == "__metadata__":
        raise UserError(f"a tensor cannot be saved as {name!r}: give it another name.")
    if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype == torch.complex128:
        kind = "on the meta device" if tensor.is_meta else f"{tensor.layout}, {tensor.dtype}"
        raise UserError(f"{name} cannot be saved ({kind}): pass a dense tensor of real numbers.")
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _save(tensors: Mapping[str, Tensor], entries: dict[str, str], path: Path) -> None:
    try:
        save_file(dict(tensors), path, metadata=entries)
    except SafetensorError as error:
        # which is how it says that a disk is full
        number = re.search(r"os error (\d+)|code: (\d+)", str(error))
        if number is None:
            raise
        code = int(number[1] or number[2])
        raise OSError(code, os.strerror(code)) from error
    # safetensors makes files private; results are as readable as any other file
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def write_json(path: Path, value: Any) -> None:
    """A JSON file, indented.

    Raises:
        UserError: for what JSON cannot hold.
        OSError: as :func:`write_atomically`.
    """
    text = to_json(value, path.name, indent=1)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_kept(path: Path, values: Mapping[str, Any]) -> None:
    """A JSON object that :func:`read_kept` reads, whole or not at all.

    Raises:
        UserError, OSError: as :func:`write_json`.
    """
    entry = {"format": FORMAT, _HASH: _hash(to_json(values, path.name), {})}
    write_json(path, {**values, _ENTRY: entry})


def read_kept(path: Path, what: str = "file of tl_entk") -> dict[str, Any]:
    """The JSON object that :func:`write_kept` wrote.

    Args:
        path: the file.
        what: the file in words, for the refusal.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is damaged, was changed by hand, or is of another version.
    """
    _check_there(path)
    with _refuse_unreadable(path, what):
        content = path.read_bytes().decode()
    found = _parse(path, what, content, "it")
    entry = found.pop(_ENTRY, None)
    if not isinstance(entry, dict):
        raise _foreign(path, what, f"it has no {_ENTRY} entry, as older versions wrote it")
    _check_format(path, what, entry)
    _check_hash(path, what, entry.get(_HASH), found, {})
    return found


def to_json(value: Any, what: str, indent: int | None = None) -> str:
    """A value as JSON.

    Args:
        value: text, numbers, truth values, None, lists and dictionaries of these.
        what: it belongs to, for the refusal.
        indent: spaces of a level; None for one line.

    Raises:
        UserError: for any other value.

    Example:
        >>> to_json({"seed": 0}, "settings")
        '{"seed": 0}'
    """
    try:
        return json.dumps(value, indent=indent)
    except (RecursionError, TypeError, ValueError) as error:
        raise UserError(
            f"{what} cannot be saved ({first_line(error)}): keep text, numbers, lists and "
            "dictionaries of these beside it (.item() and .tolist() make them)."
        ) from error


def with_suffix(path: str | Path) -> Path:
    """The path, ending in ``.safetensors``.

    Raises:
        UserError: as :func:`check_path`.

    Example:
        >>> with_suffix("blocks.0").name, with_suffix("blocks.safetensors").name
        ('blocks.0.safetensors', 'blocks.safetensors')
    """
    path = check_path(path)
    return path if path.suffix == ".safetensors" else path.with_name(path.name + ".safetensors")


def locate_saved(path: str | Path) -> Path:
    """The file that was saved under a path: with the suffix added, or else of that very name.

    Raises:
        FileNotFoundError: if there is neither.
        UserError: as :func:`check_path`.
    """
    for found in (with_suffix(path), Path(path)):
        if _is_file(found):
            return found
    raise FileNotFoundError(
        f"no file {path}: pass the path that tl_entk.save returned, or that of a Track."
    )


def read_tensors(path: Path, kind: str | None = None, what: str = "file of tl_entk") -> Stored:
    """What :func:`write_tensors` wrote.

    Args:
        path: the file.
        kind: that it must be of; None for any.
        what: the file in words, for the refusal.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it is none of ours, damaged, of another kind or of another version.
    """
    _check_there(path)
    with _refuse_unreadable(path, what), safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get(_ENTRY)
        if text is None:
            raise _foreign(path, what, f"it has no {_ENTRY} header")
        found = _parse(path, what, text, "its header")
        if kind is not None and found.get("kind") != kind:
            raise _foreign(path, what, f"it is of kind {found.get('kind')!r}")
        _check_format(path, what, found)
        # memory of their own: products of numbers that lie otherwise than they were computed
        # round otherwise, and a run that goes on would not end where it would have
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        _check_hash(path, what, found.pop(_HASH, None), found, tensors)
    with refuse_damaged(path, what):
        return Stored(str(found["kind"]), tensors, dict(found["about"]))


def _hash(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Of a text, and of names, number formats, shapes and bytes of tensors."""
    names = sorted(tensors)
    parts = [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in names]
    digest = hashlib.blake2b(json.dumps([text, parts]).encode(), digest_size=16)
    for name in names:
        # bytes, since numpy has no bfloat16
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_hash(
    path: Path, what: str, wanted: Any, values: dict[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    # of the values: how they are laid out does not count
    if _hash(json.dumps(values), tensors) != wanted:
        raise DamagedFileError(
            f"{path} is a damaged {what}: what is in it is not what was written. Take another "
            "copy, or delete it and make it anew."
        )


def _check_format(path: Path, what: str, header: Mapping[str, Any]) -> None:
    number = header.get("format")
    if number is None:
        raise DamagedFileError(
            f"{path} is a {what} of an older tl_entk, without a hash: delete it and make it anew."
        )
    if type(number) is not int or number < 1:
        raise _foreign(path, what, f"its format is {number!r}")
    if number > FORMAT:
        raise DamagedFileError(
            f"{path} was written by a newer tl_entk, in format {number}; this one reads up to "
            f"{FORMAT}: upgrade with pip install -U tl_entk."
        )


def _parse(path: Path, what: str, text: str, part: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise _foreign(path, what, f"{part} is not JSON: {first_line(error)}") from error
    if not isinstance(found, dict):
        raise _foreign(path, what, f"{part} is not JSON with names")
    return found


def _check_there(path: Path) -> None:
    if not _is_file(check_path(path)):
        raise FileNotFoundError(f"no file {path}.")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): pass another path.") from error


@contextmanager
def _refuse_unreadable(path: Path, what: str) -> Iterator[None]:
    """Inside, bytes of any kind are read."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise DamagedFileError(
            f"{path} cannot be read ({error.strerror or error}): make it readable, or pass another."
        ) from error
    except (AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise _foreign(path, what, first_line(error)) from error
    except SafetensorError as error:
        raise _foreign(path, what, first_line(error)) from error


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
    except DamagedFileError:
        raise
    except KeyError as error:
        raise _foreign(path, what, f"no {error} in it") from error
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise _foreign(path, what, str(error)) from error


def _foreign(path: str | Path, what: str, reason: str) -> DamagedFileError:
    return DamagedFileError(f"{path} is no {what} ({reason}): pass another path, or delete it.")
