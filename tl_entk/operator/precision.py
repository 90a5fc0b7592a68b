"""Reduced precision of matrix products: bfloat16 by autocast, TF32 by torch's global switch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from feature_sets.errors import UserError
from tl_entk.tools.matrix_products import fast_products

Precision = Literal["full", "tf32", "bfloat16"]


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse what the device does not have.

    Raises:
        UserError: for an unknown precision, or TF32 away from CUDA.
    """
    if not isinstance(precision, str) or precision not in ("full", "bfloat16", "tf32"):
        raise UserError(f"precision {precision!r}: pass 'full', 'bfloat16' or 'tf32'.")
    if precision == "tf32" and device.type != "cuda":
        raise UserError(f"TF32 is of CUDA devices, and the model is on {device}: use 'bfloat16'.")


@contextmanager
def network_pass(precision: Precision, device: torch.device) -> Iterator[None]:
    """Around a forward pass; backward passes follow what the forward pass recorded."""
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        yield


@contextmanager
def matrix_products(precision: Precision, device: torch.device) -> Iterator[None]:
    """Around all of the network's computation, forward and backward."""
    if precision != "tf32":
        with fast_products(device):
            yield
        return
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        yield
    finally:
        torch.set_float32_matmul_precision(before)
