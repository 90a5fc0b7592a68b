"""Saving and loading results: safetensors with a JSON header; no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from feature_sets.errors import UserError
from feature_sets.feature_set import FeatureSet
from feature_sets.windows import Windows, check_windows
from tl_entk.directions.eigen import EigenDirections, check_directions
from tl_entk.dynamics.course import Course
from tl_entk.kernel.kernel_blocks import KernelBlocks, check_blocks
from tl_entk.model.readouts import Readout
from tl_entk.tools.files import (
    locate_saved,
    read_tensors,
    refuse_damaged,
    to_json,
    with_suffix,
    write_tensors,
)
from tl_entk.weight_space.directions import WeightDirections, check_weight_directions

Saveable = (
    KernelBlocks
    | EigenDirections
    | WeightDirections
    | FeatureSet
    | Windows
    | Course
    | dict[str, EigenDirections]
)

_WINDOW_TENSORS = ("tokens", "story", "start", "window_start", "pieces")
_WINDOW_TEXTS = ("words", "model_words", "tags", "model_tags", "stories")
_WINDOW_TABLES = ("counts", "tag_counts")
_WEIGHT_TENSORS = ("eigenvalues", "sizes", "offset")
_WEIGHT_FIELDS = ("position", "normalization", "each_component")
_WHAT = "result of tl_entk.save"


def save(result: Saveable, path: str | Path) -> Path:
    """Save a result as one safetensors file; names, families and provenance go in its header.

    Args:
        result: KernelBlocks, EigenDirections (or a dictionary of several, by name),
            WeightDirections, FeatureSet, Windows or Course.
        path: the file; ``.safetensors`` is added where it is missing.

    Returns:
        The path written.

    Raises:
        UserError: for anything else, a path that names no file, a result that :func:`load` would
            refuse, or provenance or columns of windows that JSON cannot hold.
        OSError: if the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> blocks = KernelBlocks({"W": torch.eye(2)}, {"seed": 0})
        >>> path = save(blocks, Path(tempfile.mkdtemp()) / "blocks")
        >>> load(path).provenance
        {'seed': 0}
    """
    if isinstance(result, Course):
        return result.save(path)
    tensors: dict[str, Tensor]
    fields: dict[str, Any]
    if isinstance(result, KernelBlocks):
        check_blocks(result)
        tensors, fields = dict(result.blocks), {"order": list(result)}
    elif isinstance(result, EigenDirections):
        check_directions(result)
        tensors, fields = result.tensors(), {"space": result.space}
    elif isinstance(result, WeightDirections):
        tensors, fields = _flatten_weights(result)
    elif isinstance(result, FeatureSet):
        tensors = {"values": torch.as_tensor(result.values)}
        fields = {
            k: list(getattr(result, k)) for k in ("names", "families", "groups", "frequencies")
        }
    elif isinstance(result, Windows):
        check_windows(result)
        tensors = {name: getattr(result, name) for name in _WINDOW_TENSORS}
        fields = {name: getattr(result, name) for name in (*_WINDOW_TEXTS, *_WINDOW_TABLES)}
        fields["columns"] = _check_columns(result)
    elif isinstance(result, dict) and _are_directions(result):
        tensors, fields = _flatten_directions(result)
    else:
        raise UserError(
            f"cannot save a {type(result).__name__}: pass KernelBlocks, EigenDirections (or "
            "a dictionary of several by name), WeightDirections, a FeatureSet, Windows or a Course."
        )
    path = with_suffix(path)
    about = {"fields": fields, "provenance": getattr(result, "provenance", {})}
    write_tensors(path, tensors, kind=type(result).__name__, about=about)
    return path


def load(path: str | Path) -> Saveable:
    """Load what :func:`save`, or a ``Track``, wrote.

    Args:
        path: as it was passed to :func:`save` or the ``Track``, with or without ``.safetensors``.

    Raises:
        FileNotFoundError: if there is no such file.
        UserError: if the file is not one of ours, damaged, or of another version.
    """
    path = locate_saved(path)
    kind, tensors, about = read_tensors(path, what=_WHAT)
    if kind == "Course":
        return Course.from_file(path, tensors, about)
    with refuse_damaged(path, _WHAT):
        return _restore_result(kind, tensors, about["fields"], _to_dict(about["provenance"]))


def _restore_result(
    kind: str, tensors: dict[str, Tensor], fields: dict[str, Any], provenance: dict[str, Any]
) -> Saveable:
    """A result of any kind but a course, from what its file holds."""
    match kind:
        case "KernelBlocks":
            names = _to_texts(fields["order"])
            blocks = KernelBlocks({name: tensors[name] for name in names}, provenance)
            check_blocks(blocks)
            return blocks
        case "EigenDirections":
            return _restore_directions(tensors, provenance, fields["space"])
        case "WeightDirections":
            return _restore_weights(tensors, fields, provenance)
        case "Windows":
            return _restore_windows(tensors, fields, provenance)
        case "dict":
            spaces = fields["spaces"]
            return {
                name: _restore_directions(_take_named(tensors, name), _to_dict(of), spaces[name])
                for name, of in fields["provenances"].items()
            }
        case "FeatureSet":
            names, families, groups = (
                _to_texts(fields[key]) for key in ("names", "families", "groups")
            )
            values, frequencies = tensors["values"], tuple(map(int, fields["frequencies"]))
            return FeatureSet(values.numpy(), names, families, groups, frequencies)
    raise ValueError(f"it is of kind {kind!r}")


def _are_directions(result: dict[Any, Any]) -> bool:
    named = all(isinstance(name, str) for name in result)
    return named and all(isinstance(found, EigenDirections) for found in result.values())


def _flatten_directions(
    result: dict[str, EigenDirections],
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of directions by name; vectors that are the scores are not kept twice."""
    tensors = {
        f"{name}/{part}": tensor
        for name, found in result.items()
        for part, tensor in found.tensors().items()
        if part != "vectors" or found.vectors is not found.scores
    }
    return tensors, {
        "provenances": {name: found.provenance for name, found in result.items()},
        "spaces": {name: found.space for name, found in result.items()},
    }


def _take_named(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors of one of several directions; the scores are its vectors too if it has none."""
    parts = {
        key.rpartition("/")[2]: tensor
        for key, tensor in tensors.items()
        if key.rpartition("/")[0] == name
    }
    return {"vectors": parts["scores"], **parts}


def _restore_directions(
    tensors: dict[str, Tensor], about: dict[str, Any], space: Any
) -> EigenDirections:
    parts: dict[str, Any] = {**tensors}
    found = EigenDirections(**parts, provenance=about, space=space)
    check_directions(found)
    return found


def _flatten_weights(found: WeightDirections) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of directions of weights.

    Raises:
        UserError: for directions of a function of the user's, which no file can hold.
    """
    check_weight_directions(found)
    if isinstance(found.readout, Readout):
        raise UserError(
            f"readout {found.readout.name!r} is a function of yours, which a file cannot hold: "
            "save directions of a named readout."
        )
    tensors = {f"weights/{name}": part for name, part in found.weights.items()}
    tensors |= {name: getattr(found, name) for name in _WEIGHT_TENSORS}
    tensors |= {} if found.output is None else {"output": found.output}
    chosen = found.class_slice
    readout = found.readout if isinstance(found.readout, str) else list(found.readout)
    return tensors, {
        "order": list(found.weights),
        "readout": readout,
        "class_slice": None if chosen is None else [chosen.start, chosen.stop, chosen.step],
        **{name: getattr(found, name) for name in _WEIGHT_FIELDS},
    }


def _restore_weights(
    tensors: dict[str, Tensor], fields: dict[str, Any], provenance: dict[str, Any]
) -> WeightDirections:
    """Directions of weights again: JSON has lists where they have tuples and slices."""
    readout, chosen = fields["readout"], fields["class_slice"]
    kept: dict[str, Any] = {name: tensors[name] for name in _WEIGHT_TENSORS}
    kept |= {name: fields[name] for name in _WEIGHT_FIELDS}
    found = WeightDirections(
        weights={name: tensors[f"weights/{name}"] for name in _to_texts(fields["order"])},
        readout=readout if isinstance(readout, str) else (str(readout[0]), int(readout[1])),
        output=tensors.get("output"),
        class_slice=None if chosen is None else slice(*chosen),
        provenance=provenance,
        **kept,
    )
    check_weight_directions(found)
    return found


def _check_columns(windows: Windows) -> dict[str, Any]:
    """The kept columns, if each can be written down."""
    for name, values in windows.columns.items():
        try:
            to_json(values, name)
        except UserError as error:
            raise UserError(
                f"column {name!r} of the windows cannot be saved ({error}): leave it out of "
                "keep_columns."
            ) from error
    return dict(windows.columns)


def _restore_windows(
    tensors: dict[str, Tensor], fields: dict[str, Any], provenance: dict[str, Any]
) -> Windows:
    """Windows again: JSON has lists where they have tuples."""
    values: dict[str, Any] = {name: tensors[name] for name in _WINDOW_TENSORS}
    values |= {name: fields[name] and _to_texts(fields[name]) for name in _WINDOW_TEXTS}
    values |= {name: _to_dict(fields[name]) for name in _WINDOW_TABLES}
    values["columns"] = {name: _to_tuple(column) for name, column in fields["columns"].items()}
    windows = Windows(**values, provenance=provenance)
    check_windows(windows)
    return windows


def _to_texts(found: Any) -> tuple[str, ...]:
    if not all(isinstance(text, str) for text in _to_tuple(found)):
        raise ValueError("a list of texts is something else")
    return tuple(found)


def _to_tuple(found: Any) -> tuple[Any, ...]:
    if not isinstance(found, list):
        raise ValueError("a list is something else")
    return tuple(found)


def _to_dict(found: Any) -> dict[str, Any]:
    if not isinstance(found, Mapping):
        raise ValueError("values by name are something else")
    return dict(found)
