"""TinyStories text files as lists of stories, with plain quotation marks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from feature_sets.text_files import SEPARATOR

_PLAIN = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "—": "-", "–": "-", "…": "..."})


def read_stories(path: Path) -> list[str]:
    """The whole stories of a file; a first or last one that is cut is left out.

    Args:
        path: text whose stories are separated by lines ``<|endoftext|>``.
    """
    pieces = path.read_text(encoding="utf-8").split(SEPARATOR)
    stories = [clean(piece) for piece in pieces]
    whole = [story for story in stories if story and story[-1] in ".!?\"'"]
    return whole if whole and whole[0][0].isupper() else whole[1:]


def clean(text: str) -> str:
    r"""Plain quotation marks and dashes, no white space at the ends of lines, no empty lines.

    Example:
        >>> clean(" “Hi!”  \n\n said Tom. ")
        '"Hi!"\nsaid Tom.'
    """
    lines = (line.strip() for line in text.translate(_PLAIN).splitlines())
    return "\n".join(line for line in lines if line)


def split_stories(
    stories: Sequence[str], held_out: float = 0.05, seed: int = 0
) -> tuple[list[str], list[str]]:
    """Training and held-out stories, by a seeded shuffle."""
    shuffled = list(dict.fromkeys(stories))
    random.Random(seed).shuffle(shuffled)
    n = round(held_out * len(shuffled))
    return shuffled[n:], shuffled[:n]
