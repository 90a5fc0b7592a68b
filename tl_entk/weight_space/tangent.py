"""What is read at every position of a window when weights change, in one pass.

The change of the weights goes through the network as a tangent (forward-mode derivatives): one pass
gives J u at all positions, where backward passes would take one for each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad

from tl_entk.model.adapters import TransformerAdapter
from tl_entk.model.capture import Reading, frozen, reading
from tl_entk.model.sites import Site, Tap
from tl_entk.model.tables import embedding_scale, find_first_row
from tl_entk.model.task import Task
from tl_entk.operator.suffix import Gradients, change_output
from tl_entk.operator.weight_maps import WeightMap
from tl_entk.weight_space.layout import find_site, to_matrix, to_wholes


class Tangent:
    """J u of windows, at every position.

    Args:
        adapter: the model.
        task: windows, and what is read of them.
        components: names of the weights that change.
    """

    def __init__(self, adapter: TransformerAdapter, task: Task, components: Iterable[str]) -> None:
        self.adapter, self.task = adapter, task
        names = dict.fromkeys(find_site(adapter, name)[0].name for name in components)
        self.sites: list[Site] = [adapter.by_name[name] for name in names]
        self.tokens = task.inputs.unique()
        tables = [site for site in self.sites if site.kind == "position"]
        first = find_first_row(task, tables[0]) if tables else 0
        self.positions = slice(first, first + task.inputs.shape[1])
        self.maps = [
            WeightMap(
                site,
                key=site.name,
                rows=self.tokens if site.kind == "embedding" else None,
                scale=scale,
            )
            for site, scale in zip(self.sites, self._scales(), strict=True)
        ]

    def _scales(self) -> list[float]:
        """The factors of embeddings that multiply their rows by one."""
        if not any(site.kind == "embedding" for site in self.sites):
            return [1.0] * len(self.sites)
        one = self.task.take(torch.arange(1, device=self.task.inputs.device))
        with torch.no_grad(), reading(self.sites, None, one.positions, 1) as seen:
            one.adapter.outputs(one.inputs)
        return [embedding_scale(site, one.inputs, seen) for site in self.sites]

    def reached(self, weights: Mapping[str, Float[Tensor, " ..."]]) -> Gradients:
        """The part of a change of the components that these windows use, as matrices.

        Args:
            weights: component to its part of the change u.
        """
        return {
            site.name: self._reached(site, whole)
            for site, whole in to_wholes(self.adapter, weights)
        }

    def _reached(self, site: Site, whole: Float[Tensor, " ..."]) -> Float[Tensor, " ..."]:
        if site.kind == "embedding":
            return whole[self.tokens]
        if site.kind == "position":
            return whole[self.positions]
        return to_matrix(site, whole)

    def push(self, rows: slice, changes: Gradients) -> Float[Tensor, "b t r"]:
        """J u of some windows: the change of every output at every position.

        Args:
            rows: of the windows.
            changes: from :meth:`reached`.

        Raises:
            RuntimeError, NotImplementedError: if the network has no forward-mode derivatives.
        """
        task, adapter = self.task, self.adapter
        batch = task.inputs[rows]
        n, length = batch.shape
        hidden = task.readout.reads == "final_hidden"

        def put(seen: Reading, tap: Tap, call: int, value: Tensor) -> Tensor:
            value, tangent = forward_ad.unpack_dual(value)
            change = change_output(self.maps, batch, seen.inputs, tap, call, value, changes)
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
