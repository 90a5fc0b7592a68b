"""Every file that is read: an altered byte is found or changes nothing; no error is a raw one."""

import json
import random
import struct
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import tl_entk
from feature_sets import fourier
from feature_sets.errors import UserError
from feature_sets.windows import Windows
from tests.directions.test_checkpoint import state
from tl_entk.commands.call import Call, read_call
from tl_entk.directions.checkpoint import load_state, save_state
from tl_entk.directions.rows import Rows
from tl_entk.experiments.language.kept_judging import read_if_whole
from tl_entk.experiments.modular_transformer.training import TrainingCurve
from tl_entk.experiments.records import recall, store
from tl_entk.language.kept_continuation import KeptContinuation
from tl_entk.report.runs import read_run
from tl_entk.tools.files import read_kept, read_tensors, write_kept, write_tensors

pytestmark = pytest.mark.plain
CPU = torch.device("cpu")


def blocks():
    return tl_entk.KernelBlocks({"W": torch.eye(3), "W[0]": torch.ones(3, 3)}, {"seed": 0})


def eigen():
    return tl_entk.eigendecompose(torch.diag(torch.arange(4.0)), 2, provenance={"a": [1, None]})


def weights():
    one = torch.ones(2, dtype=torch.float64)
    parts = {"W": torch.eye(2)[:, None], "b": torch.eye(2)}
    return tl_entk.WeightDirections(parts, one, one, ("class", 1), torch.eye(2), 0 * one)


def windows():
    return Windows(
        tokens=torch.tensor([[1, 2, 3], [4, 5, 6]]),
        words=("fox", "dog"),
        model_words=("fox", "cat"),
        tags=("NOUN", "NOUN"),
        model_tags=("NOUN", "NOUN"),
        stories=("The fox saw the naïve dog.",),
        story=torch.tensor([0, 0]),
        start=torch.tensor([4, 22]),
        window_start=torch.tensor([0, 0]),
        pieces=torch.tensor([1, 2]),
        columns={"source": ("a", 1)},
        counts={"tried": 3, "kept": 2},
        tag_counts={"NOUN": {"tried": 3}},
    )


def course():
    one = torch.ones(2, dtype=torch.float64)
    return tl_entk.Course(
        torch.tensor([0, 5]), {"total": torch.ones(2, 3)}, {"sum": one}, {"sum": 2},
        {"loss": one * torch.nan}, {"total": one}, {"k": 3},
    )  # fmt: skip


def write_continuation(path):
    with KeptContinuation(lambda asked: asked[:, :1] + 1, path) as kept:
        kept(torch.tensor([[1, 2], [3, 4]]))


def read_continuation(path):
    with KeptContinuation(lambda asked: asked[:, :1] + 1, path) as kept:
        return dict(kept._known)


def write_run(path):
    interval = {"value": 0.5, "low": 0.4, "high": 0.6}
    methods = {"k": {"ap": interval, "less b, ap": interval}, "b": {"ap": interval}}
    headline = {"best over layers": methods, "winner": "k", "strongest baseline": "b"}
    write_kept(path, {"settings": {"seed": 0}, "headline": headline})


SAVED = {
    "KernelBlocks": blocks,
    "EigenDirections": eigen,
    "dict": lambda: {"a": eigen(), "b/c": eigen()},
    "WeightDirections": weights,
    "FeatureSet": lambda: fourier(*np.divmod(np.arange(9), 3), 3),
    "Windows": windows,
    "Course": course,
}
# file name, what writes it, what reads it
FILES = {
    **{
        kind: ("x.safetensors", lambda path, make=make: tl_entk.save(make(), path), tl_entk.load)
        for kind, make in SAVED.items()
    },
    "Course.load": (
        "x.safetensors",
        lambda path: tl_entk.save(course(), path),
        tl_entk.Course.load,
    ),
    "checkpoint": (
        "x",
        lambda path: save_state(path, state(), {"rows": "9"}),
        lambda path: {**vars(load_state(path, {"rows": "9"}, Rows(9), CPU)), "generator": None},
    ),
    "record": (
        "x",
        lambda path: store(TrainingCurve([1], [0.5], [0.25], [1.0], [0.0]), path),
        lambda path: recall(TrainingCurve, path),
    ),
    "continuation": ("x", write_continuation, read_continuation),
    "call": ("config.json", lambda path: Call("x", None, {"--k": 3}).write(path.parent), read_call),
    "result": ("results.json", write_run, lambda path: read_run(path.parent)),
    "numbers": (
        "x.json",
        lambda path: write_kept(path, {"a": {"b": [0.1, 2, "c"]}}),
        lambda path: read_if_whole(path) or {"a": {"b": [0.1, 2, "c"]}},  # judged again
    ),
}


@pytest.fixture(params=FILES)
def file(request, tmp_path):
    name, write, read = FILES[request.param]
    write(tmp_path / name)
    return tmp_path / name, read


def same(a, b):
    """Whether two values are equal in every number and text."""
    if isinstance(a, torch.Tensor):
        a, b = torch.nan_to_num(a, 77), torch.nan_to_num(b, 77)
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if type(a) is not type(b):
        return False
    if is_dataclass(a):
        return all(same(getattr(a, one.name), getattr(b, one.name)) for one in fields(a))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def read_or_refuse(read, path, original):
    """Whether the file was taken; then it must hold what it did."""
    try:
        found = read(path)
    except UserError as refusal:
        assert str(path.parent) in str(refusal)  # noqa: PT017
        return False
    assert same(found, original)
    return True


def test_a_flipped_bit_is_found_or_harmless(file):
    path, read = file
    original, whole = read(path), path.read_bytes()
    draw = random.Random(0)
    taken = 0
    places = draw.sample(range(len(whole)), min(len(whole), 500))
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        taken += read_or_refuse(read, path, original)
    # only blanks, and the order of what has names, may differ
    assert taken < len(places) / 4 or read is FILES["numbers"][2]


def test_a_file_that_was_cut_is_found(file):
    path, read = file
    original, whole = read(path), path.read_bytes()
    for length in {*range(0, len(whole), 1 + len(whole) // 60), 1, 7, 8, 9, len(whole) - 1}:
        path.write_bytes(whole[:length])
        assert not read_or_refuse(read, path, original) or read is FILES["numbers"][2]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(data=st.data())
def test_bytes_put_in_left_out_or_replaced_are_found_or_harmless(file, data):
    path, read = file
    whole = path.read_bytes()
    original = read(path)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 40)))
    path.write_bytes(whole[:start] + data.draw(st.binary(max_size=40)) + whole[end:])
    try:
        read_or_refuse(read, path, original)
    finally:
        path.write_bytes(whole)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(data=st.data())
def test_a_whole_file_of_other_values_is_refused_or_taken_for_what_it_is(tmp_path, data):
    """Its hash is right: another program, or a hostile one, wrote it."""
    kind = data.draw(st.sampled_from([*SAVED, "lanczos", "TrainingCurve"]))
    path = tmp_path / "x.safetensors"
    made = SAVED.get(kind, blocks)()
    tl_entk.save(made, path)
    _, tensors, about = read_tensors(path)
    name = data.draw(st.sampled_from([*tensors]))
    match data.draw(st.sampled_from(["tensor", "lost", "fields", "provenance", "about"])):
        case "tensor":
            shape = data.draw(st.lists(st.integers(0, 3), max_size=3))
            dtype = data.draw(st.sampled_from([torch.float32, torch.int64, torch.complex64]))
            tensors[name] = torch.full(shape, data.draw(st.sampled_from([1, -9]))).to(dtype)
        case "lost":
            del tensors[name]
        case "fields":
            key = data.draw(st.sampled_from([*about["fields"]]))
            about["fields"][key] = data.draw(JSON)
        case "provenance":
            about["provenance"] = data.draw(JSON)
        case "about":
            about = data.draw(st.dictionaries(st.sampled_from(["fields", "provenance"]), JSON))
    write_tensors(path, tensors, kind=kind, about=about)
    for read in (tl_entk.load, lambda path: load_state(path, {}, Rows(9), CPU)):
        try:
            read(path)
        except UserError as refusal:
            assert str(path) in str(refusal)  # noqa: PT017


@settings(max_examples=50, deadline=None, derandomize=True)
@given(content=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_random_bytes_are_refused_by_all(content, tmp_path_factory):
    folder = tmp_path_factory.mktemp("random")
    framed = struct.pack("<Q", len(content)) + content
    for name, (file_name, _, read) in FILES.items():
        for data in (content, framed):
            (folder / file_name).write_bytes(data)
            if name != "numbers":
                with pytest.raises(UserError):
                    read(folder / file_name)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 2**62]}},
        {"a": {"dtype": "F32", "shape": [2**62, 0], "data_offsets": [0, 0]}},
        {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1] * 100_000, "data_offsets": [0, 4]}},
        {"a": {"dtype": "I4", "shape": [1], "data_offsets": [0, 4]}},
        {f"../../{i}": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for i in range(2)},
    ],
)
def test_absurd_headers_are_refused(header, tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "x")
    about = {"kind": "KernelBlocks", "format": 1, "about": {}, "blake2b": ""}
    header["__metadata__"] = {"tl_entk": json.dumps(about)}
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(UserError, match=str(path)):
        tl_entk.load(path)


WRONG = {
    "not square": (blocks(), {"W": torch.ones(3, 2)}),
    "of another size": (blocks(), {"W[0]": torch.eye(4)}),
    "not symmetric": (blocks(), {"W": torch.ones(3, 3).triu()}),
    "complex": (blocks(), {"W": torch.eye(3, dtype=torch.complex64)}),
    "integers": (blocks(), {"W": torch.eye(3, dtype=torch.int64)}),
    "infinite": (blocks(), {"W": torch.eye(3) / 0}),
    "fewer eigenvalues": (eigen(), {"eigenvalues": torch.ones(1, dtype=torch.float64)}),
    "fewer scores": (eigen(), {"scores": torch.ones(3, 2, dtype=torch.float64)}),
    "vectors of others": (eigen(), {"vectors": torch.ones(4, 5, 3, dtype=torch.float64)}),
    "vectors that are none": (eigen(), {"vectors": torch.ones(2, dtype=torch.float64)}),
    "NaN eigenvalue": (eigen(), {"eigenvalues": torch.full((2,), torch.nan)}),
    "NaN score": (eigen(), {"scores": torch.full((4, 2), torch.nan)}),
    "converged by number": (eigen(), {"converged": torch.ones(2)}),
    "unknown space": (eigen(), {"space": "elsewhere"}),
    "story out of range": (windows(), {"story": torch.tensor([0, 1])}),
    "story before the first": (windows(), {"story": torch.tensor([0, -1])}),
    "start past the end": (windows(), {"start": torch.tensor([4, 99])}),
    "start before the window": (windows(), {"window_start": torch.tensor([5, 0])}),
    "tokens by number": (windows(), {"tokens": torch.ones(2, 3)}),
    "flat tokens": (windows(), {"tokens": torch.ones(2, dtype=torch.int64)}),
    "tags as one text": (windows(), {"tags": "NV"}),
    "tags by number": (windows(), {"tags": (1, 2)}),
    "fewer words": (windows(), {"words": ("fox",)}),
    "columns as one text": (windows(), {"columns": {"source": "ab"}}),
    "steps that do not increase": (course(), {"steps": torch.tensor([5, 5])}),
    "more eigenvalues": (course(), {"eigenvalues": {"total": torch.ones(3, 3)}}),
    "overlaps of another watch": (course(), {"max_overlap": {"other": 2}}),
    "NaN overlap": (course(), {"overlaps": {"sum": torch.full((2,), torch.nan)}}),
}


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_belong_together_is_neither_loaded_nor_saved(what, tmp_path):
    result, change = WRONG[what]
    path = tl_entk.save(result, tmp_path / "x")
    assert same(tl_entk.load(path), result)
    of_class = change
    if isinstance(result, tl_entk.KernelBlocks):
        of_class = {"blocks": {**result.blocks, **change}}
    with pytest.raises(UserError):
        tl_entk.save(replace(result, **of_class), tmp_path / "y")
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    _, tensors, about = read_tensors(path)
    for name, value in change.items():
        if isinstance(value, torch.Tensor):
            tensors[name] = value
        elif name in ("eigenvalues", "overlaps"):  # of a course, by name
            tensors |= {f"{name}/{key}": tensor for key, tensor in value.items()}
        else:
            about["fields"][name] = value
    write_tensors(path, tensors, kind=type(result).__name__, about=about)
    with pytest.raises(UserError, match=str(path)):
        tl_entk.load(path)


@pytest.mark.parametrize("make", [blocks, eigen, course])
def test_provenance_that_no_file_can_hold_is_refused(make, tmp_path):
    wrong = replace(make(), provenance={"weights": torch.ones(2)})
    with pytest.raises(UserError, match=r"cannot be saved .*Tensor is not JSON"):
        tl_entk.save(wrong, tmp_path / "x")


def test_the_kept_call_is_that_of_the_command(tmp_path):
    Call("language", None, {"--k": 3}).write(tmp_path)
    assert read_kept(tmp_path / "config.json")["options"] == {"--k": 3}
