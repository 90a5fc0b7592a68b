"""What a language run says: its page, its verdicts, and settings that cannot be meant."""

import html
import json
import re
from dataclasses import replace

import pytest
import torch

from tests.experiments.small_language import SMALL
from tl_entk.alignment.bootstrap import IntervalEstimate
from tl_entk.alignment.model_baselines import PCA
from tl_entk.experiments.language.data import least_positives
from tl_entk.experiments.language.settings import (
    run_name,
)
from tl_entk.experiments.language.verdict import answer, compare_with, verdicts
from tl_entk.report.language.pages import best_pages, direction_pages
from tl_entk.report.language.report import write_outputs


def test_a_label_of_ones_own_is_in_the_settings_and_in_the_results(run):
    result, folder = run
    assert "content" in result.data.labels.names
    write_outputs(result, folder / run_name(SMALL))
    results = json.loads((folder / run_name(SMALL) / "results.json").read_text())
    assert results["own labels"] == ["content"]
    assert results["settings"]["labels"] == list(SMALL.labels)
    assert results["versions"]["spacy"]


def test_the_report_has_every_part_and_no_network_address(run):
    result, folder = run
    page = write_outputs(result, folder / run_name(SMALL))
    text = page.read_text()
    for section in ("What holds", "Label by label", "Layer by layer", "Probes", "Directions"):
        assert section in text
    said = html.unescape(text)
    assert all(sentence in said for sentence in (answer(result), *verdicts(result)))
    own = re.sub(r"<script.*?</script>|<style.*?</style>", "", text, flags=re.S)
    assert "http://" not in own
    assert "https://" not in own
    # no pixel comes from elsewhere, whatever a library would load
    assert "default-src 'none'" in own
    summary = json.loads((page.parent / "results.json").read_text())
    best = summary["headline"]["best over layers"][PCA]["ap"]
    assert best["value"] == result.judged.tables[PCA].macro().value
    for kind in ("csv", "json"):
        assert (page.parent / "tables" / f"macro.{kind}").exists()
    for kind in ("svg", "png"):
        assert (page.parent / "figures" / f"features.{kind}").exists()
    vectors = json.loads((page.parent / "vectors.json").read_text())["config"]
    assert vectors["vector_names"][0] == "layer 4, direction 0"
    assert vectors["prepend_bos"] == SMALL.bos
    pages = re.findall(r'<article class="view" id="([^"]+)"', text)
    assert len(pages) == len(set(pages)) >= 10
    # every label leads to the page of its direction
    assert {address[1:] for address in best_pages(result).values()} <= set(pages)


def test_what_positions_contribute_adds_up_on_the_pages(run):
    """The tints are whole percents of the largest: their sum is the score but for the rest."""
    result, _ = run
    pages = direction_pages(result)
    eigen = result.directions.flattened["5"]
    page = next(
        page for page in pages.pages if page.id == "direction-entk-all-logits-layer-5-direction-0"
    )
    for key in ("highest", "lowest"):
        group = page.data[key]
        for row, score, parts in zip(
            *(group[name] for name in ("rows", "scores", "parts")), strict=True
        ):
            assert score == pytest.approx(float(eigen.scores[row, 0]), rel=1e-3)
            assert sum(parts) / 100 * page.data["scale"] == pytest.approx(score, abs=0.02)
    assert page.tinted
    # tokens are among those that occur, as text
    assert all(token.strip() for token in page.raised + page.lowered)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"per_tag": 4}, "halved twice"),
        ({"k": 0}, "count from 1"),
        ({"seed": -1}, "from 0 on"),
        ({"model": "gpt2"}, "pass --dataset"),
        ({"layers": "some"}, "pass 'all' or numbers"),
        ({"layers": (7,)}, "layers 0 to 5"),
        ({"layers": ()}, "no layer"),
        ({"components": ()}, "no component is asked for"),
        ({"normalizations": ("scaled",)}, "no normalization 'scaled'"),
        ({"labels": ("x",)}, "pass NAME=COLUMN"),
        ({"labels": ("x=a", "x=b")}, "two labels are called 'x'"),
        ({"labels": ("x=[1]",)}, "no list of descriptions"),
        ({"labels": ('x=[{"NOPE": 1}]',)}, "matcher does not take the pattern"),
        ({"tol": 0.0}, "between 0 and 1"),
        ({"max_texts": 0}, "pass 1 or more"),
    ],
)
def test_settings_that_cannot_be_meant(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change).chosen_layers(6)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.2, "beats PCA"), (-0.2, -0.01, "is below PCA"), (-0.1, 0.2, "cannot be told")],
)
def test_a_verdict_needs_the_whole_interval(low, high, verdict):
    own, pca = IntervalEstimate(0.6, 0.5, 0.7), IntervalEstimate(0.5, 0.4, 0.6)
    said = compare_with("PCA", "ap", IntervalEstimate(0.05, low, high), own, pca)
    assert verdict in said


def test_support_follows_the_windows_that_there_are(run):
    result, _ = run

    def support(counts):
        tags = [tag for tag, count in counts.items() for _ in range(count)]
        return least_positives(replace_tags(result.data.windows, tags))

    assert support({"NOUN": 128, "VERB": 128, "PRON": 100}) == 30
    assert support({"NOUN": 25, "VERB": 25, "PRON": 22}) == 22
    # a tag that hardly occurs falls, and takes no others' support with it
    assert support({"NOUN": 128, "VERB": 128, "PRON": 3}) == 30


def replace_tags(windows, tags):
    """Windows of these tags; only their tags are looked at."""
    rows = [i % len(windows) for i in range(len(tags))]
    return type(windows)(
        tokens=windows.tokens[rows], words=tuple("word" for _ in rows), model_words=None,
        tags=tuple(tags), model_tags=None, stories=windows.stories, story=windows.story[rows],
        start=windows.start[rows], window_start=windows.window_start[rows],
        pieces=windows.pieces[rows],
    )  # fmt: skip


def test_verdicts_say_what_speaks_against_them(run):
    result, _ = run
    said = " ".join(verdicts(result))
    strongest = result.judged.strongest_baseline
    assert f"The strongest baseline within the train half is {strongest}" in said
    against = " and ".join(dict.fromkeys([strongest, PCA]))
    assert f"methods are set against {against} here, each at 95 %, with no correction" in said
    assert f"64 windows come from {len(result.data.windows.stories)} texts" in said
    assert "their kernels compare predictions" in said
    assert "Not converged" not in said
    flattened = {
        layer: replace(eigen, converged=torch.zeros_like(eigen.converged))
        for layer, eigen in result.directions.flattened.items()
    }
    other = replace(result, directions=replace(result.directions, flattened=flattened))
    assert "Not converged: 5 directions of eNTK, all logits, layer 4" in " ".join(verdicts(other))
