"""Texts to take context windows from: lists, files, folders, data sets of the Hugging Face hub."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from feature_sets.data_sets import choose_split, describe_error, read_rows
from feature_sets.errors import UserError
from feature_sets.network import hub_answers
from feature_sets.text_files import TEXT, has_file_ending, rows_of_file, rows_of_folder
from feature_sets.warn import warn_user

# what becomes of a row that lacks its text, or a value that is to be kept
Missing = Literal["skip", "refuse"]


class Text(NamedTuple):
    """One text, and the other columns of its row.

    Attributes:
        text: the text itself.
        row: the other columns of a data set by name; empty where there are none.
    """

    text: str
    row: Mapping[str, Any]


class Texts(Iterator[Text]):
    """Texts one after the other, read no further than they are asked for.

    Args:
        rows: where they come from.
        column: the column that has the text.
        name: what messages call the source.
        missing: what becomes of a row without a text.

    Attributes:
        skipped: rows without a text so far.
    """

    def __init__(
        self, rows: Iterable[Mapping[str, Any]], column: str, name: str, missing: Missing
    ) -> None:
        self._rows, self._column, self._name, self._missing = iter(rows), column, name, missing
        self._number = -1
        self.skipped = 0

    def __next__(self) -> Text:
        for row in self._rows:
            self._number += 1
            text = self._read(row)
            if text is not None:
                return text
        if self.skipped == self._number + 1:
            held = f"has no text in any of its {self.skipped} rows" if self.skipped else "is empty"
            raise UserError(f"{self._name} {held}: pass a source with at least one text.")
        raise StopIteration

    def _read(self, row: Mapping[str, Any]) -> Text | None:
        """The text of a row; None where there is none."""
        name, column = self._name, self._column
        if column not in row:
            raise UserError(f"{name} has no column {column!r}: pass column=, one of {list(row)}.")
        text = row[column]
        if is_missing(text):
            handle_missing(f"text {self._number} of {name}", self._missing, first=not self.skipped)
            self.skipped += 1
            return None
        if not isinstance(text, str):
            raise UserError(
                f"text {self._number} of {name} is a {type(text).__name__}: pass strings, or as "
                "column= the column that has them."
            )
        return Text(text, {key: value for key, value in row.items() if key != column})


def is_missing(value: Any) -> bool:
    """Whether a value of a row is none: None, or NaN where tables write that.

    Example:
        >>> is_missing(None), is_missing(float("nan")), is_missing("")
        (True, True, False)
    """
    return value is None or (isinstance(value, float) and math.isnan(value))


def handle_missing(what: str, missing: Missing, *, first: bool) -> None:
    """Refuse a value that is missing, or warn of the first that is.

    Raises:
        UserError: if that is asked for.
    """
    if missing == "refuse":
        raise UserError(f'{what} is missing: fill it in, or pass missing="skip".')
    if first:
        warn_user(f"{what} is missing: its row is skipped, and others like it.")


def check_missing(missing: str) -> None:
    """Refuse an unknown way to treat what is missing.

    Raises:
        UserError: names the two.
    """
    if missing not in get_args(Missing):
        raise UserError(f'missing = {missing!r}: pass "skip" or "refuse".')


def read_texts(
    source: Any, *, column: str = "text", split: str = "train", missing: Missing = "skip"
) -> Texts:
    """Texts one after the other, read no further than they are asked for.

    Args:
        source: strings; a pandas DataFrame; a ``datasets`` Dataset, IterableDataset, DatasetDict
            or IterableDatasetDict in any format; the path of a text file (stories separated by
            ``<|endoftext|>``, without it one text; white space around a story is left out), of a
            .jsonl, .ndjson, .json, .csv, .tsv or .parquet file, each also with .gz behind it; a
            folder written by ``save_to_disk``, laid out as on the hub
            (data/train-00000-of-00001.parquet), or of .txt files, also in folders within it; or
            the name of a data set on the Hugging Face hub, which is streamed.
        column: the column of a data set that has the text.
        split: which split of a data set that has several; a single file has none.
        missing: ``"skip"`` rows without a text (with a warning; ``.skipped`` counts them) or
            ``"refuse"`` them.

    Returns:
        An iterator over the texts. Class labels among their other columns have their names.

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
    check_missing(missing)
    if isinstance(source, str | Path):
        rows, name = _open_source(source, split), str(source)
    else:
        kind = type(source).__name__
        rows, name = _rows_in_memory(source, split), f"the {kind}"
    return Texts(rows, column, name, missing)


def _rows_in_memory(source: Any, split: str) -> Iterable[Mapping[str, Any]]:
    """Rows of a Python object."""
    # both are slow to import; who has one of their objects has imported them
    datasets, pandas = sys.modules.get("datasets"), sys.modules.get("pandas")
    if datasets is not None:
        if isinstance(source, datasets.DatasetDict | datasets.IterableDatasetDict):
            source = choose_split(source, split, "the data set")
        if isinstance(source, datasets.Dataset | datasets.IterableDataset):
            return read_rows(source, f"the {type(source).__name__}")
    if pandas is not None and isinstance(source, pandas.DataFrame | pandas.Series):
        # what is missing has several faces in pandas
        source = source.astype(object).where(source.notna(), None)
        if isinstance(source, pandas.DataFrame):
            names = [str(name) for name in source.columns]
            rows = source.itertuples(index=False, name=None)
            return (dict(zip(names, row, strict=True)) for row in rows)
    if isinstance(source, Mapping | bytes) or not isinstance(source, Iterable):
        raise UserError(
            f"cannot read texts from a {type(source).__name__}: pass strings, a data set, a path "
            "or the name of a data set on the hub."
        )
    return ({TEXT: text} for text in source)


def _open_source(source: str | Path, split: str) -> Iterable[Mapping[str, Any]]:
    """Rows of a local file or folder, or of a data set on the hub."""
    path = Path(source).expanduser()
    if path.is_dir():
        return rows_of_folder(path, split)
    if path.is_file():
        return rows_of_file(path)
    # a name on the hub is "name" or "owner/name"
    looks_local = has_file_ending(path) or str(source).startswith((".", "/", "~"))
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
            f"not give it ({describe_error(error)}). Check the name and the network, or pass a "
            "local file or folder."
        ) from error
    return read_rows(stream, name, from_hub=True)
