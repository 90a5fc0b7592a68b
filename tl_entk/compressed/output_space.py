"""The few directions of the outputs that leading eigenvectors of many kernels lie along.

An eigenvector of a flattened kernel is nearly a score for each example times one direction of the
outputs, and on some models these directions of all layers lie in one small space. They are those
along which single examples' gradients are large: random products with the kernel of one example at
a time find them. (Products with the kernel of all examples do not, where its spectrum is steep:
they are nearly multiples of its first eigenvector.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tl_entk.linearization.build_jacobian import choose_sites
from tl_entk.model.adapters import TransformerAdapter
from tl_entk.model.sites import partition
from tl_entk.model.task import Task
from tl_entk.operator.build import weight_maps
from tl_entk.operator.network import ChunkedNetwork
from tl_entk.operator.shortcuts import find_shortcuts
from tl_entk.operator.suffix import Gradients, Suffix


@dataclass(frozen=True, eq=False)
class OutputSpace:
    """Orthonormal directions of the R (whitened) outputs.

    Attributes:
        leading: those that kernels are compressed to.
        others: random ones orthogonal to them, which tell what is left out.
    """

    leading: Float[Tensor, "r q"]
    others: Float[Tensor, "r p"]

    @property
    def total(self) -> int:
        """R."""
        return len(self.leading)

    @property
    def left_out(self) -> float:
        """How many directions each of the others stands for."""
        total, q = self.leading.shape
        return (total - q) / max(1, self.others.shape[1])


def find_output_space(
    task: Task,
    components: Mapping[str, list[str]],
    root: Float[Tensor, "d d"] | None,
    total: int,
    q: int,
    p: int,
    *,
    products: int,
    examples: int,
    seed: int,
    dtype: torch.dtype,
    memory_budget: int,
) -> OutputSpace:
    """Leading directions of the outputs, by random products with every example's own kernels.

    Args:
        task: model, examples and what is read.
        components: name of a kernel to the components that it is of.
        root: S^1/2 where outputs are whitened.
        total: outputs that there are.
        q: directions wanted; all of them where there are no products.
        p: random directions orthogonal to those.
        products: random vectors multiplied for each example.
        examples: how many of the examples, taken at random.
        seed: of all that is random.
        dtype: number format of vectors.
        memory_budget: bytes.
    """
    generator = torch.Generator().manual_seed(seed)
    found = torch.zeros(total, 0, dtype=torch.float64)
    if products:
        chosen = torch.randperm(len(task), generator=generator)[:examples].sort().values
        kernels = PooledKernels(
            task.take(chosen.to(task.inputs.device)), components, root, dtype, memory_budget
        )
        images = kernels.multiply_random(products, generator)
        # rows are examples and vectors: the right singular vectors are directions of the outputs
        wide = images.double().cpu().transpose(1, 2).flatten(0, 1)
        found = torch.linalg.svd(wide, full_matrices=False)[2][:q].T
    p = min(p, max(0, total - q))
    rest = torch.randn(total, q + p, generator=generator, dtype=torch.float64)
    basis, _ = torch.linalg.qr(torch.cat([found, rest], 1))
    return OutputSpace(basis[:, :q], basis[:, q : q + p])


class PooledKernels:
    """Every example's own part of many kernels, each over its trace, added up."""

    def __init__(
        self,
        task: Task,
        components: Mapping[str, list[str]],
        root: Float[Tensor, "d d"] | None,
        dtype: torch.dtype,
        memory_budget: int,
    ) -> None:
        """What multiplies with them.

        Args:
            task: model, examples and what is read.
            components: name of a kernel to the components that it is of.
            root: S^1/2 where outputs are whitened.
            dtype: number format of vectors.
            memory_budget: bytes.
        """
        adapter = task.adapter
        assert isinstance(adapter, TransformerAdapter)
        names = partition(dict.fromkeys(name for names in components.values() for name in names))
        maps = weight_maps(adapter, names, task.inputs, whitened=False)
        short = find_shortcuts(Suffix(task, maps), adapter.cuts, "full")
        sites = {
            # a parameter with two roles goes by one key
            kernel: list(dict.fromkeys(key for _, key in choose_sites(adapter, names)))
            for kernel, names in components.items()
        }
        self._root, self._dtype, self._outputs = root, dtype, short.outputs
        self._network = ChunkedNetwork(
            short.suffix,
            short.sizes,
            vector_bytes=len(task) * short.outputs * dtype.itemsize,
            memory_budget=memory_budget,
            exchange=lambda _, gradients, __: _divide_by_traces(gradients, sites),
            token_space=False,
        )

    def multiply_random(
        self, count: int, generator: torch.Generator
    ) -> Float[Tensor, "n r products"]:
        """Products of ``count`` random vectors."""
        shape = (count, self._network.n, self._outputs)
        vectors = torch.randn(shape, generator=generator).to(self._network.device, self._dtype)
        root = self._root
        wanted = [vector if root is None else vector @ root.to(vector) for vector in vectors]
        found = torch.stack(self._network.multiply_apart(wanted), 2)
        return found if root is None else torch.einsum("nrv,rs->nsv", found, root.to(found))


def _divide_by_traces(gradients: Sequence[Gradients], kernels: Mapping[str, list[str]]) -> None:
    """Scale each weight's gradients so that every kernel that it is part of has the same trace.

    The mean of |J^T v|^2 over random v is a kernel's trace.
    """
    sizes = {
        name: sum(float(part[name].square().sum()) for part in gradients if name in part)
        for name in {name for part in gradients for name in part}
    }
    factors = dict.fromkeys(sizes, 0.0)
    for sites in kernels.values():
        there = [name for name in sites if name in sizes]
        trace = sum(sizes[name] for name in there)
        for name in there:
            factors[name] += 1 / trace if trace > 0 else 0.0
    for part in gradients:
        for name, gradient in part.items():
            gradient *= factors[name]
