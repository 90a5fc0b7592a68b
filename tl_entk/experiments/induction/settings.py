"""Induction heads: the settings."""

from __future__ import annotations

from dataclasses import dataclass

from feature_sets.errors import UserError
from tl_entk.experiments.settings import Settings, check_counts, check_rates, check_seed


@dataclass(frozen=True)
class InductionSettings(Settings):
    """Settings of a 2-layer attention-only Transformer trained on repeated random tokens.

    Attributes:
        seed: of the weights, the batches and the windows.
        n_heads: attention heads in either layer.
        d_model: width of the residual stream.
        d_head: width of a head.
        vocabulary: number of tokens.
        length: positions of a sequence.
        shortest: shortest period of a sequence.
        longest: longest period of a sequence.
        batch_size: sequences in a step.
        steps: steps of AdamW.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        checkpoints: how often weights are kept, and kernels computed.
        pairs: pairs of windows that are looked at.

    Raises:
        UserError: if a setting is out of its range.
    """

    seed: int = 0
    n_heads: int = 4
    d_model: int = 64
    d_head: int = 16
    vocabulary: int = 32
    length: int = 32
    shortest: int = 6
    longest: int = 24
    batch_size: int = 32
    steps: int = 2000
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    checkpoints: int = 80
    pairs: int = 128

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_counts(
            1,
            n_heads=self.n_heads,
            d_model=self.d_model,
            d_head=self.d_head,
            batch_size=self.batch_size,
            steps=self.steps,
        )
        # a course is read through medians of three records; a window needs a token between two
        check_counts(3, checkpoints=self.checkpoints, shortest=self.shortest)
        # half of the pairs fit a probe, half judge it
        check_counts(4, pairs=self.pairs)
        check_rates(self)
        if self.checkpoints > self.steps:
            raise UserError(
                f"checkpoints = {self.checkpoints}: pass {self.steps} or fewer, one a step."
            )
        if not 2 * self.shortest < self.longest:
            raise UserError(
                f"shortest = {self.shortest}, longest = {self.longest}: pass a longest period of "
                "more than two of the shortest."
            )
        if self.longest > min(self.vocabulary, self.length - 1):
            raise UserError(
                f"longest = {self.longest}: a period holds different tokens of the vocabulary of "
                f"{self.vocabulary}, and ends within the {self.length} positions: pass a "
                f"vocabulary of {self.longest} and a length of {self.longest + 1} or more, or a "
                "shorter longest period."
            )
