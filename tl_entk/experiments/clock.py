"""Wall time of the parts of an experiment."""

from __future__ import annotations

import time


class Clock:
    """Wall time of consecutive parts, in seconds.

    Example:
        >>> clock = Clock()
        >>> clock.lap("nothing")
        >>> list(clock.seconds)
        ['nothing']
    """

    def __init__(self, seconds: dict[str, float] | None = None) -> None:
        self.seconds = dict(seconds or {})
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """The time since the last lap goes to this part."""
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now
