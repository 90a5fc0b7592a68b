"""The tables behind the plots."""

import numpy as np
import pandas as pd
import pytest
import torch

import tl_entk
from feature_sets import FeatureSet
from feature_sets.errors import UserError
from tests.plot.cases import (
    HIDDEN,
    OTHER_SHARES,
    SHARES,
    TAGS,
    comparison,
    course,
    eigen,
    features,
    tables,
)
from tl_entk.plot import style
from tl_entk.plot.alignments import alignment_frame
from tl_entk.plot.attributions import OUTSIDE, shares_frame
from tl_entk.plot.curves import course_frame
from tl_entk.plot.forests import compare_frame, directions_frame
from tl_entk.plot.histograms import windows_frame
from tl_entk.plot.spectra import spectrum_frame

pytestmark = pytest.mark.plain


def test_spectra_are_relative_to_their_own_first():
    frame = spectrum_frame({"big": torch.tensor([10.0, 5.0]), "small": np.array([1.0, 0.1])})
    assert frame.relative.tolist() == [1, 0.5, 1, 0.1]
    assert frame.name.tolist() == ["big", "big", "small", "small"]
    assert spectrum_frame(torch.zeros(2)).relative.tolist() == [0, 0]
    found = spectrum_frame(eigen())
    assert found.converged.all()
    np.testing.assert_array_equal(found.residual, eigen().residuals)


def test_alignment_is_that_of_the_cosines():
    frame = alignment_frame(eigen(), features())
    grid = frame.pivot(index="row", columns="column", values="value")
    expected = tl_entk.abs_cosines(eigen().scores, features()).numpy()
    np.testing.assert_allclose(grid.loc["direction 2", "DET"], expected[2, 1], atol=1e-10)
    by_group = alignment_frame(eigen(), features(), by="group")
    np.testing.assert_allclose(by_group.value, expected.ravel() ** 2, atol=1e-10)


def test_shares_of_one_feature_lie_by_layer_and_nothing_is_counted_twice():
    frame = shares_frame(SHARES)
    assert frame.value.sum() == pytest.approx(1)
    assert frame.row.tolist() == ["0", "0", "1", OUTSIDE, OUTSIDE]
    heads = shares_frame(SHARES, heads=True)
    assert heads.value.sum() == pytest.approx(1)
    assert "attn.W_Q[1]" in set(heads.column)
    assert "attn.W_Q" not in set(heads.column)
    layers = shares_frame(tl_entk.layer_shares(SHARES, list(frame.component)))
    assert layers.row.tolist() == ["0", "1", OUTSIDE, OUTSIDE]


def test_shares_less_their_mean_say_what_is_a_features_own():
    frame = shares_frame({"NOUN": SHARES, "DET": OTHER_SHARES}, less_mean=True)
    own = frame[frame.row == "DET"].set_index("column").value
    assert own["unembed.W_U"] == pytest.approx(0.05)
    assert own["embed.W_E"] == 0


def test_directions_have_the_tables_own_numbers_and_chance():
    frame = directions_frame(tables(), "precision")
    row = tables()["random"].rows[1]
    found = frame[(frame.name == "random") & (frame.row == "DET")].iloc[0]
    assert (found.value, found.low, found.high) == (
        row.precision.value,
        row.precision.low,
        row.precision.high,
    )
    assert found.chance == row.positives / tables()["random"].n_test
    assert set(directions_frame(tables(), "auroc").chance) == {0.5}


@pytest.mark.parametrize("judged", [comparison, tables])
def test_differences_are_paired(judged):
    frame = compare_frame(judged(), against="random")
    found = frame[(frame.panel == "difference") & (frame.row == "tag")].iloc[0]
    if judged is comparison:
        expected = comparison().difference("eNTK", "random", family="tag")
    else:
        expected = tables()["eNTK"].difference(tables()["random"], family="tag")
    assert (found.value, found.low, found.high) == (expected.value, expected.low, expected.high)
    assert found.features == 2
    assert frame.panel.is_monotonic_decreasing
    assert frame.row[0] == "all features"


def test_families_of_two_metrics_have_no_mean_over_all():
    both = FeatureSet.from_dict(
        {"NOUN": HIDDEN[:, 0] > 0, "length": HIDDEN[:, 1]},
        families={"NOUN": "tag", "length": "wave"},
    )
    table = tl_entk.probe_bases({"a": HIDDEN, "b": HIDDEN[:, :2]}, both, n_bootstrap=20)
    frame = compare_frame(table)
    assert list(dict.fromkeys(frame.row)) == ["tag (average precision)", "wave (R²)"]


def test_a_course_leaves_out_what_was_not_recorded():
    frame = course_frame(course(), ["a"], ["test_accuracy"])
    assert len(frame) == 9 + 8
    assert frame[frame.name == "a"].value.max() == pytest.approx(0.75)
    assert frame[frame.name == "a"].overlap.max() == pytest.approx(3)
    with pytest.raises(UserError, match="test_accuracy"):
        course_frame(course(), ["b"])


def test_histograms_hold_every_example_once():
    frame = windows_frame(eigen(), 0, TAGS, bins=11)
    counts = frame.groupby("label")["count"].sum()
    assert counts.to_dict() == {tag: TAGS.count(tag) for tag in set(TAGS)}
    medians = frame.drop_duplicates("label")["median"].tolist()
    assert medians == sorted(medians, reverse=True)
    turned = windows_frame(eigen(), 0, TAGS, bins=11, sign=-1)
    assert turned.drop_duplicates("label")["median"].tolist() == [-m for m in medians[::-1]]
    assert windows_frame(np.ones((4, 1)), 0, bins=3)["count"].sum() == 4


def test_values_of_a_chart_are_plain_json():
    frame = pd.DataFrame({"x": [np.float32(0.5), np.inf], "y": [True, None]})
    assert style.inline(frame).values == [{"x": 0.5, "y": True}, {"x": None, "y": None}]
