"""Progress where the output is a file: a line at the beginning, now and then, and at the end."""

import re
import time
from io import StringIO

import pytest
import rich
from rich.console import Console

from feature_sets import progress
from feature_sets.progress import Progress

pytestmark = pytest.mark.plain


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(progress, "QUIET", 0.05)
    monkeypatch.setattr(progress, "EVERY", 0.1)


def test_lines_come_without_a_step(hurried, capsys):
    with Progress("judging [all]", 4, True) as bar:
        bar.advance()
        time.sleep(0.4)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "judging [all]: begun, 4 to do"
    assert re.fullmatch(r"judging \[all\]: 1 of 4, 0:00 so far, about 0:0\d left", lines[1])
    assert len(lines) >= 4
    assert lines[-1] == "judging [all]: done in 0:00"


def test_a_short_stage_has_no_lines(capsys):
    with Progress("short", 1, True):
        pass
    assert capsys.readouterr().out == ""


def test_nothing_is_shown_unasked(hurried, capsys):
    with Progress("hidden", 2, False) as bar:
        bar.advance()
        bar.expect(3)
        time.sleep(0.2)
    assert capsys.readouterr().out == ""


def test_a_failed_stage_is_not_done(hurried, capsys):
    def fail():
        with Progress("failing", 2, True):
            time.sleep(0.2)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert capsys.readouterr().out.splitlines()[-1] == "failing: left after 0:00"


def test_a_total_that_is_known_late(hurried, capsys):
    with Progress("late", 2, True) as bar:
        bar.expect(5)
        time.sleep(0.2)
    assert "late: begun, 5 to do" in capsys.readouterr().out


def test_bars_of_a_terminal_share_one_display(monkeypatch):
    shown = Console(force_terminal=True, width=100, file=StringIO())
    monkeypatch.setattr(rich, "_console", shown)
    with Progress("outer", 2, True) as outer:
        with Progress("inner of W_Q[2]", 3, True) as inner:
            inner.advance(2, "[bold]")
            Progress._display.refresh()
            display = Progress._display
            texts = {task.description: (task.completed, task.total) for task in display.tasks}
            assert texts == {"outer": (0, 2), "inner of W_Q[2] [bold]": (2, 3)}
        assert "inner of W_Q[2] [bold]" in shown.file.getvalue()
        outer.advance()
        assert [task.description for task in display.tasks] == ["outer"]
    assert Progress._display is None


@pytest.mark.parametrize("widgets", [True, False])
def test_a_notebook_without_widgets_has_lines(widgets, hurried, monkeypatch, capsys):
    console = Console(file=StringIO(), force_jupyter=True)
    monkeypatch.setattr(rich, "get_console", lambda: console)
    monkeypatch.setattr(progress, "find_spec", lambda name: widgets or None)
    bar = Progress("stage", 2, True)
    assert bar._drawn == widgets
    if not widgets:
        with bar:
            time.sleep(0.2)
        assert "stage: begun" in capsys.readouterr().out
