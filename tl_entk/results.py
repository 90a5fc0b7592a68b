"""Saving and loading results: safetensors with a JSON header; no pickle."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from feature_sets.feature_set import FeatureSet
from tl_entk.blocks import KernelBlocks
from tl_entk.eigen import EigenDirections
from tl_entk.files import write_tensors

Saveable = KernelBlocks | EigenDirections | FeatureSet


def save(result: Saveable, path: str | Path) -> Path:
    """Save a result as one safetensors file; names, families and provenance go in its header.

    Args:
        result: KernelBlocks, EigenDirections or FeatureSet.
        path: the file; ``.safetensors`` is added where it is missing.

    Returns:
        The path written.

    Raises:
        TypeError: for anything else.
        OSError: if the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> blocks = KernelBlocks({"W": torch.eye(2)}, {"seed": 0})
        >>> path = save(blocks, Path(tempfile.mkdtemp()) / "blocks")
        >>> load(path).provenance
        {'seed': 0}
    """
    path = Path(path)
    path = path if path.suffix == ".safetensors" else path.with_name(path.name + ".safetensors")
    tensors: dict[str, Tensor]
    if isinstance(result, KernelBlocks):
        tensors, fields = dict(result.blocks), {"order": list(result)}
    elif isinstance(result, EigenDirections):
        tensors, fields = result.tensors(), {}
    elif isinstance(result, FeatureSet):
        tensors = {"values": torch.as_tensor(result.values)}
        fields = {k: list(getattr(result, k)) for k in ("names", "families", "groups")}
    else:
        raise TypeError(
            f"cannot save a {type(result).__name__}: pass KernelBlocks, EigenDirections or a "
            "FeatureSet."
        )
    info = {
        "kind": type(result).__name__,
        "fields": fields,
        "provenance": getattr(result, "provenance", {}),
    }
    write_tensors(path, tensors, {"tl_entk": json.dumps(info)})
    return path


def load(path: str | Path) -> Saveable:
    """Load what :func:`save` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not one of ours.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no file {path}: pass the path that tl_entk.save returned.")
    with safe_open(path, framework="pt") as file:
        header = (file.metadata() or {}).get("tl_entk")
        if header is None:
            raise ValueError(f"{path} has no tl_entk header: it was not written by tl_entk.save.")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    info = json.loads(header)
    fields = info["fields"]
    if info["kind"] == "KernelBlocks":
        return KernelBlocks({name: tensors[name] for name in fields["order"]}, info["provenance"])
    if info["kind"] == "EigenDirections":
        return EigenDirections(**tensors, provenance=info["provenance"])
    values = tensors["values"].numpy()
    return FeatureSet(values, **{key: tuple(value) for key, value in fields.items()})
