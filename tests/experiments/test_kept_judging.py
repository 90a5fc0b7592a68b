"""What judging found is kept by what it was found from, and is the same when it is taken up."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from feature_sets.feature_set import FeatureSet
from tl_entk.alignment.best_directions import best_directions
from tl_entk.alignment.comparison import probe_bases, probe_validation
from tl_entk.alignment.readout_sweep import Candidate, judge_sweep, over_layers
from tl_entk.experiments.language import kept_judging
from tl_entk.experiments.language.kept_judging import KeptJudging, content_key
from tl_entk.tools.files import read_kept

pytestmark = pytest.mark.plain

RNG = np.random.default_rng(0)
N = 80
VALUES = (RNG.standard_normal((N, 3)) > 0.3).astype(float)
FEATURES = FeatureSet(VALUES, ("a", "b", "c"), ("x", "x", "y"), ("a", "b", "c"))
LAYERS = {
    layer: torch.from_numpy(VALUES @ RNG.standard_normal((3, 4)) + RNG.standard_normal((N, 4)))
    for layer in ("0", "1")
}
COLUMNS, PLACES = over_layers(LAYERS)
CANDIDATE = Candidate("logsumexp", "W_out", "plain")
FEW = {"seed": 1, "n_bootstrap": 20, "n_permutations": 9}
GROUPS = [i // 2 for i in range(N)]


def judge(kept):
    """One judgment of each kind."""
    return (
        kept.table(COLUMNS, FEATURES, columns=PLACES, **FEW),
        kept.table(COLUMNS, FEATURES, groups=GROUPS, **FEW),
        kept.sweep_row(CANDIDATE, LAYERS, FEATURES, seed=1),
        kept.probes(LAYERS, FEATURES, "ridge", n_bootstrap=20),
        kept.probe_validation(COLUMNS, FEATURES, 1),
    )


@pytest.fixture
def nothing_judged(made, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("judged again")

    for name in ("best_directions", "judge_sweep", "probe_bases", "probe_validation"):
        monkeypatch.setattr(kept_judging, name, refuse)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    found = tmp_path_factory.mktemp("judged")
    with KeptJudging(found) as kept:
        judge(kept)
    return found


@pytest.fixture
def folder(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "judged"))


def assert_same(found, expected):
    """Rows, and every resample to the last digit."""
    assert found == expected
    assert found.rows == expected.rows
    if hasattr(expected, "labels"):
        np.testing.assert_array_equal(found.labels, expected.labels)
    for one, other in zip(flat(found.samples), flat(expected.samples), strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.resampled, other.resampled)
        assert one.bounds == other.bounds


def flat(samples):
    return [
        part
        for value in samples.values()
        for part in (flat(value) if isinstance(value, dict) else [value])
    ]


@pytest.mark.usefixtures("nothing_judged")
def test_what_is_kept_is_not_judged_again_and_is_the_same(folder):
    steps = []
    with KeptJudging(folder, steps.append) as kept:
        table, grouped, row, probes, number = judge(kept)
    assert_same(table, best_directions(COLUMNS, FEATURES, columns=PLACES, **FEW))
    assert_same(grouped, best_directions(COLUMNS, FEATURES, groups=GROUPS, **FEW))
    assert [row] == judge_sweep({CANDIDATE: LAYERS}, FEATURES, seed=1)
    assert_same(probes, probe_bases(LAYERS, FEATURES, n_bootstrap=20, probe="ridge"))
    assert number == probe_validation(COLUMNS, FEATURES, 1)
    # paired with what is judged now
    assert table.difference(best_directions(COLUMNS.flip(1), FEATURES, **FEW)).value is not None
    assert steps == [4, 4, 1, 2, 1]


@pytest.mark.usefixtures("nothing_judged")
@pytest.mark.parametrize(
    "change",
    [
        {"scores": COLUMNS + 1e-12 * torch.eye(N, 8)},
        {"features": replace(FEATURES, names=("a", "b", "d"))},
        {"features": replace(FEATURES, values=1 - FEATURES.values)},
        {"seed": 2},
        {"n_bootstrap": 21},
        {"n_permutations": 10},
        {"groups": GROUPS},
        {"columns": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_a_judgment_depends_on_judges_anew(change, folder):
    given = {"scores": COLUMNS, "features": FEATURES, "columns": PLACES, **FEW}
    with KeptJudging(folder) as kept:
        kept.table(**given)
        with pytest.raises(AssertionError, match="judged again"):
            kept.table(**{**given, **change})


@pytest.mark.usefixtures("nothing_judged")
@pytest.mark.parametrize("change", [{"_METHOD": 99}, {"versions": lambda: {"numpy": "0"}}])
def test_another_version_judges_anew(change, folder, monkeypatch):
    for name, value in change.items():
        monkeypatch.setattr(kept_judging, name, value)
    with KeptJudging(folder) as kept, pytest.raises(AssertionError, match="judged again"):
        kept.probe_validation(COLUMNS, FEATURES, 1)


@pytest.mark.parametrize("part", ["bit", "end", "all"])
def test_a_damaged_file_is_judged_again(part, folder):
    for path in folder.iterdir():
        data = bytearray(path.read_bytes())
        if part == "all":
            data = bytearray(b"nothing")
        elif part == "end":
            data = data[: len(data) // 2]
        elif path.suffix == ".safetensors":
            data[-1] ^= 1
        path.write_bytes(data)
    with KeptJudging(folder) as kept:
        table, *_ = judge(kept)
    assert_same(table, best_directions(COLUMNS, FEATURES, columns=PLACES, **FEW))


def test_an_interrupted_judging_goes_on(tmp_path):
    def stop_after_the_row():
        with KeptJudging(tmp_path) as kept:
            kept.sweep_row(CANDIDATE, LAYERS, FEATURES, seed=1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_after_the_row()
    assert len(read_kept(tmp_path / "numbers.json")) == 1


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with KeptJudging() as kept:
        judge(kept)
    assert not list(tmp_path.iterdir())


def test_no_two_inputs_read_the_same():
    keys = {
        content_key(*inputs)
        for inputs in (
            ("ab", "c"), ("a", "bc"), (["ab"], "c"), (1,), (1.0,), ("1",), (True,), (None,),
            (torch.zeros(2, 3),), (torch.zeros(3, 2),), (torch.zeros(6),),
            (torch.zeros(6, dtype=torch.int32),), ({"a": 1},), ({"b": 1},), ((), 1), ((1,),),
        )
    }  # fmt: skip
    assert len(keys) == 16
