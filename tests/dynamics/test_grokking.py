"""Onset, midpoint and relation: the stated rule on curves with noise, dips and plateaus."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tl_entk import midpoint, onset, relation

pytestmark = pytest.mark.plain

STEPS = np.arange(0, 500, 5)


def sigmoid(middle, width=10.0, low=0.03, high=1.0):
    return low + (high - low) / (1 + np.exp(-(STEPS - middle) / width))


@pytest.mark.parametrize("rise", [0.1, 0.5, 0.9])
def test_onset_of_a_clean_curve_is_where_it_passes_the_threshold(rise):
    curve = sigmoid(200)
    low, high = curve[0], curve[-2]  # the running median leaves out a last record on its own
    first = STEPS[np.flatnonzero(curve >= low + rise * (high - low))[0]]
    assert onset(STEPS, curve, rise) == first


def test_the_onset_comes_before_the_midpoint():
    curve = sigmoid(203)
    assert onset(STEPS, curve) < midpoint(STEPS, curve) == 205


def test_noise_on_the_plateau_does_not_move_the_onset_far():
    rng = np.random.default_rng(0)
    for _ in range(20):
        noisy = np.clip(sigmoid(200) + rng.normal(0, 0.02, len(STEPS)), 0, 1)
        assert abs(onset(STEPS, noisy) - onset(STEPS, sigmoid(200))) <= 10


def test_a_dip_or_spike_of_one_record_does_not_count():
    curve = sigmoid(200)
    curve[70], curve[10] = 0.0, 0.9
    assert onset(STEPS, curve) == onset(STEPS, sigmoid(200))


def test_a_longer_dip_does_count():
    curve = sigmoid(200)
    curve[70:73] = 0.05
    assert onset(STEPS, curve) == STEPS[73]


def test_the_onset_is_after_a_plateau_below_the_threshold_only():
    curve = np.repeat([0.03, 0.08, 0.4, 1.0], 25)
    assert onset(STEPS, curve) == STEPS[50]  # 0.08 is below 0.03 + 0.097
    assert midpoint(STEPS, curve) == STEPS[75]


@pytest.mark.parametrize(
    "curve",
    [
        np.full(100, 0.03),
        np.linspace(0.03, 0.2, 100),
        np.full(100, 0.97),
        sigmoid(200)[::-1],  # begins high and falls
        np.where(STEPS[-1] == STEPS, 1.0, 0.03),  # only the last record is high
    ],
    ids=["flat", "hardly rises", "begins high", "falls", "last record"],
)
def test_no_onset(curve):
    assert onset(STEPS, curve) is None
    assert midpoint(STEPS, curve) is None


def test_what_begins_high_and_falls_has_its_onset_where_it_comes_back():
    assert onset(STEPS, np.where(STEPS < 50, 0.9, sigmoid(200))) == onset(STEPS, sigmoid(200))


def test_the_least_rise_is_the_users():
    curve = sigmoid(200, high=0.15)
    assert onset(STEPS, curve) is None
    assert onset(STEPS, curve, least_rise=0.1) == onset(STEPS, sigmoid(200))


def test_records_without_an_accuracy_are_left_out():
    curve = sigmoid(200)
    curve[1::2] = np.nan
    assert onset(STEPS, curve) == onset(STEPS[::2], curve[::2])


def test_tensors_and_lists_are_read_alike():
    curve, found = sigmoid(200), onset(STEPS, sigmoid(200))
    assert onset(torch.tensor(STEPS), torch.tensor(curve)) == found
    assert onset(STEPS.tolist(), curve.tolist()) == found


CURVES = st.lists(st.integers(0, 100), min_size=3, max_size=30).map(lambda v: np.array(v) / 100)


@settings(deadline=None)
@given(CURVES, st.sampled_from([0.1, 0.5, 0.9]))
def test_onset_is_the_first_step_of_a_stay_above_the_threshold(curve, rise):
    steps = np.arange(len(curve)) * 3
    level = np.array(
        [np.median([curve[max(i - 1, 0)], curve[i], curve[i + 1]]) for i in range(len(curve) - 1)]
        + [curve[-2]]
    )
    above = level >= level.min() + rise * (level.max() - level.min())
    stays = [i for i in range(len(curve)) if above[i:].all()]
    risen = level.max() - level.min() >= 0.2
    assert onset(steps, curve, rise) == (steps[stays[0]] if risen and stays else None)


@settings(deadline=None)
@given(CURVES)
def test_the_midpoint_is_never_before_the_onset(curve):
    steps = np.arange(len(curve))
    first, middle = onset(steps, curve), midpoint(steps, curve)
    assert middle is None or first <= middle


@pytest.mark.parametrize(
    ("steps", "accuracy", "rise", "advice"),
    [
        ([0, 1, 2], [0.0, 1.0], 0.1, "one accuracy per step"),
        ([0, 2, 2], [0.0, 0.5, 1.0], 0.1, "sort"),
        ([0, 1], [0.0, 1.0], 0.1, "three or more"),
        ([0, 1, 2], [0.0, 50.0, 100.0], 0.1, "fractions"),
        ([0, 1, 2], [0.0, 0.5, 1.0], 1.0, "between 0 and 1"),
    ],
)
def test_bad_curves(untyped, steps, accuracy, rise, advice):
    with pytest.raises(ValueError, match=advice):
        onset(steps, accuracy, rise)


@pytest.mark.parametrize(
    ("peak", "found"),
    [(94, "precedes"), (95, "matches"), (100, "matches"), (105, "matches"), (106, "follows")],
)
def test_relation(peak, found):
    assert relation(peak, 100, 5) == found


def test_relation_needs_a_spacing():
    with pytest.raises(ValueError, match="spacing"):
        relation(1, 2, 0)
