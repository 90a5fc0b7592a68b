"""tl_entk: features of a TransformerLens model from its empirical neural tangent kernel."""

from tl_entk.blocks import KernelBlocks, kernel_blocks, list_components
from tl_entk.readouts import Readout

__all__ = ["KernelBlocks", "Readout", "kernel_blocks", "list_components"]
