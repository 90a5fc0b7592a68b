"""Results of experiments as files, without pickle."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from tl_entk.tools.files import read_tensors, refuse_damaged, write_tensors

Record = TypeVar("Record")


def store(record: Any, path: Path) -> None:
    """Write a dataclass whose fields are tensors, dictionaries of tensors, or JSON values.

    Raises:
        UserError: for fields that a file cannot hold.
        OSError: if the folder cannot be written to.
    """
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for item in fields(record):
        value = getattr(record, item.name)
        if isinstance(value, Tensor):
            tensors[item.name] = value
        elif isinstance(value, dict) and value and isinstance(next(iter(value.values())), Tensor):
            tensors |= {f"{item.name}/{key}": tensor for key, tensor in value.items()}
            plain[item.name] = list(value)
        else:
            plain[item.name] = value
    write_tensors(path, tensors, kind=type(record).__name__, about=plain)


def recall(kind: type[Record], path: Path) -> Record:
    """The dataclass that :func:`store` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if it holds another kind of result, or is damaged.

    Example:
        >>> import tempfile, torch
        >>> from tl_entk import Peak
        >>> path = Path(tempfile.mkdtemp()) / "peak"
        >>> store(Peak(75, 0.5), path)
        >>> recall(Peak, path)
        Peak(step=75, value=0.5)
    """
    what = f"{kind.__name__} of this version"
    _, tensors, plain = read_tensors(path, kind.__name__, what)
    names = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    with refuse_damaged(path, what):
        if names != {*plain, *(name for name in tensors if "/" not in name)}:
            raise ValueError(f"it has other fields than {', '.join(sorted(names))}")
        for name in {key.partition("/")[0] for key in tensors if "/" in key}:
            plain[name] = {key: tensors[f"{name}/{key}"] for key in plain[name]}
        single = {name: value for name, value in tensors.items() if "/" not in name}
        return kind(**plain, **single)
