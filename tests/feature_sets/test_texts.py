import gzip
import json
import os
import subprocess
import sys

import datasets
import pandas as pd
import pytest

from feature_sets import UserError, read_texts
from feature_sets.texts import Text

pytestmark = pytest.mark.plain

ROWS = {"text": [f"Story {i}." for i in range(3)], "number": [0, 1, 2]}
EXPECTED = [Text(text, {"number": i}) for i, text in enumerate(ROWS["text"])]


@pytest.fixture(scope="module")
def dataset():
    return datasets.Dataset.from_dict(ROWS)


def test_strings():
    assert list(read_texts(["a b", "c"])) == [Text("a b", {}), Text("c", {})]
    assert [text.text for text in read_texts(str(i) for i in range(2))] == ["0", "1"]


def test_data_sets(dataset):
    assert list(read_texts(dataset)) == EXPECTED
    assert list(read_texts(dataset.to_iterable_dataset())) == EXPECTED
    splits = datasets.DatasetDict(test=dataset)
    assert list(read_texts(splits, split="test")) == EXPECTED
    with pytest.raises(ValueError, match=r"no split 'train'.*\['test'\]"):
        read_texts(splits)


def test_another_column(dataset):
    renamed = dataset.rename_column("text", "story")
    assert list(read_texts(renamed, column="story")) == EXPECTED
    with pytest.raises(ValueError, match=r"no column 'text': pass column=, one of .*'story'"):
        next(read_texts(renamed))


def test_a_text_file_has_stories_between_separators(tmp_path):
    path = tmp_path / "stories.txt"
    path.write_bytes("\ufeffOne “day”.\r\nTwo.\n<|endoftext|>\n\n<|endoftext|>\nEnd\n".encode())
    assert [text.text for text in read_texts(path)] == ["One “day”.\nTwo.", "End"]
    (tmp_path / "plain.md").write_text("One\n\nday it is.\n")
    assert list(read_texts(str(tmp_path / "plain.md"))) == [Text("One\n\nday it is.", {})]


def test_a_separator_within_a_line_parts_stories_too(tmp_path):
    path = tmp_path / "v2.txt"
    path.write_text("a 1\na 2<|endoftext|>b<|endoftext|><|endoftext|> c\nc 2<|endoftext|>\n")
    assert [text.text for text in read_texts(path)] == ["a 1\na 2", "b", "c\nc 2"]


def test_a_folder_of_text_files(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.txt").write_text(f"{name} 1\n<|endoftext|>\n{name} 2\n")
    assert [text.text for text in read_texts(tmp_path)] == ["a 1", "a 2", "b 1", "b 2"]


def test_a_folder_of_text_files_of_any_depth_case_and_packing(tmp_path):
    (tmp_path / "part" / "1").mkdir(parents=True)
    (tmp_path / "A.TXT").write_text("A")
    (tmp_path / "part" / "1" / "b.txt").write_text("b 1<|endoftext|>b 2")
    with gzip.open(tmp_path / "part" / "c.txt.gz", "wt") as file:
        file.write("c")
    (tmp_path / "cover.png").write_bytes(b"\xff")
    assert [text.text for text in read_texts(tmp_path)] == ["A", "b 1", "b 2", "c"]


def written(path, text):
    """A file, packed where its name says so."""
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix.lower() == ".gz" else data)
    return path


LINES_OF = {
    "json": "\n".join(
        json.dumps({"text": t, "number": n}) for t, n in zip(*ROWS.values(), strict=True)
    ),
    "csv": "text,number\n" + "".join(f"{t},{n}\n" for t, n in zip(*ROWS.values(), strict=True)),
}
LINES_OF["tsv"] = LINES_OF["csv"].replace(",", "\t")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("rows.JSONL", "json"),
        ("rows.ndjson", "json"),
        ("rows.CSV", "csv"),
        ("rows.tsv", "tsv"),
        ("rows.TSV.gz", "tsv"),
        ("rows.jsonl.gz", "json"),
        ("rows.csv.GZ", "csv"),
    ],
)
def test_files_of_rows_whatever_their_ending(tmp_path, name, kind):
    path = written(tmp_path / name, LINES_OF[kind])
    assert list(read_texts(path)) == EXPECTED
    assert list(read_texts(tmp_path)) == EXPECTED


def test_a_folder_with_endings_in_capital_letters_keeps_its_splits(tmp_path):
    written(tmp_path / "train-0.JSONL", LINES_OF["json"])
    written(tmp_path / "test-0.JSONL", LINES_OF["json"].splitlines()[0])
    assert list(read_texts(tmp_path)) == EXPECTED
    assert list(read_texts(tmp_path, split="test")) == EXPECTED[:1]
    with pytest.raises(UserError, match=r"split='nope'.*another split"):
        read_texts(tmp_path, split="nope")
    written(tmp_path / "more.csv", LINES_OF["csv"])
    with pytest.raises(UserError, match=r"several kinds \(.csv, .jsonl\).*one ending"):
        read_texts(tmp_path)


@pytest.mark.parametrize(
    "packed", [b"no gzip", gzip.compress(b"One day." * 50)[:-9]], ids=["no gzip", "cut"]
)
def test_a_damaged_gzip_file_is_reported(tmp_path, packed):
    (tmp_path / "a.txt.gz").write_bytes(packed)
    with pytest.raises(UserError, match=r"a\.txt\.gz is no whole gzip file \(.*\): pack it anew"):
        list(read_texts(tmp_path / "a.txt.gz"))


def test_pandas(dataset):
    frame = pd.DataFrame(ROWS)
    assert list(read_texts(frame)) == EXPECTED
    assert [text.text for text in read_texts(frame.text)] == ROWS["text"]
    formatted = dataset.with_format("pandas")
    assert list(read_texts(formatted)) == EXPECTED
    assert list(read_texts(dataset.with_format("torch"))) == EXPECTED
    assert list(read_texts(dataset.to_iterable_dataset().with_format("arrow"))) == EXPECTED
    capitals = dataset.with_transform(lambda rows: {"text": [t.upper() for t in rows["text"]]})
    assert [text.text for text in read_texts(capitals)] == [t.upper() for t in ROWS["text"]]
    gaps = pd.DataFrame({"text": ["a", None, float("nan"), "b"], "n": [1, 2, 3, None]})
    with pytest.warns(UserWarning, match="text 1 of the DataFrame is missing"):
        assert list(read_texts(gaps)) == [Text("a", {"n": 1.0}), Text("b", {"n": None})]


def test_class_labels_have_their_names():
    kinds = datasets.Features(
        text=datasets.Value("string"), topic=datasets.ClassLabel(names=["dog", "cat"])
    )
    rows = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "topic": [1, 0, -1]}, kinds)
    for source in (rows, rows.to_iterable_dataset(), rows.with_format("numpy")):
        assert [text.row["topic"] for text in read_texts(source)] == ["cat", "dog", None]


def test_rows_without_a_text_are_skipped_and_counted():
    rows = {"text": ["One.", None, "Two.", None], "number": [0, 1, 2, 3]}
    texts = read_texts(datasets.Dataset.from_dict(rows))
    with pytest.warns(UserWarning, match=r"text 1 of the Dataset is missing: .*skipped") as seen:
        assert [text.row["number"] for text in texts] == [0, 2]
    assert len(seen) == 1
    assert texts.skipped == 2
    with pytest.raises(UserError, match=r'text 1 of the list is missing: .*missing="skip"'):
        list(read_texts(["a", None], missing="refuse"))
    with (
        pytest.warns(UserWarning, match="text 0"),
        pytest.raises(UserError, match="list has no text in any of its 2 rows"),
    ):
        list(read_texts([None, None]))


@pytest.mark.usefixtures("untyped")
def test_an_unknown_way_with_missing_texts_is_refused():
    with pytest.raises(UserError, match='missing = \'drop\': pass "skip" or "refuse"'):
        read_texts(["a"], missing="drop")


def test_files_of_rows(dataset, tmp_path):
    lines = [json.dumps({"text": t, "number": n}) for t, n in zip(*ROWS.values(), strict=True)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    (tmp_path / "rows.json").write_text(f"[{','.join(lines)}]")
    dataset.to_csv(tmp_path / "rows.csv")
    dataset.to_parquet(tmp_path / "rows.parquet")
    for kind in ("jsonl", "json", "csv", "parquet"):
        assert list(read_texts(tmp_path / f"rows.{kind}")) == EXPECTED, kind


def test_a_folder_saved_to_disk(dataset, tmp_path):
    dataset.save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train=dataset, test=dataset.select([0])).save_to_disk(tmp_path / "two")
    assert list(read_texts(tmp_path / "one")) == EXPECTED
    assert list(read_texts(tmp_path / "two")) == EXPECTED
    assert list(read_texts(tmp_path / "two", split="test")) == EXPECTED[:1]


def test_a_folder_laid_out_as_on_the_hub(dataset, tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Stories\n")
    for split, rows in (("train", dataset), ("validation", dataset.select([2]))):
        rows.to_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet")
    assert list(read_texts(tmp_path)) == EXPECTED
    assert list(read_texts(str(tmp_path), split="validation")) == EXPECTED[2:]
    with pytest.raises(ValueError, match=r"split='test'.*validation.*another split"):
        read_texts(tmp_path, split="test")


def test_a_stream_is_read_no_further_than_asked():
    taken = []

    def rows():
        for i in range(10**6):
            taken.append(i)
            yield {"text": str(i)}

    texts = read_texts(datasets.IterableDataset.from_generator(rows))
    assert [next(texts).text for _ in range(3)] == ["0", "1", "2"]
    assert len(taken) < 10


def test_a_name_is_streamed_from_the_hub(monkeypatch, dataset):
    asked = []
    monkeypatch.setattr("feature_sets.texts.hub_answers", lambda endpoint: True)
    monkeypatch.setattr(
        datasets, "load_dataset", lambda name, **options: asked.append((name, options)) or dataset
    )
    assert list(read_texts("roneneldan/TinyStories", split="validation")) == EXPECTED
    assert asked == [("roneneldan/TinyStories", {"split": "validation", "streaming": True})]


def test_refusals(monkeypatch, tmp_path):
    def fails(*_, **__):
        raise OSError("Couldn't reach the hub")

    monkeypatch.setattr("feature_sets.texts.hub_answers", lambda endpoint: False)
    with pytest.raises(ConnectionError, match=r"no connection to .*pass a local file or folder"):
        read_texts("nobody/nothing")
    monkeypatch.setattr("feature_sets.texts.hub_answers", lambda endpoint: True)
    monkeypatch.setattr(datasets, "load_dataset", fails)
    with pytest.raises(ConnectionError, match=r"Couldn't reach.*pass a local file or folder"):
        read_texts("nobody/nothing")
    for missing in ("stories.txt", "./stories", "a/b/c", tmp_path / "nothing"):
        with pytest.raises(FileNotFoundError, match=r"no file or folder.*roneneldan"):
            read_texts(missing)
    with pytest.raises(FileNotFoundError, match=r"has no data: .*parquet"):
        read_texts(tmp_path)
    with pytest.raises(ValueError, match="list is empty"):
        next(read_texts([]))
    (tmp_path / "empty.txt").write_text("\n<|endoftext|>\n")
    with pytest.raises(ValueError, match=r"empty.txt is empty"):
        list(read_texts(tmp_path / "empty.txt"))
    for name in ("empty.jsonl", "empty.csv"):
        (tmp_path / name).touch()
        with pytest.raises(ValueError, match=rf"{name} is empty: pass a source"):
            list(read_texts(tmp_path / name))
    with pytest.raises(TypeError, match=r"text 1 of the list is a int.*column="):
        list(read_texts(["a", 1]))
    for source in (3, {"text": "a"}, b"a"):
        with pytest.raises(TypeError, match="cannot read texts from"):
            read_texts(source)
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(ValueError, match="save it in UTF-8"):
        list(read_texts(tmp_path / "latin.txt"))


LINES = ['{"text": "One."}', '{"text": "Two."}']


def breaking(error):
    """A stream that gives two texts and breaks at the third."""

    def rows():
        yield from map(json.loads, LINES)
        raise error

    return datasets.IterableDataset.from_generator(rows)


def read_until_it_breaks(texts, kind, message):
    """What came before the refusal."""
    read = []
    with pytest.raises(kind, match=message) as refusal:
        read.extend(text.text for text in texts)
    assert refusal.value.__cause__ is not None
    return read


def test_a_malformed_line_is_reported_with_its_file_and_the_texts_read(tmp_path):
    (tmp_path / "first.jsonl").write_text("\n".join([*LINES, '{"text": "Thr']))
    message = r"first\.jsonl broke at text 0 or soon after \(ArrowInvalid: .*\): repair the data\.$"
    assert read_until_it_breaks(read_texts(tmp_path / "first.jsonl"), ValueError, message) == []
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "1.jsonl").write_text("\n".join(LINES))
    (tmp_path / "later" / "2.jsonl").write_text('{"text": "Thr')
    message = r"later broke at text 2 or soon after \(Arrow.*: .*repair.*, or pass max_texts=2 "
    assert read_until_it_breaks(read_texts(tmp_path / "later"), ValueError, message) == [
        "One.", "Two.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.json", b'[{"text": "One."}, {"text"'),
        ("rows.csv", b"text,n\na,1\nb,2,3,4\n"),
        ("rows.csv", "text\né\n".encode("latin-1")),
    ],
)
def test_malformed_files_name_themselves(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} .*Error: .*\): repair the data\.$"):
        next(read_texts(tmp_path / name))


@pytest.mark.parametrize("part", ["one file", "folder"])
def test_a_damaged_parquet_file_is_reported(dataset, tmp_path, part):
    path = tmp_path / "train-00000-of-00001.parquet"
    dataset.to_parquet(path)
    whole = path.read_bytes()
    source = path if part == "one file" else tmp_path
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"cannot read {source} .*[Pp]arquet.*: repair the data"):
        read_texts(source)
    path.write_bytes(whole[:4] + bytes(100) + whole[104:])
    message = rf"{source} broke at text 0 or soon after \(.*\): repair the data\.$"
    assert read_until_it_breaks(read_texts(source), ValueError, message) == []


def test_a_damaged_folder_saved_to_disk_is_reported(dataset, tmp_path):
    dataset.save_to_disk(tmp_path)
    (arrow,) = tmp_path.glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:-200])
    with pytest.raises(ValueError, match=rf"cannot read {tmp_path} \(.*\): repair the data\.$"):
        read_texts(tmp_path)


def test_a_stream_of_the_hub_that_breaks_is_reported(monkeypatch):
    monkeypatch.setattr("feature_sets.texts.hub_answers", lambda endpoint: True)
    message = (
        r"^nobody/nothing broke at text 2 or soon after \(\w+: gone\): check the network and run "
        r"again, or pass max_texts=2 to context_windows to stop before it\.$"
    )
    for error in (OSError("gone"), RuntimeError("gone"), ConnectionError("gone")):
        stream = breaking(error)
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, stream=stream, **__: stream)
        read = read_until_it_breaks(read_texts("nobody/nothing"), ConnectionError, message)
        assert read == ["One.", "Two."]
    malformed = breaking(ValueError("bad row"))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: malformed)
    read_until_it_breaks(read_texts("nobody/nothing"), ValueError, "bad row.*: repair the data")


def test_a_data_set_that_breaks_is_reported_and_an_interruption_passes():
    message = "the IterableDataset broke at text 2 or soon after .*KeyError: 'n'.*repair the data"
    read_until_it_breaks(read_texts(breaking(KeyError("n"))), ValueError, message)
    lost = read_texts(breaking(ConnectionError("gone")))
    read_until_it_breaks(lost, ConnectionError, "IterableDataset broke .*check the network")
    with pytest.raises(KeyboardInterrupt):
        list(read_texts(breaking(KeyboardInterrupt())))


def test_a_generators_own_error_passes():
    def strings():
        yield "One."
        raise KeyError("n")

    with pytest.raises(KeyError, match=r"^'n'$"):
        list(read_texts(strings()))


def run_python(code):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize("name", ["grammar", "fourier"])
@pytest.mark.parametrize("module_first", [True, False])
def test_a_function_named_as_its_module_is_the_packages(name, module_first):
    imports = [f"import feature_sets.{name}", f"from feature_sets import {name}"]
    lines = [
        *(imports if module_first else reversed(imports)),
        "import feature_sets, sys",
        f"assert {name} is feature_sets.{name} is sys.modules['feature_sets.{name}'].{name}",
        f"assert callable({name}) and '{name}' in dir(feature_sets)",
    ]
    run_python("\n".join(lines))


def test_the_package_imports_nothing_slow_and_a_function_stays_a_function():
    code = (
        "import sys, feature_sets\n"
        "assert not {'spacy', 'datasets', 'torch'} & set(sys.modules), 'slow import'\n"
        "import feature_sets.grammar\n"
        "import feature_sets.fourier\n"
        "assert feature_sets.grammar is sys.modules['feature_sets.grammar'].grammar\n"
        "assert all(callable(getattr(feature_sets, name)) for name in feature_sets.__all__)\n"
    )
    run_python(code)
    import feature_sets

    assert set(feature_sets.__all__) <= set(dir(feature_sets))
    with pytest.raises(AttributeError, match="no attribute 'grammer'"):
        feature_sets.grammer  # noqa: B018
