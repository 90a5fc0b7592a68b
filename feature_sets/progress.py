"""Progress of a stage: a bar in a terminal, a line now and then where the output is a file."""

from __future__ import annotations

import sys
import threading
import time
from importlib.util import find_spec
from types import TracebackType
from typing import ClassVar

import rich.progress

# seconds of a stage before its first line, and between the lines after it
QUIET, EVERY = 2.0, 30.0


class Progress:
    """Context manager around one stage of the work.

    In a terminal, or a notebook with ipywidgets, it is a rich bar. Elsewhere a stage of some
    seconds has a line when it begins, one about every half a minute, whether or not a step has
    ended since, and one at its end.

    Args:
        title: what is being done.
        total: number of steps.
        shown: whether to show anything.
    """

    # one display at a time: stages within a stage are further bars of it
    _display: ClassVar[rich.progress.Progress | None] = None

    def __init__(self, title: str, total: int, shown: bool) -> None:
        self._title, self._total = title, total
        console = rich.get_console()
        # rich draws in a notebook by ipywidgets alone
        drawn = console.is_terminal or (console.is_jupyter and bool(find_spec("ipywidgets")))
        self._lines = _Lines(title, total) if shown and not drawn else None
        self._drawn = shown and drawn
        self._outer = False
        self._task: rich.progress.TaskID | None = None

    def __enter__(self) -> Progress:
        if self._lines:
            self._lines.start()
        if self._drawn:
            self._outer = Progress._display is None
            if self._outer:
                Progress._display = _bars()
                Progress._display.start()
            self._task = self._bars.add_task(self._title, total=self._total)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lines:
            self._lines.stop(ended=error is None)
        if self._outer:
            self._bars.stop()
            Progress._display = None
        elif self._task is not None:
            self._bars.remove_task(self._task)
        self._task = None

    @property
    def _bars(self) -> rich.progress.Progress:
        assert Progress._display is not None
        return Progress._display

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count steps done, with a note beside the title."""
        if self._lines:
            self._lines.done += steps
            self._lines.note = note
        if self._task is not None:
            text = f"{self._title} {note}".strip()
            self._bars.update(self._task, advance=steps, description=text)

    def expect(self, total: int) -> None:
        """Change the number of steps, where it is only known on the way."""
        self._total = total
        if self._lines:
            self._lines.total = total
        if self._task is not None:
            self._bars.update(self._task, total=total)


def _bars() -> rich.progress.Progress:
    return rich.progress.Progress(
        # names of heads hold square brackets
        rich.progress.TextColumn("{task.description}", markup=False),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("left"),
        rich.progress.TimeRemainingColumn(),
    )


class _Lines:
    """The lines of one stage, written by a thread of their own: a single step may take minutes."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.done, self.note = title, total, 0, ""
        self._began = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._written = False

    def start(self) -> None:
        self._began = time.monotonic()
        self._thread.start()

    def stop(self, ended: bool) -> None:
        self._stopped.set()
        self._thread.join()
        if self._written:
            taken = clock_time(time.monotonic() - self._began)
            _write(f"{self.title}: {'done in' if ended else 'left after'} {taken}")

    def _write(self) -> None:
        if self._stopped.wait(QUIET):
            return
        self._written = True
        _write(f"{self.title}: begun" + (f", {self.total} to do" if self.total > 1 else ""))
        while not self._stopped.wait(EVERY):
            taken = time.monotonic() - self._began
            what = f"{self.title} {self.note}".strip()
            _write(f"{what}: {progress_line(self.done, self.total, taken)}")


def progress_line(done: int, total: int, taken: float) -> str:
    """How far a stage is.

    Args:
        done: steps.
        total: steps there are.
        taken: seconds since its beginning.

    Example:
        >>> progress_line(20, 60, 90.0)
        '20 of 60, 1:30 so far, about 3:00 left'
        >>> progress_line(0, 60, 30.0)
        '0 of 60, 0:30 so far'
    """
    line = f"{clock_time(taken)} so far"
    if total > 1:
        line = f"{done} of {total}, {line}"
    if 0 < done <= total:
        line += f", about {clock_time(taken / done * (total - done))} left"
    return line


def clock_time(seconds: float) -> str:
    """Seconds as a clock shows them.

    Example:
        >>> clock_time(7.4), clock_time(754.0), clock_time(7265.0)
        ('0:07', '12:34', '2:01:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _write(line: str) -> None:
    # whoever reads along in a file reads it now
    print(line, file=sys.stdout, flush=True)
