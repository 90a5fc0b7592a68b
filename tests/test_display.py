"""What results show of themselves, in a terminal and in a notebook."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

import tl_entk
from feature_sets import FeatureSet, Windows
from feature_sets.display import Shown, html_table
from tests.plot.cases import HOSTILE, OVERLAP, N, comparison, course, eigen, features, tables

pytestmark = pytest.mark.plain
VOID = {"br"}


def windows():
    stories = ("The fox saw the dog. " * 9, HOSTILE + " end here")
    return Windows(
        tokens=torch.arange(6).reshape(2, 3),
        words=("dog", "here"),
        model_words=None,
        tags=("NOUN", "ADV"),
        model_tags=None,
        stories=stories,
        story=torch.tensor([0, 1]),
        start=torch.tensor([180, len(HOSTILE) + 5]),
        window_start=torch.tensor([0, 0]),
        pieces=torch.tensor([1, 1]),
        columns={"source": ("a", "b")},
    )


BLOCKS = tl_entk.KernelBlocks(
    {"W_Q": 3 * torch.eye(4), "W_Q[0]": torch.eye(4), HOSTILE: torch.eye(4)},
    {"readout": "mean_logit"},
)
SHOWN = {
    "EigenDirections": lambda: replace(eigen(), provenance={"component": HOSTILE, "n": N}),
    "KernelBlocks": lambda: BLOCKS,
    "SubspaceOverlap": lambda: OVERLAP,
    "DirectionTable": lambda: tables()["eNTK"],
    "Comparison": comparison,
    "SaeScores": lambda: tl_entk.SaeScores(
        torch.eye(3)[:, :2], torch.tensor([7, 1]), torch.tensor([0.2, 0.1]), 9, HOSTILE, 1.5, 0.8
    ),
    "Course": course,
    "FeatureSet": lambda: FeatureSet.from_dict({HOSTILE: [0, 1], "b": [0.5, 2]}),
    "Windows": windows,
    "Rotation": lambda: tl_entk.rotate_by_varimax(eigen().vectors),
    "Jacobian": lambda: tl_entk.jacobian(torch.nn.Linear(3, 2), torch.eye(3)),
}


class Balance(HTMLParser):
    """Tags that are opened and closed in order, and which there are."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.attributes = [], set(), []

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", SHOWN)
def test_text_is_short_and_says_what_it_is(name):
    text = repr(SHOWN[name]())
    assert text.startswith(f"{name}: ")
    assert len(text.splitlines()) <= 3
    assert len(text) < 400


@pytest.mark.parametrize("name", SHOWN)
def test_html_is_small_whole_and_without_colors_or_code(name):
    result = SHOWN[name]()
    assert isinstance(result, Shown)
    html = result._repr_html_()
    parser = Balance()
    parser.feed(html)
    assert not parser.open
    assert parser.seen <= {"div", "p", "b", "br", "table", "thead", "tbody", "tr", "th", "td",
                           "details", "summary"}  # fmt: skip
    assert {key for key, _ in parser.attributes} <= {"style"}
    assert not re.search(r"(?<!-)color:(?!inherit)", html)
    assert len(html) < 20_000


@pytest.mark.parametrize("name", ["EigenDirections", "KernelBlocks", "FeatureSet", "Windows"])
def test_texts_of_the_users_are_escaped(name):
    assert "&lt;script&gt;" in SHOWN[name]()._repr_html_()


@pytest.mark.parametrize("name", SHOWN)
def test_every_result_has_a_table(name):
    frame = SHOWN[name]().to_pandas()
    assert len(frame)
    assert len(frame.columns) == len(set(frame.columns))


def test_directions_say_how_many_converged():
    found = replace(eigen(), converged=eigen().eigenvalues > eigen().eigenvalues[2])
    assert "2 of 6 converged" in repr(found)
    assert repr(found).splitlines()[0] == f"EigenDirections: 6 directions over {N} examples"
    wide = replace(found, vectors=torch.zeros(N, 7, 6), space="final_hidden")
    assert "x 7 of the final hidden vector" in repr(wide)
    frame = found.to_pandas()
    np.testing.assert_allclose(frame.relative, found.eigenvalues / found.eigenvalues[0])


def test_blocks_say_what_is_part_of_what():
    frame = BLOCKS.to_pandas().set_index("component")
    assert frame.share["W_Q"] + frame.share[HOSTILE] == pytest.approx(1)
    assert not frame.in_total["W_Q[0]"]


def test_tables_of_directions_and_comparisons_have_their_intervals():
    row = tables()["eNTK"].rows[0]
    found = tables()["eNTK"].to_pandas().iloc[0]
    assert (found.ap, found.ap_low, found.ap_high) == (row.ap.value, row.ap.low, row.ap.high)
    long = comparison().to_pandas()
    chosen = long[(long.group == "DET") & (long.basis == "PCA") & (long.metric == "auroc")]
    expected = comparison().rows[1].metrics["auroc"]["PCA"]
    assert chosen.value.tolist() == [expected.value]
    assert chosen.value_high.tolist() == [expected.high]


def test_a_course_of_nothing_is_shown():
    assert repr(course().before(0)).startswith("Course: 0 records, kernels total")
    assert "<table" in course().before(0)._repr_html_()


def test_features_go_to_a_table_and_back():
    families = dict(zip(features().names, features().families, strict=True))
    back = FeatureSet.from_frame(features().to_pandas(), families=families)
    np.testing.assert_array_equal(back.values, features().values)
    assert back.families == features().families


def test_windows_end_at_their_word():
    frame = windows().to_pandas()
    assert frame.text[1] == HOSTILE + " end "
    assert frame.source.tolist() == ["a", "b"]
    assert "the dog. The fox saw the " in windows()._repr_html_()


def test_numbers_are_at_the_right():
    html = html_table(["word", "count"], [["a", 1], ["b", 2]])
    assert html.count("text-align:right") == 3
