"""Numbers of the toy settings as text, so that pages and tables say the same thing alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tl_entk.directions.cliffs import Cliff

NONE = "none"


def format_overlap(overlap: float, most: int) -> str:
    """An overlap beside the largest there could be.

    Example:
        >>> format_overlap(26.466, 28)
        '26.47 of 28'
    """
    return f"{overlap:.2f} of {most}"


def format_cliff(cliff: Cliff | None) -> str:
    """Number of modes before a drop, where there is one."""
    return NONE if cliff is None else str(cliff.position)


def format_drops(cliffs: Sequence[Cliff]) -> str:
    """Drops of a spectrum with their ratios.

    Example:
        >>> format_drops([Cliff(57, 2.13, 9.0), Cliff(113, 1.3, 5.0)]), format_drops([])
        ('57 (2.1x), 113 (1.3x)', 'none')
    """
    return ", ".join(f"{cliff.position} ({cliff.ratio:.1f}x)" for cliff in cliffs) or NONE


def format_epoch(epoch: int | None) -> str:
    """An epoch that need not exist, for a sentence.

    Example:
        >>> format_epoch(75), format_epoch(None)
        ('epoch 75', 'none')
    """
    return NONE if epoch is None else f"epoch {epoch}"


def join_numbers(numbers: Iterable[int]) -> str:
    """Whole numbers, separated by commas.

    Example:
        >>> join_numbers([3, 11])
        '3, 11'
    """
    return ", ".join(map(str, numbers))
