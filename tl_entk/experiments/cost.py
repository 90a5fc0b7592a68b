"""What a part of a run takes, before it is computed."""

from __future__ import annotations

from typing import NamedTuple


class Cost(NamedTuple):
    """What one part of a run takes, about.

    Attributes:
        part: what is done.
        seconds: of it.
        memory_bytes: beside the model; 0 where it is little.
        note: how it is known.
    """

    part: str
    seconds: float
    memory_bytes: int
    note: str
