"""Checkpoints of a Lanczos basis: one safetensors file, replaced whole, continued if it fits."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from feature_sets.errors import UserError
from tl_entk.directions.lanczos import LanczosState
from tl_entk.directions.rows import Rows
from tl_entk.directions.symmetric_operator import SymmetricOperator
from tl_entk.tools.files import read_tensors, refuse_damaged, write_tensors

_WHAT = "checkpoint of tl_entk's solver"


def run_identity(operator: SymmetricOperator, seed: int) -> dict[str, str]:
    """What a checkpoint must agree in with the run that continues from it."""
    return {"rows": str(operator.shape[0]), "seed": str(seed), **operator.identity}


def save_state(path: Path, state: LanczosState, kernel: dict[str, str]) -> None:
    """Write the state; the file before it stays until the new one is whole.

    Of a basis that is split over processes the first writes the whole.
    """
    basis = state.rows.gather(state.basis)
    if basis is None:
        return
    searched = -1 if state.searched is None else state.searched
    tensors = {
        "basis": basis,
        "projected": state.projected,
        "coupling": state.coupling,
        "generator": state.generator.get_state(),
        "products": torch.tensor(state.products),
        "scale": torch.tensor(state.scale, dtype=torch.float64),
        "search": torch.tensor([searched, state.search_width]),
    }
    write_tensors(path, tensors, {"tl_entk": json.dumps({"kind": "lanczos", "kernel": kernel})})


def load_state(
    path: Path, kernel: dict[str, str], rows: Rows, device: torch.device
) -> LanczosState:
    """Read the state; of its basis, the rows of this process.

    Raises:
        UserError: if the file is none of ours, or of another kernel; says in what.
    """
    tensors, header = read_tensors(path, entry="tl_entk", kind="lanczos", what=_WHAT)
    with refuse_damaged(path, _WHAT):
        _check_same_run(path, header["kernel"], kernel)
        generator = torch.Generator()
        generator.set_state(tensors["generator"])
        searched, search_width = tensors["search"].tolist()
        return LanczosState(
            rows,
            # products round by where numbers lie in memory: a copy lies where torch would put it
            tensors["basis"][rows.own].to(device, copy=True),
            tensors["projected"].clone(),
            tensors["coupling"].clone(),
            int(tensors["products"]),
            generator,
            float(tensors["scale"]),
            None if searched < 0 else searched,
            search_width,
        )


def _check_same_run(path: Path, found: dict[str, str], kernel: dict[str, str]) -> None:
    """Refuse a checkpoint that another run wrote.

    Raises:
        UserError: says in what the two differ.
    """
    other = [key for key in kernel if found.get(key) != kernel[key]]
    if other:
        differences = "; ".join(f"{k}: {found.get(k)!r}, not {kernel[k]!r}" for k in other)
        raise UserError(
            f"{path} is a checkpoint of another run ({differences}): pass another path, or delete "
            "it."
        )
