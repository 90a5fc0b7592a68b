"""Checkpoints of a Lanczos basis: one safetensors file, replaced whole, continued if it fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from feature_sets.errors import UserError
from tl_entk.directions.lanczos import LanczosState
from tl_entk.directions.rows import Rows
from tl_entk.directions.symmetric_operator import SymmetricOperator
from tl_entk.tools.files import read_tensors, refuse_damaged, write_tensors
from tl_entk.tools.ranks import Ranks
from tl_entk.tools.whole_files import check_path, check_writable

_WHAT = "checkpoint of tl_entk's solver"


def check_resume(resume: Any, ranks: Ranks) -> Path | None:
    """The path for checkpoints, which the first process can write to; None for none.

    Raises:
        UserError, OSError: on every process, if it cannot; says what to do.
    """
    if resume is None:
        return None
    path, problem = check_path(resume), None
    if ranks.first:
        try:
            check_writable(path)
        except OSError as error:
            problem = error
    problem = ranks.from_first(problem)
    if problem is not None:
        raise problem
    return path


def run_identity(operator: SymmetricOperator, seed: int) -> dict[str, str]:
    """What a checkpoint must agree in with the run that continues from it."""
    return {"rows": str(operator.shape[0]), "seed": str(seed), **operator.identity}


def save_state(path: Path, state: LanczosState, kernel: dict[str, str]) -> None:
    """Write the state; the file before it stays until the new one is whole.

    Of a basis that is split over processes the first writes the whole. A state that has multiplied
    nothing is not written: a new start ends where it would have.
    """
    if state.products == 0:
        return
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
    write_tensors(path, tensors, kind="lanczos", about={"kernel": kernel})


def load_state(
    path: Path, kernel: dict[str, str], rows: Rows, device: torch.device
) -> LanczosState:
    """Read the state; of its basis, the rows of this process.

    Raises:
        UserError: if the file is none of ours, or of another kernel; says in what.
    """
    tensors, about = read_tensors(path, "lanczos", _WHAT)[1:]
    with refuse_damaged(path, _WHAT):
        found = dict(about["kernel"])
        generator = torch.Generator()
        generator.set_state(tensors["generator"])
        searched, search_width = tensors["search"].tolist()
        basis = tensors["basis"]
        state = LanczosState(
            rows,
            basis[rows.own].to(device),
            tensors["projected"],
            tensors["coupling"],
            int(tensors["products"]),
            generator,
            float(tensors["scale"]),
            None if searched < 0 else searched,
            search_width,
        )
        _check_sizes(state)
    _check_same_run(path, found, kernel)
    if found.get("rows") != str(len(basis)):
        raise UserError(f"{path} is a damaged {_WHAT}: delete it.")
    return state


def _check_sizes(state: LanczosState) -> None:
    """Refuse a state whose parts do not belong together.

    Raises:
        ValueError: says which do not.
    """
    rows, columns = state.rows.count, state.basis.shape[1]
    known, fresh = state.known, columns - state.known
    if state.projected.shape != (known, known) or state.coupling.shape != (fresh, known):
        raise ValueError(
            f"a basis of {columns} vectors beside {tuple(state.projected.shape)} and "
            f"{tuple(state.coupling.shape)}"
        )
    if columns > rows or state.products < 0:
        raise ValueError(f"{columns} vectors of {rows} rows after {state.products} products")
    for part in (state.basis, state.projected, state.coupling):
        if not part.is_floating_point() or not bool(part.isfinite().all()):
            raise ValueError("numbers that are not finite")


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
