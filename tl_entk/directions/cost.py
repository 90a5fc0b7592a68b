"""Estimates: what a run will take, from a short measurement on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from tl_entk.directions.complement import MOST_STEPS
from tl_entk.tools.timing import duration

# products that the top k of a language model's kernel took, by block size, over those of single
# vectors: 75 for k = 25, 100 in blocks of 5, 150 in blocks of 10
_PRODUCTS_PER_PAIR = 3.0
_BLOCKS = {1: 1.0, 5: 4 / 3, 10: 2.0}


@dataclass(frozen=True)
class Estimate:
    """What the leading eigenpairs of an operator will take, about.

    Attributes:
        setup_seconds: the forward pass.
        product_seconds: one product with one vector.
        further_seconds: each further vector in the same product.
        products: how many vectors will be multiplied.
        block_size: how many of them at a time.
        memory_bytes: planned, beside the model.
        memory_budget: bytes allowed.
    """

    setup_seconds: float
    product_seconds: float
    further_seconds: float
    products: int
    block_size: int
    memory_bytes: int
    memory_budget: int

    @property
    def seconds(self) -> float:
        """The whole run."""
        sweep = self.product_seconds + (self.block_size - 1) * self.further_seconds
        return self.setup_seconds + self.products / self.block_size * sweep

    def __str__(self) -> str:
        blocks = f", {self.block_size} at a time" if self.block_size > 1 else ""
        return (
            f"about {duration(self.seconds)}: {duration(self.setup_seconds)} for the forward pass, "
            f"then about {self.products} products of {duration(self.product_seconds)}{blocks}; "
            f"{self.memory_bytes / 2**30:.2f} GiB of a budget of "
            f"{self.memory_budget / 2**30:.2f} GiB"
        )


def best_block_size(product_seconds: float, further_seconds: float) -> int:
    """The block size with the least time: larger blocks need more products in all.

    Args:
        product_seconds: of a product with one vector.
        further_seconds: of each further vector in the same product.

    Example:
        >>> best_block_size(1.0, 1.0), best_block_size(1.0, 0.5), best_block_size(1.0, 0.05)
        (1, 5, 10)
    """

    def cost(block: int) -> float:
        return _BLOCKS[block] / block * (product_seconds + (block - 1) * further_seconds)

    return min(_BLOCKS, key=cost)


def expected_products(k: int, block_size: int) -> int:
    """About how many vectors the top k take, in blocks of a size, and the search for copies."""
    nearest = min(_BLOCKS, key=lambda block: abs(block - block_size))
    return round(_PRODUCTS_PER_PAIR * k * _BLOCKS[nearest]) + MOST_STEPS
