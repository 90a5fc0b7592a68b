"""What a call asks of a model, checked: the same for dense blocks, Jacobians and operators."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tl_entk.model.adapters import ModelAdapter
from tl_entk.model.checks import (
    Position,
    check_kernel_dtype,
    check_model,
    check_position,
    check_supported,
)
from tl_entk.model.readouts import BoundReadout, ReadoutLike, Targets, bind_readout
from tl_entk.model.sites import Components, select
from tl_entk.model.tables import check_positions
from tl_entk.model.task import Task
from tl_entk.model.whole_gradient import check_whole_gradient


@dataclass(frozen=True, eq=False)
class Request:
    """A task, and the components whose kernel is wanted.

    Attributes:
        task: model, examples, readout.
        names: the components asked for.
        dtype: number format of kernels and vectors.
    """

    task: Task
    names: list[str]
    dtype: torch.dtype


def read_request(
    adapter: ModelAdapter,
    inputs: Tensor,
    components: Components,
    readout: ReadoutLike | BoundReadout,
    *,
    position: Position = -1,
    dtype: torch.dtype | None = None,
    targets: Targets = None,
    class_slice: slice | None = None,
) -> Request:
    """Check what a public call was given.

    Raises:
        UserError, RuntimeError: with the fix; see the checks.
    """
    check_model(adapter)
    found = adapter.check_inputs(inputs)
    positions = check_position(position, len(found.examples), found.positions)
    if components is None:
        check_supported(adapter)
    names = select(adapter.component_names, adapter.default_components, components)
    adapter.check_components(names, found.examples)
    kernel_dtype = check_kernel_dtype(adapter, dtype)
    if not isinstance(readout, BoundReadout):
        readout = bind_readout(
            readout,
            n=len(found.examples),
            d_vocab_out=found.outputs,
            targets=targets,
            class_slice=class_slice,
            device=found.examples.device,
        )
    positions = positions.to(found.examples.device)
    task = Task(adapter, found.examples, positions, readout, found.positions)
    for site in adapter.sites:
        if site.kind == "position" and site.name in names:
            check_positions(task, site)
    check_whole_gradient(task, names)
    return Request(task, names, kernel_dtype)
