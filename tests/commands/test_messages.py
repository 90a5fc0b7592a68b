"""What the command line shows of errors: what a user can fix as one line, a fault of ours whole."""

import pytest
from rich.table import Table

from feature_sets.errors import UserError
from tl_entk.commands.console import announce, console

RUN = "tl_entk.experiments.modular_transformer.analysis.run_modular_transformer"


def raising(error):
    def run(*args, **kwargs):
        raise error

    return run


@pytest.mark.plain
@pytest.mark.parametrize("kind", [TypeError, ValueError, KeyError, ImportError, RuntimeError])
def test_a_fault_of_ours_keeps_its_traceback(kind, call, monkeypatch, capsys):
    monkeypatch.setattr(RUN, raising(kind("our own fault")))
    assert call("modular-transformer", "--p", "7") == 1
    shown = capsys.readouterr().err
    assert "in run\n" in shown
    assert "our own fault" in shown
    assert shown.endswith("report it with the lines above.\n")


@pytest.mark.plain
@pytest.mark.parametrize("kind", [UserError, OSError, FileNotFoundError, ConnectionError])
def test_what_a_user_can_fix_is_one_line(kind, call, monkeypatch, capsys):
    text = "no component matches blocks.0.attn.W_Q[2]: pass [red]one[/red] of :smile: " + "x" * 200
    monkeypatch.setattr(RUN, raising(kind(text)))
    assert call("modular-transformer", "--p", "7") == 2
    assert capsys.readouterr().err == f"error: {text}\n"


@pytest.mark.plain
def test_debug_shows_where_an_error_comes_from(call, monkeypatch, capsys):
    monkeypatch.setattr(RUN, raising(UserError("pass less")))
    assert call("modular-transformer", "--p", "7", "--debug") == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith("error: pass less\n")


@pytest.mark.plain
def test_a_failed_call_leaves_no_folder(call, monkeypatch, tmp_path):
    monkeypatch.setattr(RUN, raising(UserError("pass less")))
    assert call("modular-transformer", "--p", "7", "--out", "new/runs") == 2
    assert not list(tmp_path.iterdir())
    (tmp_path / "kept").mkdir()
    assert call("modular-transformer", "--p", "7", "--out", "kept") == 2
    assert list(tmp_path.rglob("*")) == [tmp_path / "kept"]


@pytest.mark.plain
def test_names_and_tables_keep_their_square_brackets(capsys):
    announce("run-of-[mine]", "training [all]")
    table = Table("blocks.0.attn.W_Q[2]", box=None)
    table.add_row("5 directions of W_O[1] [bold]and[/bold] more")
    console.print(table, width=200)
    shown = capsys.readouterr().out
    for text in ("run-of-[mine]: training [all]", "W_Q[2]", "W_O[1] [bold]and[/bold] more"):
        assert text in shown


@pytest.mark.plain
@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        (["--normalisations", "centered"], "--normalizations"),
        (["--normalizations", "centred"], "'centered' for 'centred'"),
        (["--normalizations", "cosine, centred"], "'cosine+centered' for 'cosine, centred'"),
    ],
)
def test_old_spellings_are_answered_with_the_new(options, pointer, call, capsys):
    assert call("language", *options) == 2
    error = capsys.readouterr().err
    assert pointer in error
    assert "Traceback" not in error
