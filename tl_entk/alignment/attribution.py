"""Attribution: which components, heads and layers a feature direction lives in."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from jaxtyping import Float
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.directions.basis import orthonormal_basis
from tl_entk.kernel.kernel_blocks import KernelBlocks
from tl_entk.tools.arrays import Rows, to_matrix, to_tensor
from tl_entk.tools.values import check_kind, read_names


def component_shares(blocks: KernelBlocks, direction: Rows) -> dict[str, float]:
    """Share u^T K_b u / u^T K u of every block in a feature's kernel energy.

    Args:
        blocks: their total is K.
        direction: (N,) a feature direction, or (N, k) whose span is one feature (the cosine and
            sine of a frequency); shares are then of the trace over the span.

    Returns:
        Block name to share. Shares of a partition (``blocks.partition()``) add up to 1; a head's
        share is part of its weight's.

    Raises:
        UserError: if the length is not the blocks', a block is not finite, or none has energy
            along the direction.

    Example:
        >>> import torch
        >>> blocks = KernelBlocks({"W_in": 3 * torch.eye(2), "W_out": torch.eye(2)})
        >>> component_shares(blocks, torch.tensor([1.0, 2.0]))
        {'W_in': 0.75, 'W_out': 0.25}
    """
    check_kind("blocks", blocks, KernelBlocks, "KernelBlocks")
    columns = to_tensor(direction, "direction").cpu()
    if columns.ndim > 2:
        raise UserError(f"direction has shape {tuple(columns.shape)}: pass (N,), or (N, k).")
    n = len(next(iter(blocks.values())))
    columns = columns[:, None] if columns.ndim == 1 else columns
    if len(columns) != n:
        raise UserError(f"direction has {len(columns)} entries, the blocks are {n} x {n}.")
    basis = orthonormal_basis(to_matrix(columns, "direction"))
    energy = {
        name: float(((block.detach().cpu().double() @ basis) * basis).sum())
        for name, block in blocks.items()
    }
    _check_numbers(energy, "block", "look for NaN in it")
    total = sum(energy[name] for name in blocks.partition())
    if not total > 0:
        raise UserError("no block has any energy along the direction: is it zero?")
    return {name: value / total for name, value in energy.items()}


def head_shares(shares: Mapping[str, float]) -> dict[str, float]:
    """Shares of whole attention heads: all their slices together.

    Grouped key/value heads serve several query heads and are listed apart, as "blocks.0.kv[1]".

    Args:
        shares: from :func:`component_shares`, of blocks that include head slices.

    Raises:
        UserError: if they are no finite numbers by name.

    Example:
        >>> head_shares({"blocks.0.attn.W_Q[1]": 0.25, "blocks.0.attn.W_O[1]": 0.5})
        {'blocks.0.head[1]': 0.75}
    """
    check_shares(shares)
    slices: dict[str, dict[str, list[float]]] = {}
    for name, share in shares.items():
        match = re.fullmatch(r"(.*)\.attn\.[Wb]_([QKVO])\[(\d+)\]", name)
        if match:
            block, letter, head = match.groups()
            kind = "kv" if letter in "KV" else "head"
            slices.setdefault(block, {}).setdefault(f"{kind}[{head}]", []).append(share)
    result: dict[str, float] = {}
    for block, heads in slices.items():
        numbers = {kind: {h for h in heads if h.startswith(kind)} for kind in ("kv", "head")}
        grouped = 0 < len(numbers["kv"]) < len(numbers["head"])
        for head, parts in heads.items():
            label = head if grouped else head.replace("kv", "head")
            key = f"{block}.{label}"
            result[key] = result.get(key, 0.0) + sum(parts)
    return result


def layer_shares(shares: Mapping[str, float], partition: Sequence[str]) -> dict[str, float]:
    """Shares of layers: "blocks.0", and what is outside of the blocks by its first name.

    Args:
        shares: from :func:`component_shares`.
        partition: ``blocks.partition()``, so that nothing is counted twice.

    Raises:
        UserError: if shares are no finite numbers by name, or the partition is of others.

    Example:
        >>> layer_shares({"blocks.0.mlp.W_in": 0.25, "blocks.0.ln1.w": 0.25, "unembed.W_U": 0.5},
        ...              ["blocks.0.mlp.W_in", "blocks.0.ln1.w", "unembed.W_U"])
        {'blocks.0': 0.5, 'unembed': 0.5}
    """
    check_shares(shares)
    result: dict[str, float] = {}
    for name in read_names("partition", partition):
        if name not in shares:
            raise UserError(f"no share of {name!r}: there are {list(shares)[:6]} ...")
        parts = name.split(".")
        layer = ".".join(parts[:2]) if parts[0] == "blocks" else parts[0]
        result[layer] = result.get(layer, 0.0) + shares[name]
    return result


def check_shares(shares: Any) -> None:
    """Refuse what is no mapping from names to finite numbers.

    Raises:
        UserError: names what is none.
    """
    advice = "what component_shares returns"
    check_kind("shares", shares, Mapping, advice)
    _check_numbers(shares, "share of", f"pass {advice}")


def _check_numbers(values: Mapping[str, Any], what: str, advice: str) -> None:
    for name, value in values.items():
        if not isinstance(value, Real) or not math.isfinite(value):
            raise UserError(f"{what} {name!r} is no finite number, {value!r}: {advice}.")


def energies(
    kernel: Float[Tensor, "n n"], bases: Mapping[str, Float[Tensor, "n f"]]
) -> dict[str, float]:
    """Mean kernel energy tr(Q^T K Q) / rank of each (centered) feature span.

    Example:
        >>> import torch
        >>> kernel = torch.diag(torch.tensor([2.0, 0.0]))
        >>> round(energies(kernel, {"u": torch.tensor([[1.0], [-1.0]])})["u"], 6)
        1.0
    """
    matrix = kernel.detach().cpu().double()
    result = {}
    for name, values in bases.items():
        basis = orthonormal_basis(values.double() - values.double().mean(0), values.dtype)
        result[name] = float(((matrix @ basis) * basis).sum()) / max(1, basis.shape[1])
    return result
