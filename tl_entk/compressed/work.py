"""What is asked of a compression, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.capture import frozen
from tl_entk.model.checks import Position
from tl_entk.model.factors import measure_uses
from tl_entk.model.memory import check_memory_budget
from tl_entk.model.readouts import FINAL_HIDDEN, BoundReadout, ReadoutLike, Rows
from tl_entk.model.request import Request, read_request
from tl_entk.model.sites import TIED, Components, partition
from tl_entk.model.task import Task
from tl_entk.operator.build import UNEMBEDDING_PARTS, check_readout
from tl_entk.operator.final_hidden import warn_of_capped_logits
from tl_entk.operator.whitening import whitening
from tl_entk.tools.values import check_at_least, check_share, read_names

# random directions orthogonal to the outputs kept, which tell what is left out
ERROR_OUTPUTS = 8
# examples that the outputs are found by, and random products with their kernels for each output
EXAMPLES, PRODUCTS_PER_OUTPUT = 64, 8


@dataclass(frozen=True, eq=False)
class CompressionWork:
    """Kernels of many components, and what they are compressed to.

    Attributes:
        task: model, examples and what is read.
        kernels: name to components, as they were asked for.
        wanted: those that are compressed, with every component's name.
        exact: names of those that do not compress: of the unembedding.
        root: S^1/2 where outputs are whitened.
        k: pairs of each.
        width: outputs that there are.
        outputs: directions of them that are kept.
        dtype: number format of factors and vectors.
        memory_budget: bytes.
    """

    task: Task
    kernels: dict[str, Components]
    wanted: dict[str, list[str]]
    exact: list[str]
    root: Float[Tensor, "d d"] | None
    k: int
    width: int
    outputs: int
    dtype: torch.dtype
    memory_budget: int

    @property
    def examples(self) -> int:
        """How many the outputs are found by."""
        return min(EXAMPLES, len(self.task))

    @property
    def products(self) -> int:
        """Random products with the kernel of each of those examples; none where all are kept."""
        if self.outputs == self.width:
            return 0
        return -(-PRODUCTS_PER_OUTPUT * self.outputs // self.examples)


def read_work(
    model: torch.nn.Module,
    tokens: Int[Tensor, "n t"],
    components: Sequence[str] | Mapping[str, Components],
    k: int,
    outputs: int,
    readout: ReadoutLike = FINAL_HIDDEN,
    position: Position = -1,
    tol: float = 1e-3,
    memory_budget: int | None = None,
    dtype: torch.dtype | None = None,
) -> CompressionWork:
    """Check what is asked for; arguments as of :func:`tl_entk.all_eigendirections`.

    Raises:
        UserError: for input that cannot be meant.
    """
    kernels = _named(components)
    check_at_least("outputs", outputs)
    check_at_least("k", k)
    check_share("tol", tol, "a relative residual", 1e-3)
    adapter = adapt_transformer(model)
    budget = check_memory_budget(memory_budget, adapter.device)
    chosen = check_readout(readout)
    requests = {
        name: read_request(adapter, tokens, parts, chosen, position=position, dtype=dtype)
        for name, parts in kernels.items()
    }
    whitened = readout == FINAL_HIDDEN
    exact = [name for name, one in requests.items() if whitened and _has_unembedding(one)]
    request = next(iter(requests.values()))
    if whitened and len(exact) < len(kernels):
        warn_of_capped_logits(request.task, adapter)
    root = whitening(adapter.unembedding).root if whitened else None
    width = _width(request.task) if root is None else len(root)
    return CompressionWork(
        request.task,
        kernels,
        {name: partition(one.names) for name, one in requests.items() if name not in exact},
        exact,
        root,
        k,
        width,
        min(outputs, width),
        request.dtype,
        budget,
    )


def compress(
    task: Task, basis: Float[Tensor, "r q"], root: Float[Tensor, "d d"] | None, dtype: torch.dtype
) -> Task:
    """The same task, with a few directions of its outputs read.

    Args:
        task: with all outputs.
        basis: orthonormal directions of the (whitened) outputs.
        root: S^1/2 where outputs are whitened.
        dtype: number format of what is read.
    """
    directions = basis if root is None else root.cpu() @ basis.to(root.dtype)
    directions = directions.to(task.inputs.device, dtype)

    def read(values: Tensor, rows: Rows) -> Tensor:
        outputs = task.readout.outputs(values, rows)
        return outputs @ directions.to(outputs.dtype)

    bound = BoundReadout("compressed", task.readout.reads, task.readout.scale, read)
    return replace(task, readout=bound)


def _named(components: Sequence[str] | Mapping[str, Components]) -> dict[str, Components]:
    """Name to components.

    Raises:
        UserError: if there is none, or one name twice.
    """
    if isinstance(components, str):
        components = [components]
    if not isinstance(components, Mapping):
        names = read_names("components", components, some=False)
        components = {name: name for name in names}
    if not components:
        raise UserError("no component asked for: pass names or globs, each a kernel of its own.")
    return dict(components)


def _width(task: Task) -> int:
    """How many outputs are read."""
    with frozen(task.adapter.model), torch.enable_grad():
        return measure_uses(task, [])[1]


def _has_unembedding(request: Request) -> bool:
    return any(name in (*UNEMBEDDING_PARTS, TIED) for name in request.names)
