"""Texts to take context windows from: lists, files, folders, data sets of the Hugging Face hub."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from feature_sets.errors import UserError
from feature_sets.network import hub_answers

SEPARATOR = "<|endoftext|>"

# what `datasets` calls the reader of each kind of file
_BUILDERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}


class Text(NamedTuple):
    """One text, and the other columns of its row.

    Attributes:
        text: the text itself.
        row: the other columns of a data set by name; empty where there are none.
    """

    text: str
    row: Mapping[str, Any]


def read_texts(source: Any, *, column: str = "text", split: str = "train") -> Iterator[Text]:
    """Texts one after the other, read no further than they are asked for.

    Args:
        source: strings; a ``datasets`` Dataset, IterableDataset, DatasetDict or
            IterableDatasetDict; the path of a text file (stories separated by lines
            ``<|endoftext|>``, without such a line one text; white space around a story is left
            out), of a .jsonl, .json, .csv or .parquet file; a folder written by
            ``save_to_disk``, laid out as on the hub (data/train-00000-of-00001.parquet), or of
            .txt files; or the name of a data set on the Hugging Face hub, which is streamed.
        column: the column of a data set that has the text.
        split: which split of a data set that has several; a single file has none.

    Returns:
        An iterator over the texts.

    Raises:
        FileNotFoundError: for a path where nothing is, or a folder without data.
        ConnectionError: if ``source`` is nothing local and the hub does not give it, or not to
            its end.
        UserError: for an unknown split or column, an empty source, a file not in UTF-8, a
            malformed one, a data set that breaks while it is read, a text that is not a string, or
            a source of another kind.

    Example:
        >>> [text.text for text in read_texts(["Once upon a time.", "The end."])]
        ['Once upon a time.', 'The end.']
    """
    if isinstance(source, str | Path):
        rows, name = _open_source(source, column, split), str(source)
    else:
        kind = type(source).__name__
        rows, name = _rows_in_memory(source, column, split), f"the {kind}"
    return _as_texts(rows, column, name)


def _as_texts(rows: Iterable[Mapping[str, Any]], column: str, name: str) -> Iterator[Text]:
    """Rows as texts; refuses what is no text when it comes up."""
    number = -1
    for number, row in enumerate(rows):
        if column not in row:
            raise UserError(f"{name} has no column {column!r}: pass column=, one of {list(row)}.")
        text = row[column]
        if not isinstance(text, str):
            raise UserError(
                f"text {number} of {name} is a {type(text).__name__}: pass strings, or as column= "
                "the column that has them."
            )
        yield Text(text, {key: value for key, value in row.items() if key != column})
    if number < 0:
        raise UserError(f"{name} is empty: pass a source with at least one text.")


def _rows_in_memory(source: Any, column: str, split: str) -> Iterable[Mapping[str, Any]]:
    """Rows of a Python object."""
    # datasets is slow to import; who has one of its objects has imported it
    datasets = sys.modules.get("datasets")
    if datasets is not None:
        if isinstance(source, datasets.DatasetDict | datasets.IterableDatasetDict):
            source = _choose_split(source, split, "the data set")
        if isinstance(source, datasets.Dataset | datasets.IterableDataset):
            return _explain_breaks(source, f"the {type(source).__name__}")
    if isinstance(source, Mapping | bytes) or not isinstance(source, Iterable):
        raise UserError(
            f"cannot read texts from a {type(source).__name__}: pass strings, a data set, a path "
            "or the name of a data set on the hub."
        )
    return ({column: text} for text in source)


def _open_source(source: str | Path, column: str, split: str) -> Iterable[Mapping[str, Any]]:
    """Rows of a local file or folder, or of a data set on the hub."""
    path = Path(source).expanduser()
    if path.is_dir():
        return _rows_of_folder(path, column, split)
    if path.is_file():
        if path.suffix in _BUILDERS:
            return _rows_of_file(path)
        return ({column: story} for story in _read_stories(path))
    # a name on the hub is "name" or "owner/name"
    looks_local = path.suffix in (*_BUILDERS, ".txt") or str(source).startswith((".", "/", "~"))
    if isinstance(source, Path) or looks_local or str(source).count("/") > 1 or not str(source):
        raise FileNotFoundError(
            f"no file or folder {str(source)!r}: pass one that is there, or the name of a data set "
            'on the Hugging Face hub such as "roneneldan/TinyStories".'
        )
    return _stream_from_hub(str(source), split)


def _stream_from_hub(name: str, split: str) -> Iterable[Mapping[str, Any]]:
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE and not hub_answers(constants.ENDPOINT):
        raise ConnectionError(
            f"cannot read {name!r}: it is no local file or folder, and there is no connection to "
            f"{constants.ENDPOINT}. Check the name and the network, or pass a local file or folder."
        )
    import datasets

    try:
        stream = datasets.load_dataset(name, split=split, streaming=True)
    except ValueError as error:
        raise UserError(
            f"cannot read {name!r} with split={split!r}: {error} Pass another split=, or a file "
            "of the data set."
        ) from error
    except Exception as error:  # no network has many faces, of three libraries
        raise ConnectionError(
            f"cannot read {name!r}: it is no local file or folder, and the Hugging Face hub does "
            f"not give it ({_one_line(error)}). Check the name and the network, or pass a local "
            "file or folder."
        ) from error
    return _explain_breaks(stream, name, from_hub=True)


def _rows_of_file(path: Path) -> Iterable[Mapping[str, Any]]:
    """Rows of a .jsonl, .json, .csv or .parquet file."""
    import datasets

    if not path.stat().st_size:
        return []
    # one file is one split, whatever is asked for
    kind = _BUILDERS[path.suffix]
    try:
        rows = datasets.load_dataset(kind, data_files=str(path), split="train", streaming=True)
    except Exception as error:  # a malformed file has many faces too
        raise UserError(f"cannot read {path} ({_one_line(error)}): repair the data.") from error
    return _explain_breaks(rows, str(path))


def _rows_of_folder(path: Path, column: str, split: str) -> Iterable[Mapping[str, Any]]:
    """Rows of a folder, by what lies in it."""
    if any((path / name).exists() for name in ("dataset_dict.json", "state.json")):
        return _rows_saved_to_disk(path, split)
    if any(file.suffix in _BUILDERS for file in path.rglob("*.*")):
        return _rows_laid_out(path, split)
    files = sorted(path.glob("*.txt"))
    if not files:
        raise FileNotFoundError(
            f"the folder {path} has no data: pass one written by save_to_disk, one with .parquet, "
            ".jsonl, .json or .csv files as on the hub, or one with .txt files."
        )
    return ({column: story} for file in files for story in _read_stories(file))


def _rows_saved_to_disk(path: Path, split: str) -> Iterable[Mapping[str, Any]]:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:
        raise UserError(f"cannot read {path} ({_one_line(error)}): repair the data.") from error
    if isinstance(loaded, datasets.DatasetDict):
        loaded = _choose_split(loaded, split, str(path))
    return _explain_breaks(loaded, str(path))


def _rows_laid_out(path: Path, split: str) -> Iterable[Mapping[str, Any]]:
    """Rows of a folder laid out as on the hub."""
    import datasets

    try:
        rows = datasets.load_dataset(str(path), split=split, streaming=True)
    except Exception as error:
        raise UserError(
            f"cannot read {path} with split={split!r} ({_one_line(error)}): repair the data, or "
            "pass another split=."
        ) from error
    return _explain_breaks(rows, str(path))


def _choose_split(splits: Mapping[str, Any], split: str, name: str) -> Any:
    if split not in splits:
        raise UserError(f"{name} has no split {split!r}: pass split=, one of {list(splits)}.")
    return splits[split]


def _explain_breaks(
    rows: Iterable[Mapping[str, Any]], name: str, *, from_hub: bool = False
) -> Iterator[Mapping[str, Any]]:
    """Rows of a data set; says where and why it broke."""
    at = 0
    try:
        for row in rows:
            yield row
            at += 1
    except Exception as error:
        # a bad row is a ValueError of pyarrow or datasets; a connection fails in many ways
        broken = isinstance(error, ValueError | TypeError | KeyError)
        lost = isinstance(error, ConnectionError) or (from_hub and not broken)
        fix = "check the network and run again" if lost else "repair the data"
        stop = f", or pass max_texts={at} to context_windows to stop before it" if at else ""
        raise (ConnectionError if lost else UserError)(
            # rows come in blocks: the fault may lie further on in the block
            f"{name} broke at text {at} or soon after ({_one_line(error)}): {fix}{stop}."
        ) from error


def _one_line(error: Exception) -> str:
    """A library's message, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _read_stories(path: Path) -> Iterator[str]:
    """The stories of a text file, line by line."""
    lines: list[str] = []
    try:
        # utf-8-sig also reads plain UTF-8; a byte-order mark is no part of a story
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                if line.strip() != SEPARATOR:
                    lines.append(line)
                    continue
                yield from _join_story(lines)
                lines = []
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8 ({error}): save it in UTF-8.") from error
    yield from _join_story(lines)


def _join_story(lines: list[str]) -> Iterator[str]:
    story = "".join(lines).strip()
    if story:
        yield story
