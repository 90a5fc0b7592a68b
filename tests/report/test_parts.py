"""Tables, pictures and charts that only a report has."""

import csv
import json

import numpy as np
import pytest
import torch
import vl_convert
from matplotlib.figure import Figure

from tests.report.test_browser import windows
from tl_entk import plot
from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.dynamics.course import Course
from tl_entk.report import charts
from tl_entk.report.direction_pages import rows_shown, window_groups
from tl_entk.report.parts import Link, Picture, Signed, Table, show_cell

pytestmark = pytest.mark.plain

FOUND = IntervalEstimate(0.25, -0.125, 0.5)


def test_a_figure_with_its_interval_has_three_columns_in_the_files(tmp_path):
    rows = [["x", FOUND, 3], [Link("y", "#there"), None, 4], ["z", Signed(FOUND), 0.1 + 0.2]]
    Table("t", "", ("name", "AP", "n"), rows).write(tmp_path)
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.reader(file))
    assert found[0] == ["name", "AP", "AP low", "AP high", "n"]
    assert found[1] == ["x", "0.25", "-0.125", "0.5", "3"]
    assert found[2] == ["y", "", "", "", "4"]
    # whole, whatever the page shows
    assert found[3][-1] == "0.30000000000000004"
    assert json.loads((tmp_path / "t.json").read_text())[1]["name"] == "y"


@pytest.mark.parametrize(
    ("cell", "text", "order"),
    [
        (FOUND, "0.25", 0.25),
        (Signed(FOUND), "+0.25", 0.25),
        (0.12345, "0.123", 0.12345),
        (7, "7", 7),
        ("7", "7", None),
        (True, "True", None),
        (None, "", None),
        (Link("here", "#x"), "here", None),
    ],
)
def test_a_cell_is_sorted_by_its_number(cell, text, order):
    shown = show_cell(cell)
    assert (shown["text"], shown["order"]) == (text, order)
    assert shown["left"] == (order is None and cell is not None)


def test_pictures_of_either_kind_are_files():
    figure = Figure()
    figure.subplots().plot([1, 2])
    chart = plot.spectrum(np.geomspace(1, 0.1, 4), interactive=True, width="container")
    for picture in (Picture("x", "", figure), Picture("y", "", chart)):
        assert "<svg" in picture.svg()
        assert picture.png().startswith(b"\x89PNG")
    assert Picture("x", "", figure).spec is None
    # as wide as its place on the page, and of a width of its own in the file
    assert Picture("y", "", chart).spec["width"] == "container"
    assert 'width="300"' not in Picture("y", "", chart).svg()


def compiles(chart):
    """The chart is right by Vega-Lite's schema and can be drawn."""
    spec = chart.to_dict()
    assert vl_convert.vegalite_to_vega(spec)
    return spec


def test_curves_by_layer_draw_what_belongs_to_all_layers_across():
    curves = {
        "a": {"0": FOUND, "10": FOUND, "2": IntervalEstimate(0.9, 0.8, 1.0)},
        "b": {"all": FOUND},
    }
    spec = compiles(charts.by_layer(curves, "Title", "AP"))
    (values,) = spec["datasets"].values()
    assert sorted((row["name"], row["layer"]) for row in values) == [
        ("a", 0), ("a", 2), ("a", 10), ("b", 0), ("b", 10),
    ]  # fmt: skip
    assert "Highest: a, layer 2, 0.90" in spec["description"]


def test_grids_leave_missing_cells_open_and_lead_to_pages():
    rows = {"one": {"x": 0.5, "y": 0.25}, "two": {"x": 0.1}}
    spec = compiles(charts.grid(rows, ["x", "y"], "T", ("c", "r"), "share", {"one": "#page"}))
    (values,) = spec["datasets"].values()
    assert [row["value"] for row in values] == [0.5, 0.25, 0.1, None]
    assert [row["href"] for row in values] == ["#page", "#page", None, None]


def test_the_spectrum_goes_through_training_by_a_slider():
    eigenvalues = torch.tensor([[4.0, 2.0, 0.0], [8.0, 1.0, 0.5]])
    course = Course(torch.tensor([0, 100]), {"W": eigenvalues}, {}, {}, {}, {})
    spec = compiles(charts.spectrum_course(course))
    (slider,) = [one for one in spec["params"] if "bind" in one]
    assert (slider["bind"]["input"], slider["bind"]["max"], slider["value"]) == ("range", 1, 1)
    (values,) = spec["datasets"].values()
    assert [row["value"] for row in values if row["step"] == 100] == [1.0, 0.125, 0.0625]
    # a zero is drawn at the end of the scale
    assert min(row["value"] for row in values) == 1e-8


@pytest.mark.parametrize("sign", [1, -1])
def test_what_a_page_shows_is_what_contributions_are_computed_of(sign):
    """Of any number of windows: tenths are of unequal sizes, and ties have one order."""
    scores = torch.arange(83.0) % 7
    examples = windows(83)
    groups, data = window_groups(scores, torch.ones(83, 4), examples, sign)
    shown = {row for group in groups for row in data[group.key]["rows"]}
    assert shown == set(rows_shown(scores[:, None]).tolist())
    assert groups[0].key == ("highest" if sign > 0 else "lowest")
    tenths = [data[f"decile-{i + 1}"]["scores"] for i in range(10)]
    means = [sign * sum(part) / len(part) for part in tenths]
    assert means == sorted(means, reverse=True)
