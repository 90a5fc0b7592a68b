"""Random tokens that repeat, and pairs of windows: one repeats its last token, one does not.

The tokens of a period differ from each other, so that what follows a repeated token is known.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tl_entk.experiments.induction.settings import InductionSettings


class Sequences(NamedTuple):
    """Sequences to train on.

    Attributes:
        tokens: (n, length + 1), each position's next token among them.
        period: (n,) after so many tokens a sequence repeats.
    """

    tokens: Int[Tensor, "n t_1"]
    period: Int[Tensor, " n"]


class Windows(NamedTuple):
    """Pairs of windows, read at one position each: rows i and pairs + i are a pair.

    The two of a pair end with the same token at the same position. In the first half that token
    stands earlier in the window, so that induction knows the next one; in the second half all
    tokens up to the position differ.

    Attributes:
        tokens: (n, length); those after the read position are not seen from it.
        position: (n,) where the logits are read.
        target: (n,) the token that comes next.
    """

    tokens: Int[Tensor, "n t"]
    position: Int[Tensor, " n"]
    target: Int[Tensor, " n"]

    @property
    def repeated(self) -> Bool[Tensor, " n"]:
        """The first half."""
        return torch.arange(len(self.tokens)) < len(self.tokens) // 2

    @property
    def feature(self) -> Float[Tensor, " n"]:
        """The indicator of a repeated token, centered, of norm 1."""
        indicator = self.repeated.double()
        return torch.nn.functional.normalize(indicator - indicator.mean(), dim=0)


def draw_sequences(settings: InductionSettings, n: int, generator: torch.Generator) -> Sequences:
    """Sequences whose period is drawn between the shortest and the longest.

    Args:
        settings: of the task.
        n: sequences.
        generator: of the tokens and periods.

    Example:
        >>> settings = InductionSettings(shortest=3, longest=8, length=9, vocabulary=8)
        >>> tokens, period = draw_sequences(settings, 1, torch.Generator().manual_seed(0))
        >>> bool(tokens[0, 0] == tokens[0, period[0]])
        True
    """
    period = torch.randint(settings.shortest, settings.longest + 1, (n,), generator=generator)
    return Sequences(_repeat(_shuffled(settings, n, generator), period, settings.length), period)


def draw_windows(settings: InductionSettings) -> Windows:
    """The windows of a seed, of a random stream of their own.

    A pair's position is drawn from two shortest periods on, up to the last that a longest period
    leaves without a repetition; its periods are drawn below and above the position.

    Args:
        settings: of the task.

    Example:
        >>> windows = draw_windows(InductionSettings(pairs=4))
        >>> last = windows.tokens[torch.arange(8), windows.position]
        >>> bool((last[:4] == last[4:]).all())
        True
    """
    generator = torch.Generator().manual_seed(settings.seed)
    generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
    n = settings.pairs
    position = torch.randint(2 * settings.shortest, settings.longest, (n,), generator=generator)
    below = _draw_between(torch.full_like(position, settings.shortest), position, generator)
    above = _draw_between(position + 1, torch.full_like(position, settings.longest), generator)
    first = _repeat(_shuffled(settings, n, generator), below, settings.length)
    rows = torch.arange(n)
    last = first[rows, position]
    blocks = _shuffled(settings, n, generator)
    # the pair's last token changes places with the one that stood at the position
    where = (blocks == last[:, None]).nonzero()[:, 1]
    blocks[rows, where] = blocks[rows, position]
    blocks[rows, position] = last
    second = _repeat(blocks, above, settings.length)
    tokens, both = torch.cat([first, second]), position.repeat(2)
    target = tokens[torch.arange(2 * n), both + 1]
    return Windows(tokens[:, : settings.length], both, target)


def _shuffled(settings: InductionSettings, n: int, generator: torch.Generator) -> Tensor:
    """All tokens of the vocabulary, in an order of each row's own."""
    return torch.rand(n, settings.vocabulary, generator=generator).argsort(1)


def _repeat(blocks: Int[Tensor, "n v"], period: Int[Tensor, " n"], length: int) -> Tensor:
    """The first tokens of every row, as many as its period, over and over: (n, length + 1)."""
    return blocks.gather(1, torch.arange(length + 1) % period[:, None])


def _draw_between(low: Tensor, high: Tensor, generator: torch.Generator) -> Int[Tensor, " n"]:
    """A number for every row, both ends included."""
    share = torch.rand(len(low), generator=generator, dtype=torch.float64)
    return low + (share * (high - low + 1)).long()
