"""Files written whole, and read with one kind of refusal for what is foreign or damaged."""

import itertools
import json
import os

import pytest
import safetensors.torch
import torch
from safetensors.torch import save_file

import tl_entk
from feature_sets.errors import UserError
from tl_entk.experiments.records import recall, store
from tl_entk.tools.files import (
    locate_saved,
    read_kept,
    read_tensors,
    refuse_damaged,
    with_suffix,
    write_json,
    write_kept,
    write_tensors,
)

pytestmark = pytest.mark.plain

# which the lowest safetensors does not know
COMPLEX = [dtype for dtype in [torch.complex64] if dtype in safetensors.torch._SIZE]


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
    """Safetensors files whose header is not one of ours, and those that are whole but no result."""
    for index, entry in enumerate(
        [None, "no JSON", "[1, 2]", "3", "{}", '{"kind": []}', '{"kind": "poem"}', "[" * 100_000]
        + [f'{{"kind": "{kind}", "format": 1}}' for kind in KINDS]
    ):
        header = None if entry is None else {"tl_entk": entry}
        yield written(folder / f"foreign{index}.safetensors", header)
    for kind in KINDS:
        for fields in ({}, [], {"order": ["b"]}, {"names": 1}, {"provenances": {"x": {}}}):
            for about in ({"fields": fields, "provenance": {}}, {"kernel": fields}, {"step": 1}):
                path = folder / f"whole{kind}.safetensors"
                write_tensors(path, {"a": torch.ones(3)}, kind=kind, about=about)
                yield path


KINDS = (
    "KernelBlocks", "EigenDirections", "Windows", "Course", "dict", "FeatureSet", "lanczos", "Peak",
)  # fmt: skip
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
    for path in itertools.chain(damaged(tmp_path), foreign(tmp_path)):
        named = with_suffix(path)
        path.rename(named)
        with pytest.raises(UserError) as refusal:
            READERS[reader](named)
        assert str(named) in str(refusal.value)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.bool, torch.int64, torch.uint8, *COMPLEX]
)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 3)])
def test_tensors_and_values_come_back(dtype, shape, tmp_path):
    path, tensor = tmp_path / "x", torch.ones(shape).to(dtype)
    write_tensors(path, {"a": tensor, "b": tensor}, kind="ours", about={"naïve": [1, None]})
    kind, tensors, about = read_tensors(path, "ours")
    assert (kind, about) == ("ours", {"naïve": [1, None]})
    for found in tensors.values():
        assert found.dtype == dtype
        assert torch.equal(found, tensor)


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (None, "no tl_entk header"),
        ({"other": "{}"}, "no tl_entk header"),
        ({"tl_entk": "no JSON"}, "header is not JSON"),
        ({"tl_entk": "[]"}, "header is not JSON"),
        ({"tl_entk": "{}"}, "kind None"),
        ({"tl_entk": '{"kind": "theirs"}'}, "kind 'theirs'"),
        ({"tl_entk": '{"kind": "ours", "format": "1"}'}, "its format is '1'"),
    ],
)
def test_the_refusal_says_what_is_wrong(header, problem, tmp_path):
    with pytest.raises(UserError, match=rf"is no result \(.*{problem}.*pass another path"):
        read_tensors(written(tmp_path / "x", header), "ours", "result")


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({}, "of an older tl_entk, without a hash: delete it"),
        ({"format": 1, "about": {}}, "x is a damaged result"),
        ({"format": 99}, "written by a newer tl_entk, in format 99.*upgrade"),
    ],
)
def test_versions_are_told_apart(about, message, tmp_path):
    path = written(tmp_path / "x", {"tl_entk": json.dumps({"kind": "ours", **about})})
    with pytest.raises(UserError, match=message):
        read_tensors(path, "ours", "result")
    path.write_text(json.dumps({"a": 1, "tl_entk": about}))
    with pytest.raises(UserError, match=message):
        read_kept(path, "result")


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"a": 1}', "[" * 100_000, "\xff"])
def test_what_is_no_kept_json_is_refused(content, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"x\.json is no result \(.*delete it"):
        read_kept(path, "result")


def test_kept_json_comes_back(tmp_path):
    values = {"a": [0.1, None, "naïve\ud800"], "b": {"c": float("inf")}}
    write_kept(tmp_path / "x.json", values)
    assert read_kept(tmp_path / "x.json") == values
    text = (tmp_path / "x.json").read_text()
    (tmp_path / "x.json").write_text(text.replace("0.1", "0.2"))
    with pytest.raises(UserError, match="is a damaged file"):
        read_kept(tmp_path / "x.json")


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "path is a NoneType"),
        (3, "path is a int"),
        (b"x", "path is a bytes"),
        ("", "names no file"),
        (".", "names no file"),
        ("..", "names no file"),
        ("/", "names no file"),
        ("a\0b", r"'a\\x00b' names no file"),
        ("a\ud800b", "a character that UTF-8 has not"),
        (os.fsdecode(b"\xff/a"), "a character that UTF-8 has not"),
    ],
)
def test_a_path_that_names_no_file_is_refused(path, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    uses = (
        lambda: tl_entk.save(tl_entk.KernelBlocks({"W": torch.eye(2)}), path),
        lambda: tl_entk.load(path),
        lambda: tl_entk.Course.load(path),
        lambda: tl_entk.Track(lambda model: {}, at=[0], k=1, kernels_kept=["total"], path=path),
    )
    for use in uses:
        if path is not None or use is not uses[-1]:
            with pytest.raises(UserError, match=message):
                use()
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_too_long_is_refused(tmp_path):
    path = tmp_path / ("x" * 300)
    with pytest.raises(UserError, match="cannot be read"):
        tl_entk.load(path)
    with pytest.raises(OSError, match="pass a shorter name"):
        write_json(path, {})


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("name", ["__metadata__", "a\ud800", 3])
def test_names_that_no_file_can_hold_are_refused(name, tmp_path):
    with pytest.raises(UserError, match="give it another name"):
        write_tensors(tmp_path / "x", {name: torch.ones(1)}, kind="ours")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "tensor",
    [torch.eye(2).to_sparse(), torch.eye(2).to("meta"), torch.eye(2, dtype=torch.complex128)],
)
def test_tensors_that_no_file_can_hold_are_refused(tensor, tmp_path):
    with pytest.raises(UserError, match="pass a dense tensor of real numbers"):
        write_tensors(tmp_path / "x", {"a": tensor}, kind="ours")


def test_values_that_json_cannot_hold_are_refused(tmp_path):
    nested = []
    for _ in range(100_000):
        nested = [nested]
    for value in (torch.ones(1), {1, 2}, {(1, 2): 3}, nested):
        with pytest.raises(UserError, match="cannot be saved"):
            write_tensors(tmp_path / "x", {}, kind="ours", about={"a": value})
        with pytest.raises(UserError, match="cannot be saved"):
            write_kept(tmp_path / "x", {"a": value})


def test_what_was_read_lies_in_memory_as_what_was_computed(tmp_path):
    """Products of tensors that lie otherwise in memory are rounded otherwise."""
    write_tensors(tmp_path / "x", {"a": torch.ones(5), "b": torch.ones(7)}, kind="ours")
    for tensor in read_tensors(tmp_path / "x").tensors.values():
        assert tensor.data_ptr() % 64 == 0


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
