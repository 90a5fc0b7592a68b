"""The gradient of a readout's mean over windows, by component."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.capture import frozen
from tl_entk.model.memory import check_memory_budget
from tl_entk.model.readouts import ReadoutLike
from tl_entk.model.request import read_request
from tl_entk.model.sites import Components
from tl_entk.tools.matrix_products import fast_products
from tl_entk.weight_space.layout import name_components
from tl_entk.weight_space.passes import gather
from tl_entk.weight_space.work import ScoreWork, batch_size, find_sites, first_row


def mean_gradient(
    model: Any,
    tokens: Int[Tensor, "n t"],
    components: Components,
    readout: ReadoutLike,
    *,
    memory_budget: int | None = None,
) -> dict[str, Float[Tensor, " ..."]]:
    """The gradient of the mean over windows of a readout of one number.

    Args:
        model: in evaluation mode.
        tokens: (n, t) windows.
        components: of which weights.
        readout: of one number.
        memory_budget: bytes.

    Returns:
        Component to its gradient, in TransformerLens' shape.

    Raises:
        UserError: for what cannot be meant.
    """
    adapter = adapt_transformer(model)
    request = read_request(adapter, tokens, components, readout)
    task = request.task
    sites, names = find_sites(adapter, task, request.names)
    one = torch.ones(1, dtype=request.dtype, device=task.inputs.device)
    work = ScoreWork(adapter, task, sites, names, None, one, False, False, False)
    mean = torch.full((len(task), 1), 1 / len(task)).to(one)
    with frozen(model), torch.enable_grad(), fast_products(task.inputs.device):
        batch = batch_size(work, check_memory_budget(memory_budget, adapter.device))
        found = gather(work, mean, batch, lambda _: None)
        several = name_components([site for site, _ in sites], names, found, first_row(work))
    return {name: part[0] for name, part in several.items()}
