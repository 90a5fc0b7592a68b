"""Rows of a data set of the library `datasets`, in plain Python values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from feature_sets.errors import UserError


def choose_split(splits: Mapping[str, Any], split: str, name: str) -> Any:
    """One split of several.

    Raises:
        UserError: for an unknown one; says which there are.
    """
    if split not in splits:
        raise UserError(f"{name} has no split {split!r}: pass split=, one of {list(splits)}.")
    return splits[split]


def read_rows(data_set: Any, name: str, *, from_hub: bool = False) -> Iterator[Mapping[str, Any]]:
    """Rows of a data set, its class labels by their names; says where and why it broke.

    Args:
        data_set: a Dataset or IterableDataset, in whatever format.
        name: what messages call it.
        from_hub: whether it is read over the network.

    Raises:
        ConnectionError: if the network is lost on the way.
        UserError: if a row cannot be read.
    """
    names = {
        column: feature.names
        for column, feature in (data_set.features or {}).items()
        if hasattr(feature, "int2str")
    }
    at = 0
    try:
        for row in _without_format(data_set):
            yield {**row, **{column: _name_of(row[column], names[column]) for column in names}}
            at += 1
    except Exception as error:
        # a bad row is a ValueError of pyarrow or datasets; a connection fails in many ways
        broken = isinstance(error, ValueError | TypeError | KeyError)
        lost = isinstance(error, ConnectionError) or (from_hub and not broken)
        fix = "check the network and run again" if lost else "repair the data"
        stop = f", or pass max_texts={at} to context_windows to stop before it" if at else ""
        raise (ConnectionError if lost else UserError)(
            # rows come in blocks: the fault may lie further on in the block
            f"{name} broke at text {at} or soon after ({describe_error(error)}): {fix}{stop}."
        ) from error


def describe_error(error: Exception) -> str:
    """A library's message, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _without_format(data_set: Any) -> Iterable[Mapping[str, Any]]:
    """The data set with rows of Python values, also where they would be tables or tensors."""
    # a transform of the user's own makes the rows that are meant
    custom = getattr(data_set, "format", {}).get("type") == "custom"
    return data_set if custom else data_set.with_format(None)


def _name_of(label: Any, names: list[str]) -> str | None:
    """A class by its name; what is no class (-1 in test splits) has none."""
    known = isinstance(label, int) and 0 <= label < len(names)
    return names[label] if known else None
