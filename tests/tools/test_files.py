"""Files written whole, and read with one kind of refusal for what is foreign or damaged."""

import json

import pytest
import torch
from safetensors.torch import save_file

import tl_entk
from feature_sets.errors import UserError
from tl_entk.experiments.records import recall, store
from tl_entk.tools.files import (
    locate_saved,
    read_tensors,
    refuse_damaged,
    with_suffix,
    write_json,
    write_tensors,
)

pytestmark = pytest.mark.plain


def written(path, header=None, tensors=None):
    save_file(tensors or {"a": torch.ones(3)}, path, metadata=header)
    return path


def damaged(folder):
    """Files that are no safetensors at all, by what is wrong with them."""
    whole = written(folder / "whole").read_bytes()
    contents = {"text": b"no tensors", "empty": b"", "cut": whole[:-4], "header cut": whole[:20]}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        yield folder / name


def foreign(folder):
    """Safetensors files whose header is not one of ours."""
    for index, entry in enumerate(
        [None, "no JSON", "[1, 2]", "3", "{}", '{"kind": []}', '{"kind": "poem"}']
        + [
            json.dumps({"kind": kind, "fields": fields, "provenance": {}})
            for kind in KINDS
            for fields in ({}, [], {"order": ["b"]}, {"names": 1}, {"provenances": {"x": {}}})
        ]
    ):
        header = None if entry is None else {"tl_entk": entry, "record": entry}
        yield written(folder / f"foreign{index}.safetensors", header)


KINDS = ("KernelBlocks", "EigenDirections", "Windows", "Course", "dict", "FeatureSet", "lanczos")
READERS = {
    "load": tl_entk.load,
    "Course.load": tl_entk.Course.load,
    "recall": lambda path: recall(tl_entk.Peak, path),
    "resume": lambda path: tl_entk.leading_eigenpairs(
        torch.eye(4, dtype=torch.float64), 2, resume=path
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_of_ours_is_refused_by_every_reader(reader, tmp_path):
    for path in [*damaged(tmp_path), *foreign(tmp_path)]:
        named = with_suffix(path)
        path.rename(named)
        with pytest.raises(UserError) as refusal:
            READERS[reader](named)
        assert str(named) in str(refusal.value)


def test_tensors_and_header_come_back(tmp_path):
    path = tmp_path / "x"
    write_tensors(path, {"a": torch.arange(3)}, {"tl_entk": json.dumps({"kind": "ours"})})
    tensors, header = read_tensors(path, entry="tl_entk", kind="ours", what="result")
    assert tensors["a"].tolist() == [0, 1, 2]
    assert header == {"kind": "ours"}
    assert read_tensors(path)[1] == {}


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (None, "no tl_entk header"),
        ({"other": "{}"}, "no tl_entk header"),
        ({"tl_entk": "no JSON"}, "header is not JSON"),
        ({"tl_entk": "[]"}, "header is not JSON"),
        ({"tl_entk": "{}"}, "kind None"),
        ({"tl_entk": '{"kind": "theirs"}'}, "kind 'theirs'"),
    ],
)
def test_the_refusal_says_what_is_wrong(header, problem, tmp_path):
    with pytest.raises(UserError, match=rf"is no result \(.*{problem}.*pass another path"):
        read_tensors(written(tmp_path / "x", header), entry="tl_entk", kind="ours", what="result")


def test_a_missing_file_is_no_damaged_file(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(FileNotFoundError, match="no file"):
            read_tensors(path)


def test_a_missing_entry_is_named():
    missing = pytest.raises(UserError, match=r"x is no course \(no 'steps' in it\)")
    with missing, refuse_damaged("x", "course"):
        {}["steps"]
    with pytest.raises(UserError, match="mine"), refuse_damaged("x", "course"):
        raise UserError("mine")


def test_a_path_is_found_as_it_was_saved(tmp_path):
    assert with_suffix("a.of.b").name == "a.of.b.safetensors"
    (tmp_path / "blocks").mkdir()
    with pytest.raises(FileNotFoundError, match=r"tl_entk.save returned"):
        locate_saved(tmp_path / "blocks")
    written(tmp_path / "blocks.safetensors")
    written(tmp_path / "moved.bin")
    for path, found in (
        ("blocks", "blocks.safetensors"),
        ("blocks.safetensors", "blocks.safetensors"),
        ("moved.bin", "moved.bin"),
    ):
        assert locate_saved(tmp_path / path).name == found
    # what was saved under this name comes before what bears it
    written(tmp_path / "moved.bin.safetensors")
    assert locate_saved(tmp_path / "moved.bin").name == "moved.bin.safetensors"


def test_text_is_written_in_utf8_whatever_the_locale(tmp_path, monkeypatch):
    import pathlib

    plain, given = pathlib.Path.write_text, []

    def recorded(self, text, encoding=None, **options):
        given.append(encoding)
        return plain(self, text, encoding=encoding, **options)

    monkeypatch.setattr(pathlib.Path, "write_text", recorded)
    write_json(tmp_path / "x.json", {"name": "naïve"})
    assert given == ["utf-8"]
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"name": "naïve"}


def test_a_record_comes_back(tmp_path):
    store(tl_entk.Peak(3, 0.5), tmp_path / "peak")
    assert recall(tl_entk.Peak, tmp_path / "peak") == tl_entk.Peak(3, 0.5)
