"""Runs side by side, from what their folders say."""

import json

import pytest
from typer.testing import CliRunner

from feature_sets.errors import UserError
from tl_entk.commands.main import app
from tl_entk.report.runs import read_run, write_comparison
from tl_entk.tools.files import write_kept

pytestmark = pytest.mark.plain


def figures(value, **more):
    return {"ap": {"value": value, "low": value - 0.1, "high": value + 0.1}, **more}


def make_run(folder, lead, seed, extra=()):
    difference = {"value": lead, "low": lead - 0.05, "high": lead + 0.05}
    methods = {
        "eNTK, x": figures(0.5 + lead, **{"less residual, ap": difference}),
        "residual": figures(0.5),
        **{name: figures(0.3) for name in extra},
    }
    headline = {
        "best over layers": methods, "winner": "eNTK, x", "strongest baseline": "residual",
    }  # fmt: skip
    folder.mkdir(parents=True)
    summary = {"settings": {"seed": seed, "k": 25}, "headline": headline}
    write_kept(folder / "results.json", summary)
    return folder


def test_methods_settings_and_answers_stand_side_by_side(tmp_path):
    folders = [
        make_run(tmp_path / "one", 0.1, 0),
        make_run(tmp_path / "two", -0.1, 1, ("own",)),
        make_run(tmp_path / "three", 0.0, 2),
    ]
    result = CliRunner().invoke(app, ["report", *map(str, folders)])
    assert result.exit_code == 0, result.output
    page = tmp_path / "comparison" / "report.html"
    text = page.read_text(encoding="utf-8")
    assert "ahead of the strongest baseline in 1 of 3 runs, behind in 1; in 1 the two" in text
    assert 'href="../two/report.html"' in text
    settings = json.loads((page.parent / "tables" / "settings.json").read_text())
    assert settings == [{"setting": "seed", "one": "0", "two": "1", "three": "2"}]
    methods = json.loads((page.parent / "tables" / "methods.json").read_text())
    assert [row["two"] for row in methods] == [0.4, 0.5, 0.3]
    # a method that one run lacks is in the table alone
    assert methods[2]["one"] == ""


def test_runs_of_one_name_go_by_their_folders(tmp_path):
    folders = [make_run(tmp_path / part / "run", 0.1, i) for i, part in enumerate("ab")]
    text = write_comparison(folders, tmp_path / "out").read_text(encoding="utf-8")
    assert str(tmp_path / "a" / "run") in text


@pytest.mark.parametrize("content", [None, "{", "{}", "[]", '{"headline": {"winner": 1}}'])
def test_what_is_no_run_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    if content and content.endswith("}"):
        write_kept(tmp_path / "results.json", json.loads(content))
    with pytest.raises(UserError, match="has no result of tl-entk language"):
        read_run(tmp_path)


def test_a_folder_given_twice_is_refused(tmp_path):
    folder = make_run(tmp_path / "one", 0.1, 0)
    with pytest.raises(UserError, match="given twice"):
        write_comparison([folder, folder], tmp_path / "out")
