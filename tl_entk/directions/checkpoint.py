"""Checkpoints of a Lanczos basis: one safetensors file, replaced whole, continued if it fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from feature_sets.errors import UserError
from tl_entk.directions.lanczos import LanczosState
from tl_entk.tools.files import write_tensors

# what a kernel is, of everything its provenance says
_IDENTITY = (
    "model", "model_class", "model_dtype", "tokens_sha256", "component", "readout", "position",
    "kernel_dtype", "precision", "normalization",
)  # fmt: skip


def identity(provenance: dict[str, Any], rows: int, seed: int) -> dict[str, str]:
    """What a checkpoint must agree in with the run that continues from it."""
    kernel = {key: str(provenance[key]) for key in _IDENTITY if key in provenance}
    return {"rows": str(rows), "seed": str(seed), **kernel}


def save_state(path: Path, state: LanczosState, kernel: dict) -> None:
    """Write the state; the file before it stays until the new one is whole."""
    tensors = {
        "basis": state.basis,
        "projected": state.projected,
        "coupling": state.coupling,
        "generator": state.generator.get_state(),
        "products": torch.tensor(state.products),
    }
    write_tensors(path, tensors, {"tl_entk": json.dumps({"kind": "lanczos", "kernel": kernel})})


def load_state(path: Path, kernel: dict, device: torch.device) -> LanczosState:
    """Read the state.

    Raises:
        UserError: if the file is none of ours, or of another kernel; says in what.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("tl_entk", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path} is no checkpoint ({error}): pass another path.") from error
    if header.get("kind") != "lanczos":
        raise UserError(f"{path} is no checkpoint of tl_entk's solver: pass another path.")
    found = header["kernel"]
    other = [key for key in kernel if found.get(key) != kernel[key]]
    if other:
        differences = "; ".join(f"{k}: {found.get(k)!r}, not {kernel[k]!r}" for k in other)
        raise UserError(
            f"{path} is a checkpoint of another run ({differences}): pass another path, or delete "
            "it."
        )
    generator = torch.Generator()
    generator.set_state(tensors["generator"])
    return LanczosState(
        tensors["basis"].to(device),
        tensors["projected"],
        tensors["coupling"],
        int(tensors["products"]),
        generator,
    )
