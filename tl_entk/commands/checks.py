"""Checks of a command's options before any work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast, get_args

from feature_sets.errors import UserError
from tl_entk.commands.call import CONFIG, Call
from tl_entk.commands.console import announce, console
from tl_entk.commands.processes import SPLIT, started_by_torchrun
from tl_entk.model.classes import ModelClass, default_model_class
from tl_entk.tools.locks import LOCK, lock_folder


@contextmanager
def run_folder(
    target: Path, call: Call[Any], doing: str = "", device: str = "cpu"
) -> Iterator[None]:
    """Around a run: its folder is its own and says how it was called; one that fails leaves none.

    Args:
        target: folder of its report; its name is shown.
        call: the command that is run.
        doing: what is being done, for people to read.
        device: where it computes.

    Raises:
        OSError: if the folder cannot be written to.
        UserError: if the device is unknown, another run has the folder, or torchrun has started
            a command that is not split.
    """
    if started_by_torchrun() and call.command not in SPLIT:
        raise UserError(
            f"tl-entk {call.command} runs in one process: leave torchrun out (it is for "
            f"{', '.join(SPLIT)})."
        )
    check_device(device)
    made = [folder for folder in (target, *target.parents) if not folder.exists()]
    check_writable(target)
    try:
        with lock_folder(target):
            call.write(target)
            announce(target.name, doing)
            yield
    except Exception:
        if target in made and {file.name for file in target.iterdir()} <= {CONFIG, LOCK}:
            (target / CONFIG).unlink(missing_ok=True)
            (target / LOCK).unlink(missing_ok=True)
        for folder in made:
            if any(folder.iterdir()):
                break
            folder.rmdir()
        raise


def choose_speed(device: str = "cpu") -> None:
    """Set how many threads this process computes with, and what multiplies; and say so."""
    import torch

    from tl_entk.tools.matrix_products import measure_products
    from tl_entk.tools.threads import set_threads

    console.print(f"computing with {set_threads()}")
    if device == "cpu" and torch.get_float32_matmul_precision() == "highest":
        products = measure_products()
        torch.set_float32_matmul_precision(products.mode)
        console.print(str(products))


def check_writable(folder: Path) -> None:
    """Refuse an output folder before the work instead of after it.

    Raises:
        OSError: if it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        marker = folder / ".writable"
        marker.touch()
        marker.unlink()
    except OSError as error:
        raise OSError(
            f"cannot write to {folder} ({error.strerror}): pass another --out."
        ) from error


def check_device(device: str) -> None:
    """Refuse an unknown or missing device before anything is trained.

    Raises:
        UserError: says what to pass.
    """
    # torch is slow to import
    from tl_entk.tools import devices

    devices.check_device(device, "--device")


def check_model_class(model_class: str | None) -> ModelClass:
    """The model class asked for, or the default one.

    Raises:
        UserError: for an unknown class.
    """
    if model_class is None:
        return default_model_class()
    return cast(ModelClass, check_choice("--model-class", model_class, get_args(ModelClass)))


def check_choice(option: str, value: str, choices: Sequence[str]) -> str:
    """The value, if it is one of a few.

    Raises:
        UserError: names them.

    Example:
        >>> check_choice("--probe", "ridge", ("logistic", "ridge"))
        'ridge'
    """
    if value not in choices:
        raise UserError(f"{option} {value!r}: pass {' or '.join(choices)}.")
    return value


def check_seeds(seeds: int) -> None:
    """Refuse a number of seeds that is no number of runs.

    Raises:
        UserError: for less than 1.
    """
    if seeds < 1:
        raise UserError(f"--seeds {seeds}: pass 1 or more.")


def check_workers(workers: int | None) -> None:
    """Refuse a number of processes that is none.

    Raises:
        UserError: for less than 1.
    """
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}: pass 1 or more.")


def check_budget(gib: float | None) -> int | None:
    """Bytes of a memory budget, where one was given.

    Raises:
        UserError: for one that is not positive and finite.

    Example:
        >>> check_budget(0.5)
        536870912
    """
    if gib is None:
        return None
    if not 0 < gib < float("inf"):
        raise UserError(f"--memory-budget {gib:g}: pass GiB, more than 0.")
    return round(gib * 2**30)
