"""What cannot be drawn."""

import numpy as np
import pytest
import torch

import tl_entk
from tests.wrong_input.cases import (
    ACTIVATIONS,
    EIGEN,
    FEATURES,
    OVERLAP,
    Case,
    every,
    whole_numbers,
)
from tests.wrong_input.test_names import COMPARISON, TABLE
from tests.wrong_input.test_training import COURSE
from tl_entk import plot

pytestmark = pytest.mark.plain

SPECTRUM, SHARES = np.array([3.0, 1.0]), {"blocks.0.mlp.W_in": 0.5, "unembed.W_U": 0.5}
PARTS = tl_entk.PositionContributions(
    torch.tensor([[[0.5], [-0.25]]]), torch.zeros(1, 1), torch.zeros(1)
)
DRAW = {
    "spectrum": lambda **o: plot.spectrum(SPECTRUM, **o),
    "alignment": lambda **o: plot.alignment(EIGEN, FEATURES, **o),
    "angles": lambda **o: plot.alignment(OVERLAP, **o),
    "shares": lambda **o: plot.shares(SHARES, **o),
    "course": lambda **o: plot.course(COURSE, **o),
    "directions": lambda **o: plot.directions(TABLE, **o),
    "compare": lambda **o: plot.compare(COMPARISON, panel="scores", **o),
    "windows": lambda **o: plot.windows(EIGEN, 0, **o),
    "contributions": lambda **o: plot.contributions(PARTS, ["a", "b"], **o),
}
RESULTS = {
    "course": (plot.course, "course is a {}: pass a Course"),
    "directions": (plot.directions, "table is a {}: pass a DirectionTable"),
    "compare": (plot.compare, "comparison is a {}: pass a Comparison"),
    "contributions": (lambda x: plot.contributions(x, ["a"]), "parts is a {}: pass Position"),
}
CASES = [
    *(
        Case(f"{name} on {kind}", lambda f=f, ax=ax: f(ax=ax), "ax is a .*: pass .*Axes")
        for name, f in DRAW.items()
        for kind, ax in (("a text", "ax"), ("a number", 3))
    ),
    *(
        Case(
            f"{name}, width {w!r}", lambda f=f, w=w: f(interactive=True, width=w), "width = .*pass"
        )
        for name, f in DRAW.items()
        for w in (3, "wide", True, float("nan"))
    ),
    *(
        Case(
            f"{name} of {type(value).__name__}",
            lambda f=f, v=value: f(v),
            words.format(type(value).__name__),
        )
        for name, (f, words) in RESULTS.items()
        for value in (None, "result", EIGEN, ACTIVATIONS)
    ),
    Case("tables listed", lambda: plot.directions([TABLE]), "table is a list: pass"),
    Case(
        "tables of others", lambda: plot.directions({"a": EIGEN}), "'a' is a EigenDirections: pass"
    ),
    Case("no table", lambda: plot.directions({}), "no table of directions"),
    Case("spectra listed", lambda: plot.spectrum({}), "no spectrum: pass one or more"),
    Case("spectra of text", lambda: plot.spectrum({"a": "b"}), "'a' is a str"),
    Case("a spectrum of nothing positive", lambda: plot.spectrum(-SPECTRUM), "pass log=False"),
    Case(
        "cliffs as a number", lambda: plot.spectrum(SPECTRUM, 3), "expected is a int: pass a list"
    ),
    Case(
        "cliffs as text", lambda: plot.spectrum(SPECTRUM, "12"), "expected has '1': pass integers"
    ),
    Case("half a cliff", lambda: plot.spectrum(SPECTRUM, [0.5]), "expected has 0.5: pass integers"),
    Case(
        "a negative cliff", lambda: plot.spectrum(SPECTRUM, [-1]), "expected has -1: pass integers"
    ),
    Case("by something else", lambda: plot.alignment(EIGEN, FEATURES, by="x"), "by = 'x': pass"),
    Case("by a list", lambda: plot.alignment(EIGEN, FEATURES, by=["group"]), "by = .*: pass"),
    Case(
        "angles and features",
        lambda: plot.alignment(OVERLAP, FEATURES),
        "of directions and features already: leave features out",
    ),
    Case("groups of no features", lambda: plot.alignment(EIGEN, by="group"), "features"),
    Case(
        "groups of an array",
        lambda: plot.alignment(EIGEN, ACTIVATIONS, by="group"),
        "features is a Tensor: pass a FeatureSet",
    ),
    Case(
        "too few names",
        lambda: plot.alignment(EIGEN, FEATURES, names=(["a"], ["b"])),
        "1 names of rows and 1 of columns",
    ),
    Case("names as text", lambda: plot.alignment(EIGEN, FEATURES, names="ab"), "names.*pass"),
    Case(
        "names of one axis", lambda: plot.alignment(EIGEN, FEATURES, names=(["a"],)), "names.*pass"
    ),
    Case("shares of nothing", lambda: plot.shares({}), "no shares: pass what component_shares"),
    Case(
        "less the mean of one", lambda: plot.shares(SHARES, less_mean=True), "two features or more"
    ),
    Case("shares of nothing by name", lambda: plot.shares({"a": {}}), "no shares: pass"),
    Case("shares mixed", lambda: plot.shares({"a": SHARES, "b": 0.5}), "shares.*mix|shares.*'b'"),
    Case("an unknown overlap", lambda: plot.course(COURSE, overlaps=["x"]), r"\['x'\] to draw"),
    Case("an overlap as text", lambda: plot.course(COURSE, overlaps="sum"), "overlaps is one text"),
    Case("a metric as text", lambda: plot.course(COURSE, metrics="loss"), "metrics is one text"),
    Case("an unknown metric", lambda: plot.course(COURSE, metrics=["x"]), r"\['x'\] to draw"),
    Case("nothing of a course", lambda: plot.course(COURSE, overlaps=[]), "nothing.* to draw"),
    Case("marks listed", lambda: plot.course(COURSE, marks=[5]), "marks is a list: pass a mapping"),
    Case("a mark of text", lambda: plot.course(COURSE, marks={"a": "b"}), "mark 'a'.*number"),
    Case("a mark at NaN", lambda: plot.course(COURSE, marks={"a": np.nan}), "mark 'a'.*number"),
    Case("no step after 0", lambda: plot.course(COURSE.before(5), log=True), "pass log=False"),
    Case("an unknown metric of directions", lambda: plot.directions(TABLE, "x"), "no metric 'x'"),
    Case("a listed metric", lambda: plot.directions(TABLE, ["ap"]), "no metric"),
    Case("another order", lambda: plot.directions(TABLE, order="x"), "order = 'x': pass"),
    *(
        Case(f"top {value}", lambda v=v: plot.directions(TABLE, top=v), words)
        for value, (v, words) in whole_numbers("top").items()
    ),
    Case("another panel", lambda: plot.compare(COMPARISON, panel="x"), "panel = 'x': pass"),
    Case("a listed panel", lambda: plot.compare(COMPARISON, panel=["both"]), "panel = .*pass"),
    Case(
        "against an unknown basis",
        lambda: plot.compare(COMPARISON, against="x"),
        r"no basis \['x'\]",
    ),
    Case("against a number", lambda: plot.compare(COMPARISON, against=3), "against is a int: pass"),
    Case(
        "an unknown metric of probes", lambda: plot.compare(COMPARISON, metric="x"), "no metric 'x'"
    ),
    Case("one axes for two", lambda: plot.compare(COMPARISON, ax=[1]), "axes|Axes"),
    *(
        Case(f"bins {value}", lambda v=v: plot.windows(EIGEN, 0, bins=v), words)
        for value, (v, words) in whole_numbers("bins").items()
    ),
    Case(
        "labels as text", lambda: plot.windows(EIGEN, 0, "a" * 12), "one text|pass one per example"
    ),
    Case("too few labels", lambda: plot.windows(EIGEN, 0, ["a"]), "1 labels for 12 examples"),
    Case("labels as a number", lambda: plot.windows(EIGEN, 0, 3), "windows is a int: pass"),
    Case("labels that are lists", lambda: plot.windows(EIGEN, 0, [["a"]] * 12), "label"),
    Case("tokens as text", lambda: plot.contributions(PARTS, "ab"), "tokens is no list of texts"),
    Case(
        "tokens as numbers", lambda: plot.contributions(PARTS, [1, 2]), "tokens is no list of texts"
    ),
    Case("no tokens", lambda: plot.contributions(PARTS, None), "tokens is no list of texts"),
    Case("too few tokens", lambda: plot.contributions(PARTS, ["a"]), "1 texts for 2 tokens"),
    Case(
        "a row too many",
        lambda: plot.contributions(PARTS, ["a", "b"], 1),
        "row 1: there are 0 to 0",
    ),
    Case(
        "a direction too many",
        lambda: plot.contributions(PARTS, ["a", "b"], 0, 1),
        "direction 1: there are 0 to 0",
    ),
    *(
        Case(
            f"links of {name}",
            lambda f=f: f(interactive=True, links=["#"]),
            "links is a list: pass",
        )
        for name, f in DRAW.items()
        if name in ("alignment", "shares", "directions")
    ),
]


@every(CASES)
def test_what_cannot_be_drawn_is_refused(case, untyped):
    case.check()
