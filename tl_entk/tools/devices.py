"""Whether a device that was named can be computed on."""

from __future__ import annotations

import torch

from feature_sets.errors import UserError
from tl_entk.tools.errors import first_line
from tl_entk.tools.values import check_kind


def check_device(device: str | torch.device, name: str = "device") -> None:
    """Refuse a device that is unknown or missing, or that holds no numbers ("meta").

    Args:
        device: as torch names it.
        name: of the argument or option.

    Raises:
        UserError: says what to pass.

    Example:
        >>> check_device("cpu")
    """
    check_kind(name, device, (str, torch.device), "cpu, or cuda where there is a GPU")
    try:
        # what is written has to come back
        torch.zeros(1, device=device).tolist()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = first_line(error).rstrip(".")
        raise UserError(
            f"{name} {device}: {reason}. Pass {name} cpu, or cuda where there is a GPU."
        ) from error
