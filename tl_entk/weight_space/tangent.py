"""What is read at every position of a window when weights change, in one pass.

The change of the weights goes through the network as a tangent (forward-mode derivatives): one pass
gives J u at all positions, where backward passes would take one for each of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad

from tl_entk.model.adapters import TransformerAdapter
from tl_entk.model.capture import Reading, frozen, reading
from tl_entk.model.sites import Site, Tap
from tl_entk.model.tables import embedding_scale, find_first_row
from tl_entk.model.task import Task
from tl_entk.operator.suffix import change_output
from tl_entk.operator.weight_maps import WeightMap
from tl_entk.weight_space.layout import to_matrix, to_wholes


class Tangent:
    """J u of windows, at every position.

    Args:
        adapter: the model.
        task: windows, and what is read of them.
        weights: component to its part of the change u.
    """

    def __init__(
        self,
        adapter: TransformerAdapter,
        task: Task,
        weights: Mapping[str, Float[Tensor, " ..."]],
    ) -> None:
        self.task = task
        wholes = to_wholes(adapter, weights)
        self.sites: list[Site] = [site for site, _ in wholes]
        scales = self._scales()
        rows = task.inputs.unique()
        self.maps = [
            WeightMap(
                site, key=site.name, rows=rows if site.kind == "embedding" else None, scale=scale
            )
            for site, scale in zip(self.sites, scales, strict=True)
        ]
        self.changes = {site.name: self._reached(site, whole) for site, whole in wholes}

    def _scales(self) -> list[float]:
        """The factors of embeddings that multiply their rows by one."""
        if not any(site.kind == "embedding" for site in self.sites):
            return [1.0] * len(self.sites)
        one = self.task.take(torch.arange(1, device=self.task.inputs.device))
        with torch.no_grad(), reading(self.sites, None, one.positions, 1) as seen:
            one.adapter.outputs(one.inputs)
        return [embedding_scale(site, one.inputs, seen) for site in self.sites]

    def _reached(self, site: Site, whole: Float[Tensor, " ..."]) -> Float[Tensor, " ..."]:
        """The part of a change that these windows use, as a matrix."""
        if site.kind == "embedding":
            return whole[self.task.inputs.unique()]
        if site.kind == "position":
            first = find_first_row(self.task, site)
            return whole[first : first + self.task.inputs.shape[1]]
        return to_matrix(site, whole)

    def push(self, rows: slice) -> Float[Tensor, "b t r"]:
        """J u of some windows: the change of every output at every position.

        Raises:
            RuntimeError, NotImplementedError: if the network has no forward-mode derivatives.
        """
        task, adapter = self.task, self.task.adapter
        batch = task.inputs[rows]
        n, length = batch.shape
        hidden = task.readout.reads == "final_hidden"

        def put(seen: Reading, tap: Tap, call: int, value: Tensor) -> Tensor:
            value, tangent = forward_ad.unpack_dual(value)
            change = change_output(self.maps, batch, seen.inputs, tap, call, value, self.changes)
            return forward_ad.make_dual(value, change if tangent is None else tangent + change)

        end = adapter.final_hidden if hidden else None
        seeing = reading(self.sites, None, task.positions[rows], n, replace=put, end=end)
        with torch.no_grad(), frozen(adapter.model), forward_ad.dual_level():
            logits: Tensor | None = None
            with seeing as seen:
                logits = adapter.outputs(batch)
            values = seen.end if hidden else logits
            assert values is not None
            each = torch.arange(rows.start, rows.start + n, device=batch.device)
            outputs = task.readout.outputs(values.flatten(0, 1), each.repeat_interleave(length))
            value, tangent = forward_ad.unpack_dual(outputs)
            found = torch.zeros_like(value) if tangent is None else tangent.clone()
        return found.unflatten(0, (n, length))
