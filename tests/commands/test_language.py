"""The language command as a user calls it, in a process of its own."""

import json
import re

import pytest
from datasets import Dataset

from tests.commands.test_main import run
from tests.report.pages import without_libraries
from tl_entk.commands.main import app
from tl_entk.experiments.language.judging import FLATTENED
from tl_entk.language.story_model.sample import sample_stories
from tl_entk.report.parts import slug
from tl_entk.tools.threads import set_threads

SMALL = ["language", "--per-tag", 8, "--length", 8, "--k", 4, "--layers", "5", "--tol", 0.01,
         "--per-story", 4, "--readouts", "target_logit", "--components", "W_out",
         "--probe", "ridge", "--model-class", "bridge"]  # fmt: skip


@pytest.fixture(scope="module")
def stories():
    return sample_stories(40)


def test_a_text_file_of_ones_own_as_bridge(stories, tmp_path):
    text = tmp_path / "stories.txt"
    text.write_text("\n<|endoftext|>\n".join(stories))
    pattern = 'noun=[{"POS": "NOUN"}]'
    found = run(*SMALL, "--dataset", text, "--label", pattern, "--out", tmp_path / "runs")
    assert found.returncode == 0, found.stderr
    assert "eNTK, all logits" in found.stdout
    (home,) = (tmp_path / "runs").glob("language-*")
    answer, report, look = found.stdout.splitlines()[-3:]
    assert re.match(
        r"answer: Over \d+ labels, the best single direction of the best kernel \(eNTK, ", answer
    )
    assert report == f"report: {home / 'report.html'}"
    assert look == f"open {(home / 'report.html').as_uri()} in a browser"
    assert json.loads((home / "config.json").read_text())["options"]["--label"] == [pattern]
    results = json.loads((home / "results.json").read_text())
    assert results["model"]["class"] == "bridge"
    assert results["windows"]["kept"] == 64
    page = (home / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', without_libraries(page))
    assert "noun" in (home / "tables" / f"features_{slug(FLATTENED)}.csv").read_text()


def test_a_data_set_in_the_hubs_layout(stories, tmp_path):
    data = tmp_path / "TinyStories" / "data"
    data.mkdir(parents=True)
    sources = ["even" if i % 2 else "odd" for i in range(len(stories))]
    rows = Dataset.from_dict({"story": stories, "source": sources})
    rows.to_parquet(str(data / "train-00000-of-00001.parquet"))
    found = run(*SMALL, "--dataset", data.parent, "--column", "story", "--label", "source=source",
                "--no-agree", "--out", tmp_path / "runs")  # fmt: skip
    assert found.returncode == 0, found.stderr
    (home,) = (tmp_path / "runs").glob("language-*")
    assert "source=odd" in (home / "tables" / f"features_{slug(FLATTENED)}.csv").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "gemma-3-270m"], "pass --dataset"),
        (["--layers", "some"], "pass all, or numbers"),
        (["--layers", "9"], "the model has layers 0 to 5"),
        (["--per-tag", "2"], "pass 8 or more"),
        (["--probe", "svm"], "pass logistic or ridge"),
        (["--label", "x"], "pass NAME=COLUMN"),
        (["--label", "x=[{"], "the pattern is no JSON"),
        (["--dataset", "nowhere/at-all"], "nowhere/at-all"),
        (["--readouts", "logit"], "no readout 'logit'"),
        (["--weight", "mlp.W_up"], "no component matches"),
        (["--k", "200"], "160 principal components"),
        (["--components", "W_up"], "no component 'W_up'"),
        (["--pipeline", "en_nothing"], "no spaCy pipeline"),
        (["--device", "nowhere"], "--device nowhere"),
        (["--normalizations", "scaled"], "no normalization 'scaled'"),
        (["--memory-budget", "0"], "more than 0"),
        (["--length", "255"], "pass up to 254"),
    ],
)
def test_bad_options_are_refused_before_any_work(options, message, tmp_path, monkeypatch):
    # in this process: its number of threads stays
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    set_threads.cache_clear()
    monkeypatch.setattr("feature_sets.texts.hub_answers", lambda endpoint: False)
    with pytest.raises((ValueError, OSError), match=message):
        app(["language", "--out", str(tmp_path), *options], standalone_mode=False)
    # no folder is left that has nothing in it
    assert not list(tmp_path.iterdir())
    assert not list(tmp_path.rglob("sampled_stories.json"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pipeline", "en_nothing"], "no spaCy pipeline"),
        (["--dataset", "nowhere.txt"], "nowhere.txt"),
        (["--dataset", "nowhere/at-all"], "nowhere/at-all"),
        (["--device", "nowhere"], "--device nowhere"),
    ],
)
def test_what_needs_no_model_is_refused_before_one_is_loaded(
    options, message, tmp_path, monkeypatch
):
    def refuse(*args, **kwargs):
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("feature_sets.texts.hub_answers", lambda endpoint: False)
    monkeypatch.setattr("tl_entk.experiments.language.run.load_language_model", refuse)
    with pytest.raises((ValueError, OSError), match=message):
        app(["language", "--out", str(tmp_path / "runs"), *options], standalone_mode=False)
    assert not list(tmp_path.iterdir())
