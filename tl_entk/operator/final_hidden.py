"""Final hidden vectors, and whether the logits are a linear map of them."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from feature_sets.warn import warn_user
from tl_entk.model.adapters import TransformerAdapter
from tl_entk.model.batches import run_in_batches
from tl_entk.model.factors import forward
from tl_entk.model.memory import examples_per_pass
from tl_entk.model.readouts import LOGITS_READOUT
from tl_entk.model.task import Task
from tl_entk.operator.suffix import Suffix
from tl_entk.tools.rounding import relative_distance, relative_rounding


def final_hidden_vectors(task: Task, memory_budget: int) -> Float[Tensor, "n d"]:
    """The final hidden vectors of all examples, in batches that fit the budget."""
    n = len(task)
    floats = task.adapter.example_floats(task.length)
    batch = examples_per_pass(n, floats, task.adapter.dtype.itemsize, memory_budget)
    suffix = Suffix(task, ())
    parts: list[Tensor] = []
    with torch.no_grad():
        run_in_batches(n, batch, lambda rows: parts.append(suffix.run(rows)[1]))
    return torch.cat(parts)


def warn_of_capped_logits(task: Task, adapter: TransformerAdapter) -> None:
    """Warn where logits are not W_U^T r + b_U.

    Warns:
        UserWarning: if the model caps or scales what the unembedding returns.
    """
    with torch.no_grad():
        seen, given = forward(replace(task, readout=LOGITS_READOUT), (), slice(0, 2))
    hidden = seen.final_hidden
    assert hidden is not None
    bias = adapter.by_name.get("unembed.b_U")
    linear = hidden.to(given.dtype) @ adapter.unembedding.to(given.dtype)
    linear = linear if bias is None else linear + bias.parameter.detach()
    if relative_distance(linear, given) > relative_rounding(given.dtype):
        warn_user(
            "the model caps or scales its logits after the unembedding: the kernel is that of "
            "the logits before."
        )
