"""The class trace of a large vocabulary, from a few random directions of the logits."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from tl_entk.model.readouts import Readout


def sampled_class_trace(probes: int = 16, seed: int = 0) -> Readout:
    """A readout whose kernel estimates the class trace with few backward passes.

    For signs s_c drawn at random, one for each class and the same for every example, the kernel
    of sum_c s_c z_c / sqrt(C) has the class trace (1/C) sum_c K_cc as its mean. The mean of P
    such kernels is off by about sqrt(2 / P) of the size of the cross terms between classes.

    Args:
        probes: number P of random directions, and so of backward passes.
        seed: of the signs.

    Raises:
        ValueError: if probes is not positive.

    Source: Hutchinson's trace estimator, with the classes as the trace's index.

    Example:
        >>> from tl_entk.kernel.blocks import kernel_blocks
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> estimate = kernel_blocks(model, data.tokens, sampled_class_trace(200)).total()
        >>> exact = kernel_blocks(model, data.tokens, "class_trace").total()
        >>> bool((estimate - exact).norm() < 0.1 * exact.norm())
        True
    """
    if probes < 1:
        raise ValueError(f"probes = {probes}: pass at least 1.")

    @functools.lru_cache(maxsize=1)
    def signs(classes: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(0, 2, (classes, probes), generator=generator, dtype=torch.int8)
        return (2 * drawn - 1).to(device, dtype) / classes**0.5

    def probe(logits: Tensor) -> Tensor:
        return logits @ signs(logits.shape[1], logits.dtype, logits.device)

    name = f"class trace by {probes} random probes, seed {seed}"
    return Readout(probe, name=name, scale=1 / probes)
