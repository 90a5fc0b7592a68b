"""A run's own description of itself, and the run made again from it."""

import re

import pytest
from typer.testing import CliRunner

from tests.commands.test_toys import TOY, report_of, run
from tl_entk.commands.call import read_call
from tl_entk.commands.main import app
from tl_entk.commands.options import _NOT_RECORDED
from tl_entk.tools.files import read_kept, write_kept

pytestmark = pytest.mark.plain


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a small run."""
    out = tmp_path_factory.mktemp("runs")
    report_of(run(*TOY, "--no-linearization", "--seed", 3, "--out", out))
    return next(path.parent for path in out.rglob("config.json"))


def test_every_option_is_kept(made):
    kept = read_call(made)
    (command,) = [one for one in app.registered_commands if one.name == "superposition"]
    names = {
        "--" + name.replace("_", "-")
        for name in command.callback.__annotations__
        if name not in (*_NOT_RECORDED, "quiet", "debug")
    }
    assert set(kept.options) == names
    assert kept.options["--seed"] == 3
    assert kept.options["--linearization"] is False


def test_a_replay_makes_the_same_elsewhere(made, tmp_path):
    result = run("replay", made, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    again = tmp_path / made.name
    assert read_call(again).options == read_call(made).options
    for table in (made / "tables").iterdir():
        assert (again / "tables" / table.name).read_bytes() == table.read_bytes()


def test_a_replay_in_place_reuses(made):
    written = {path: path.stat().st_mtime_ns for path in made.rglob("result*.safetensors")}
    assert written
    report_of(run("replay", made))
    assert {path: path.stat().st_mtime_ns for path in made.rglob("result*")} == written


def test_quiet_prints_the_path_alone(made, tmp_path):
    result = CliRunner().invoke(app, ["replay", str(made), "--out", str(tmp_path), "--quiet"])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / made.name / 'report.html'}\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda kept: "{", "is no call of a command .*not JSON"),
        (lambda kept: "[]", "is no call of a command .*not JSON with names"),
        (lambda kept: {**kept, "options": None}, "is no call of a command"),
        (lambda kept: {k: v for k, v in kept.items() if k != "command"}, "no 'command' in it"),
        (
            lambda kept: {**kept, "format": 99, "versions": {"tl_entk": "9.1"}},
            r"written by tl_entk 9\.1, in format 99.*install tl_entk 9\.1",
        ),
        (lambda kept: {**kept, "command": "later"}, "of a command 'later'"),
        (lambda kept: {**kept, "command": "replay", "options": {}}, "of a command 'replay'"),
        (lambda kept: {**kept, "options": {"elsewhere": True}}, "its options are none"),
        (lambda kept: {**kept, "options": {"--later": 1}}, "does not fit .*--later"),
        (lambda kept: {**kept, "options": {**kept["options"], "--seed": "x"}}, "does not fit"),
    ],
)
def test_a_file_that_cannot_be_followed(change, message, made, tmp_path):
    path = tmp_path / "config.json"
    changed = change(read_kept(made / "config.json"))
    if isinstance(changed, str):
        path.write_text(changed)
    else:
        write_kept(path, changed)
    result = run("replay", tmp_path)
    assert isinstance(result.exception, ValueError)
    assert re.search(message, str(result.exception))
