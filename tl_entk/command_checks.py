"""Checks of a command's options before any work."""

from __future__ import annotations

from pathlib import Path

import torch


def check_writable(folder: Path) -> None:
    """Refuse an output folder before the work instead of after it.

    Raises:
        OSError: if it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"cannot write to {folder} ({error.strerror}): pass another --out."
        ) from error


def check_device(device: str) -> None:
    """Refuse a device that is not there before anything is trained.

    Raises:
        ValueError: names the mend.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {device}: {reason} Pass --device cpu.") from error
