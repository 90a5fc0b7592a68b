"""The charts of the toy settings: valid, without a warning, and with what is to be seen on them."""

import json

import numpy as np
import pytest
import vl_convert

from tests.plot.cases import values_in
from tl_entk.report.toys.charts import (
    frequency_bars,
    grouped_bars,
    seeds_scatter,
    spectrum_panels,
)
from tl_entk.report.toys.panels import Line, Panel, line_panels

pytestmark = pytest.mark.plain

STEPS = np.arange(0, 100, 10)
TRAIN = Panel({"train": Line(STEPS, STEPS / 90)}, "epoch", "accuracy", marks={"onset": 30})
SPECTRUM = np.array([4.0, 2.0, 1.0, 1e-9, 0.0])
CHARTS = {
    "one panel": lambda: line_panels({"Accuracy": TRAIN}, "The course"),
    "several legends": lambda: line_panels(
        {
            "Accuracy": TRAIN,
            "Overlaps": Panel(
                {"a": Line(STEPS, STEPS + 1.0), "b": Line(STEPS, STEPS * 2.0)},
                "epoch", "overlap", log=True, until=50,
                faint=[Line(STEPS, STEPS * 3.0)],
            ),
        },
        "The course",
    ),
    "one legend": lambda: line_panels(
        dict.fromkeys(
            ("left", "right"),
            Panel({"a": Line([0, 1], [1, 2]), "b": Line([0, 1], [2, 1])}, "x", "y", limits=(0, 3)),
        ),
        "Side by side", columns=2,
    ),
    "spectra": lambda: spectrum_panels(
        {"trained": {"both": SPECTRUM}}, {"trained": {"cliff": 3}}, "Spectra"
    ),
    "bars": lambda: grouped_bars(
        {"W_U": {"as found": 0.25, "ICA": 0.75}, "W_in": {"ICA": 0.5}}, "Rotations", "share"
    ),
    "frequencies": lambda: frequency_bars(
        {("W_E", "power"): {1: 0.5, 2: 3.0}, ("W_U", "energy"): {1: 0.0, 2: 9.0}},
        ([2], []),
        "Frequencies",
    ),
    "seeds": lambda: seeds_scatter({"MLP": [(100, 75), (80, 80)]}, "epoch"),
}  # fmt: skip


@pytest.fixture(params=CHARTS)
def spec(request):
    return json.loads(CHARTS[request.param]().to_json(validate=True))


def test_charts_are_valid_and_say_what_they_show(spec, capfd):
    assert len(spec["description"]) > 30
    vl_convert.vegalite_to_vega(spec, show_warnings=True)
    said = capfd.readouterr()
    assert not said.out + said.err
    assert vl_convert.vegalite_to_svg(spec).startswith("<svg")


def rows_of(chart, *columns):
    return [
        tuple(row[column] for column in columns)
        for part in values_in(chart.to_dict())
        for rows in part.values()
        if isinstance(rows, list)
        for row in rows
        if isinstance(row, dict) and set(columns) <= row.keys()
    ]


def test_a_mark_stands_behind_the_last_mode_before_the_cliff():
    chart = CHARTS["spectra"]()
    # what is rounding beside the first eigenvalue is not drawn, and the mark is all the same
    assert rows_of(chart, "name", "x", "y") == [("both", 1, 1), ("both", 2, 0.5), ("both", 3, 0.25)]
    assert set(rows_of(chart, "mark", "at")) == {("cliff", 3.5)}


def test_room_for_marks_is_above_the_spectra():
    chart = spectrum_panels({"x": {"both": SPECTRUM}}, {"x": {"cliff": 3}}, "Spectra", room=True)
    (scale,) = {
        tuple(part["scale"]["domain"])
        for part in values_in(chart.to_dict())
        if isinstance(part.get("scale"), dict) and part["scale"].get("type") == "log"
    }
    # what is seen goes from 1/4 to 1
    assert scale == pytest.approx((0.25, 4**0.33))


def test_what_is_not_positive_or_beyond_the_end_is_left_out():
    chart = CHARTS["several legends"]()
    assert rows_of(chart, "name1", "x")[0] == ("a", 0)
    assert ("b", 0) not in rows_of(chart, "name1", "x")
    assert max(x for _, x in rows_of(chart, "name1", "x")) == 50
    assert max(x for _, x in rows_of(chart, "name0", "x")) == 90


def test_a_legend_is_heard_by_the_panels_that_have_its_names():
    fields = {
        name: [part["select"]["fields"] for part in values_in(CHARTS[name]().to_dict())
               if isinstance(part.get("select"), dict)]
        for name in ("several legends", "one legend")
    }  # fmt: skip
    assert sorted(fields["several legends"]) == [["name0"], ["name1"]]
    assert fields["one legend"] == [["name"], ["name"]]


def test_bars_are_the_numbers_given_and_key_frequencies_have_their_number():
    assert ("W_U", "ICA", 0.75) in rows_of(CHARTS["bars"](), "case", "name", "value")
    found = rows_of(CHARTS["frequencies"](), "k", "power", "key")
    assert set(found) == {(1, 0.5, False), (2, 3.0, True), (1, 0.0, False), (2, 9.0, False)}
