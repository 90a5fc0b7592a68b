"""A progress bar with an estimate, silent unless asked for."""

from __future__ import annotations

from types import TracebackType

import rich.progress


class Progress:
    """Context manager around one rich progress bar.

    Args:
        title: what is being done.
        total: number of steps.
        shown: whether to show anything.
    """

    def __init__(self, title: str, total: int, shown: bool) -> None:
        self._bar = rich.progress.Progress(
            # names of heads hold square brackets
            rich.progress.TextColumn("{task.description}", markup=False),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("left"),
            rich.progress.TimeRemainingColumn(),
            disable=not shown,
        )
        self._title = title
        self._task = self._bar.add_task(title, total=total)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count steps done, with a note beside the title."""
        self._bar.update(self._task, advance=steps, description=f"{self._title} {note}".strip())

    def expect(self, total: int) -> None:
        """Change the number of steps, where it is only known on the way."""
        self._bar.update(self._task, total=total)
