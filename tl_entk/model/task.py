"""What is computed of a model, whatever is then made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from tl_entk.model.adapters import ModelAdapter
from tl_entk.model.readouts import BoundReadout
from tl_entk.tools.ranks import Ranks


@dataclass(frozen=True, eq=False)
class Task:
    """A model, examples, and what is read of each: all that a forward pass needs to know.

    Attributes:
        adapter: the model.
        inputs: (n, t) tokens on its device; examples (n, ...) of a module of one's own.
        positions: (n,) position to read of every example, counted from 0.
        readout: what is read there.
        length: positions of an example that could be read.
    """

    adapter: ModelAdapter
    inputs: Shaped[Tensor, "n ..."]
    positions: Int[Tensor, " n"]
    readout: BoundReadout
    length: int

    def __len__(self) -> int:
        return len(self.inputs)

    def example_floats(self, uses: Mapping[str, int]) -> int:
        """About how many numbers autograd keeps for one example (for the memory plan).

        Args:
            uses: positions at which each site is used, which tell how long an example is where
                only one of them can be read.
        """
        positions = self.length if self.length > 1 else max(uses.values(), default=1)
        return self.adapter.example_floats(positions)

    def share(self, ranks: Ranks, rank: int | None = None) -> Task:
        """The same of the examples that a process has.

        Args:
            ranks: the processes.
            rank: which of them; this one by default.

        Raises:
            UserError: for fewer examples than processes.
        """
        ranks.check_examples(len(self))
        if ranks.count == 1:
            return self
        every = torch.arange(len(self), device=self.inputs.device)
        return self.take(every[ranks.share(len(self), rank)])

    def take(self, rows: Int[Tensor, " b"]) -> Task:
        """The same of some examples."""
        return replace(
            self,
            inputs=self.inputs[rows],
            positions=self.positions[rows],
            readout=self.readout.take(rows),
        )
