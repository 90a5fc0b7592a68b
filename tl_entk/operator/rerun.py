"""Reading the same windows again and again while some blocks of the model are changed.

What comes before the first of them is run once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.model.adapters import TransformerAdapter
from tl_entk.model.task import Task
from tl_entk.operator.shortcuts import without_prefix
from tl_entk.operator.suffix import Cache, Suffix


@dataclass(frozen=True, eq=False)
class Rerun:
    """Windows whose outputs are read as often as one likes.

    Attributes:
        suffix: the network, from a block on where that gives the same.
        batches: examples of each pass.
        caches: what each pass needs of what comes before.
    """

    suffix: Suffix
    batches: tuple[slice, ...]
    caches: tuple[Cache, ...]

    def outputs(self) -> Iterator[tuple[slice, Float[Tensor, "b r"]]]:
        """What is read of the model as it is now, batch by batch."""
        for rows, cache in zip(self.batches, self.caches, strict=True):
            with torch.no_grad():
                found = self.suffix.run(rows, cache)[1]
            yield rows, found


def prepare_rerun(task: Task, layer: int, batch: int) -> Rerun:
    """Run what comes before a block, once.

    Args:
        task: the model, its windows, and what is read of them.
        layer: the first block that will be changed; 0 where the embeddings may be too, which
            leaves nothing out.
        batch: windows of a pass.
    """
    suffix, adapter = Suffix(task, ()), task.adapter
    if layer > 0 and isinstance(adapter, TransformerAdapter):
        suffix = without_prefix(suffix, adapter.block_input(layer))
    batches = tuple(slice(start, start + batch) for start in range(0, len(task), batch))
    nothing = Cache({}, {})
    caches = (nothing if suffix.prefix is None else suffix.record(rows) for rows in batches)
    return Rerun(suffix, batches, tuple(caches))
