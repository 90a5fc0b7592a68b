"""Every plot is drawn both ways; what holds for all of them is held here."""

import io
import json

import altair as alt
import matplotlib.pyplot as plt
import numpy as np
import pytest
import vl_convert
from matplotlib.axes import Axes

from feature_sets.errors import UserError
from tests.plot.cases import CASES, HOSTILE, PARTS, comparison, eigen, tables, values_in
from tl_entk import plot
from tl_entk.plot import style

pytestmark = pytest.mark.plain
BOTH = {**CASES, "compare": lambda **to: plot.compare(comparison(), **to)}


# matplotlib's own font has no fox
@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", CASES)
def test_axes_are_drawn_with_a_title_and_labels(name):
    axes = CASES[name]()
    assert isinstance(axes, Axes)
    assert axes.get_title(loc="left")
    assert axes.get_xlabel()
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", CASES)
def test_axes_that_are_given_are_drawn_on_and_no_figure_is_opened(name):
    _, (left, right) = plt.subplots(1, 2)
    opened = len(plt.get_fignums())
    assert CASES[name](ax=right) is right
    assert len(plt.get_fignums()) == opened
    assert not left.has_data()


@pytest.mark.parametrize("name", BOTH)
def test_charts_are_valid_and_say_what_they_show(name):
    chart = BOTH[name](interactive=True)
    spec = json.loads(chart.to_json(validate=True))
    assert len(spec["description"]) > 30
    assert "url" not in json.dumps(spec.get("data", {}))
    titles = [part["title"] for part in values_in(spec) if "title" in part]
    assert titles
    assert vl_convert.vegalite_to_svg(spec).startswith("<svg")


@pytest.mark.parametrize("name", BOTH)
def test_vega_lite_has_nothing_to_warn_of(name, capfd):
    vl_convert.vegalite_to_vega(BOTH[name](interactive=True).to_dict(), show_warnings=True)
    said = capfd.readouterr()
    assert not said.out + said.err


@pytest.mark.parametrize("name", CASES)
def test_charts_fit_the_width_they_are_given(name):
    assert CASES[name](interactive=True, width="container").to_dict()["width"] == "container"
    svg = vl_convert.vegalite_to_svg(CASES[name](interactive=True, width=500).to_dict())
    width = float(svg.split('width="')[1].split('"')[0])
    assert 480 <= width <= 520


@pytest.mark.parametrize("name", [name for name in CASES if "windows" not in name])
def test_every_chart_has_tooltips_with_numbers(name):
    spec = CASES[name](interactive=True).to_dict()
    tips = [tip for part in values_in(spec) for tip in part.get("tooltip", []) if part]
    assert any(tip["type"] == "quantitative" and tip.get("format") for tip in tips)


def test_names_differ_by_more_than_color():
    looks = style.looks_of([str(i) for i in range(7)]).values()
    assert len({look.color for look in looks}) == 7
    assert len({look.shape for look in looks}) == len({look.marker for look in looks}) == 7
    many = style.looks_of([str(i) for i in range(30)])
    assert len({look.color for look in many.values()}) == 30


def test_a_name_looks_alike_in_both_panels_and_both_libraries():
    spec = plot.compare(comparison(), panel="difference", interactive=True).to_dict()
    (scale,) = {
        json.dumps(part["color"]["scale"])
        for part in values_in(spec)
        if "scale" in part.get("color", {})
    }
    scale = json.loads(scale)
    assert scale["domain"] == comparison().bases
    assert scale["range"][1] == style.looks_of(comparison().bases)["PCA"].color


def test_more_rows_than_altairs_limit_and_its_settings_left_alone():
    before = alt.data_transformers.active, dict(alt.data_transformers.options)
    chart = plot.spectrum(np.linspace(2, 1, 6000), interactive=True)
    assert len(next(iter(chart.to_dict()["datasets"].values()))) == 6000
    assert (alt.data_transformers.active, dict(alt.data_transformers.options)) == before


def test_a_label_is_text_never_an_expression():
    spec = CASES["windows, hostile"](interactive=True).to_dict()
    (expression,) = {part["labelExpr"] for part in values_in(spec) if "labelExpr" in part}
    assert json.dumps(HOSTILE) in expression
    svg = vl_convert.vegalite_to_svg(spec)
    assert "<script>" not in svg
    assert "&lt;script" in svg


def test_links_are_where_they_are_given():
    chart = plot.directions(
        tables(), links={"NOUN": "#noun", ("DET", "eNTK"): "#det"}, interactive=True
    )
    spec = chart.to_dict()
    (rows,) = [rows for rows in spec["datasets"].values() if "href" in rows[0]]
    found = {(row["row"], row["name"]): row["href"] for row in rows}
    assert found["NOUN", "random"] == found["NOUN", "eNTK"] == "#noun"
    assert (found["DET", "eNTK"], found["DET", "random"]) == ("#det", None)
    assert any("href" in part.get("encoding", {}) for part in values_in(spec))


def test_both_panels():
    scores, difference = plot.compare(comparison())
    assert scores.figure is difference.figure
    _, pair = plt.subplots(1, 2)
    assert plot.compare(comparison(), ax=pair)[1] is pair[1]
    with pytest.raises(UserError, match="pass two"):
        plot.compare(comparison(), ax=pair[0])
    with pytest.raises(UserError, match="panel='scores'"):
        plot.compare(comparison(), interactive=True, width="container")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.spectrum({}), "pass one or more"),
        (lambda: plot.spectrum(np.eye(2)), "pass one axis, a number each"),
        (lambda: plot.spectrum(np.array([-1.0])), "log=False"),
        (lambda: plot.spectrum(eigen(), interactive=True, width=3), "100 pixels"),
        (lambda: plot.alignment(np.eye(2), names=(["a"], ["b"])), "pass one each"),
        (lambda: plot.shares({}), "component_shares"),
        (lambda: plot.shares({"a": 1.0}, less_mean=True), "two features"),
        (lambda: plot.directions(tables(), "best"), "precision"),
        (lambda: plot.directions({}), "best_directions"),
        (lambda: plot.compare(comparison(), against="ICA"), "standardized PCA"),
        (lambda: plot.compare({"eNTK": tables()["eNTK"]}), "none"),
        (lambda: plot.windows(eigen(), 6), "0 to 5"),
        (lambda: plot.windows(eigen(), -1), "0 to 5"),
        (lambda: plot.windows(eigen(), 0, ["a"]), "one per example"),
        (lambda: plot.contributions(PARTS, ["a"] * 3, 2), "row 2: there are 0 to 1"),
        (lambda: plot.contributions(PARTS, ["a"] * 3, 0, -1), "direction -1: there are 0 to 0"),
        (lambda: plot.contributions(PARTS, ["a"]), "1 texts for 3 tokens"),
        (lambda: plot.contributions(PARTS, "abc"), "no list of texts"),
        (lambda: plot.windows(eigen(), 0, sign=0), "1 or -1"),
    ],
)
def test_what_a_caller_can_fix_is_said(call, message):
    with pytest.raises(UserError, match=message):
        call()
