"""Checks of a command's options before any work."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import cast, get_args

import torch

from feature_sets.errors import UserError
from tl_entk.experiments.modular_transformer.task import ModelClass


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
    """Refuse a device that is not there before anything is trained.

    Raises:
        UserError: names the mend.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {device}: {reason} Pass --device cpu.") from error


def default_model_class() -> ModelClass:
    """HookedTransformer where TransformerLens still has it, else the bridge."""
    return "hooked" if version("transformer_lens").startswith("3.") else "bridge"


def check_model_class(model_class: str | None) -> ModelClass:
    """The model class asked for, or the default one.

    Raises:
        UserError: for a class that there is not.
    """
    if model_class is None:
        return default_model_class()
    if model_class not in get_args(ModelClass):
        raise UserError(f"--model-class {model_class!r}: pass hooked or bridge.")
    return cast(ModelClass, model_class)
