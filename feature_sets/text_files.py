"""Rows of local files and folders that hold texts."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from feature_sets.data_sets import choose_split, describe_error, read_rows
from feature_sets.errors import UserError

SEPARATOR = "<|endoftext|>"
# the one column of what has none
TEXT = "text"


class _Kind(NamedTuple):
    """How `datasets` reads a kind of file: its name for the reader, and options of it."""

    builder: str
    options: Mapping[str, Any]


_KINDS = {
    ".jsonl": _Kind("json", {}),
    ".ndjson": _Kind("json", {}),
    ".json": _Kind("json", {}),
    ".csv": _Kind("csv", {}),
    ".tsv": _Kind("csv", {"sep": "\t"}),
    ".parquet": _Kind("parquet", {}),
}
_GZIP, _PLAIN = ".gz", ".txt"


def has_file_ending(path: Path) -> bool:
    """Whether a name ends as files of texts do.

    Example:
        >>> has_file_ending(Path("rows.CSV.gz")), has_file_ending(Path("owner/name"))
        (True, False)
    """
    return _ending(path) in (*_KINDS, _PLAIN)


def rows_of_file(path: Path) -> Iterable[Mapping[str, Any]]:
    """Rows of a file, by its ending; a file of another ending is plain text."""
    kind = _KINDS.get(_ending(path))
    if kind is None:
        return ({TEXT: story} for story in _read_stories(path))
    if not path.stat().st_size:
        return []
    # one file is one split, whatever is asked for
    return _load(kind, path, data_files=str(path), split="train")


def rows_of_folder(path: Path, split: str) -> Iterable[Mapping[str, Any]]:
    """Rows of a folder, by what lies in it.

    Raises:
        FileNotFoundError: if that is no data.
    """
    if any((path / name).exists() for name in ("dataset_dict.json", "state.json")):
        return _rows_saved_to_disk(path, split)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    tables = [file for file in files if _ending(file) in _KINDS]
    if tables:
        return _rows_laid_out(path, tables, split)
    plain = [file for file in files if _ending(file) == _PLAIN]
    if not plain:
        raise FileNotFoundError(
            f"the folder {path} has no data: pass one written by save_to_disk, one with .parquet, "
            ".jsonl, .json, .csv or .tsv files as on the hub, or one with .txt files."
        )
    return ({TEXT: story} for file in plain for story in _read_stories(file))


def _ending(path: Path) -> str:
    """What a name ends in, in small letters, without .gz."""
    name = Path(path.name.lower())
    return Path(name.stem).suffix if name.suffix == _GZIP else name.suffix


def _rows_saved_to_disk(path: Path, split: str) -> Iterable[Mapping[str, Any]]:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:
        raise UserError(
            f"cannot read {path} ({describe_error(error)}): repair the data."
        ) from error
    if isinstance(loaded, datasets.DatasetDict):
        loaded = choose_split(loaded, split, str(path))
    return read_rows(loaded, str(path))


def _rows_laid_out(path: Path, files: list[Path], split: str) -> Iterable[Mapping[str, Any]]:
    """Rows of a folder laid out as on the hub."""
    import datasets

    if not all(file.name.removesuffix(_GZIP).endswith(_ending(file)) for file in files):
        # `datasets` finds endings in small letters alone, unless it is told the reader
        kinds = {_ending(file) for file in files}
        if len(kinds) > 1:
            raise UserError(
                f"the folder {path} has files of several kinds ({', '.join(sorted(kinds))}), some "
                "with an ending in capital letters: pass one file, or give them one ending."
            )
        return _load(_KINDS[kinds.pop()], path, data_dir=str(path), split=split)
    try:
        rows = datasets.load_dataset(str(path), split=split, streaming=True)
    except Exception as error:
        raise _unreadable(path, split, error) from error
    return read_rows(rows, str(path))


def _load(kind: _Kind, path: Path, *, split: str, **where: str) -> Iterable[Mapping[str, Any]]:
    import datasets

    try:
        rows = datasets.load_dataset(
            kind.builder, split=split, streaming=True, **where, **kind.options
        )
    except Exception as error:  # a malformed file has many faces
        raise _unreadable(path, split if path.is_dir() else None, error) from error
    return read_rows(rows, str(path))


def _unreadable(path: Path, split: str | None, error: Exception) -> UserError:
    asked = "" if split is None else f" with split={split!r}"
    fix = "" if split is None else ", or pass another split="
    return UserError(f"cannot read {path}{asked} ({describe_error(error)}): repair the data{fix}.")


def _read_stories(path: Path) -> Iterator[str]:
    """The stories of a text file, line by line."""
    open_text = gzip.open if path.suffix.lower() == _GZIP else open
    lines: list[str] = []
    try:
        # utf-8-sig also reads plain UTF-8; a byte-order mark is no part of a story
        with open_text(path, "rt", encoding="utf-8-sig") as file:
            for line in file:
                *ended, rest = line.split(SEPARATOR)
                for end in ended:
                    yield from _join_story([*lines, end])
                    lines = []
                lines.append(rest)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8 ({error}): save it in UTF-8.") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is no whole gzip file ({error}): pack it anew.") from error
    yield from _join_story(lines)


def _join_story(lines: list[str]) -> Iterator[str]:
    story = "".join(lines).strip()
    if story:
        yield story
