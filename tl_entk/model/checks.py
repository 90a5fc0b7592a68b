"""Checks of a model and of what is asked of it, with the fix in the message."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from feature_sets.errors import UserError
from feature_sets.warn import warn_user
from tl_entk.model.adapters import ModelAdapter
from tl_entk.tools.indices import is_index_tensor
from tl_entk.tools.values import is_integer

Position = int | Int[Tensor, " n"]


def check_model(adapter: ModelAdapter) -> None:
    """Refuse a model whose gradients would not be those of the function it computes.

    Raises:
        UserError: in train mode (dropout is only active there).
        RuntimeError: inside torch.inference_mode, where no gradient can be taken, or for a model
            that was made there.

    Warns:
        UserWarning: if the weights look processed: the kernel depends on the parametrization.
    """
    if any(adapter.is_training(module) for module in adapter.model.modules()):
        raise UserError("the model is in train mode: call model.eval() first.")
    if torch.is_inference_mode_enabled():
        raise RuntimeError("no gradients inside torch.inference_mode(): leave it first.")
    if any(parameter.is_inference() for parameter in adapter.model.parameters()):
        raise RuntimeError(
            "the model was made inside torch.inference_mode(), where weights get no gradients: "
            "load it outside of that."
        )
    if adapter.processed:
        warn_user(
            f"the weights look processed: {adapter.processed}. The eNTK depends on the "
            "parametrization; for the trained weights load the model without processing "
            "(from_pretrained_no_processing, or a bridge without compatibility mode)."
        )


def check_kernel_dtype(adapter: ModelAdapter, dtype: torch.dtype | None) -> torch.dtype:
    """The number format of kernels and vectors; by default the model's, float32 at least.

    Raises:
        UserError: for another format than float32 and float64.
    """
    if dtype is None:
        return adapter.dtype if adapter.dtype.itemsize >= 4 else torch.float32
    if dtype not in (torch.float32, torch.float64):
        raise UserError(f"dtype is {dtype!r}: pass torch.float32 or torch.float64.")
    return dtype


def check_position(position: Any, n: int, length: int) -> Int[Tensor, " n"]:
    """The position to read of every example, counted from 0.

    Raises:
        UserError: if it is no position of the windows.
    """
    per_example = is_index_tensor(position) and position.shape in ((), (n,))
    if not (per_example or is_integer(position)):
        raise UserError(
            f"position {position!r}: pass an integer, or an integer tensor with one per example."
        )
    positions = torch.as_tensor(position)
    if int(positions.min()) < -length or int(positions.max()) >= length:
        raise UserError(
            f"position {position} is out of range: the windows have positions {-length} to "
            f"{length - 1}."
        )
    return (positions.long() % length).expand(n).clone()


def check_supported(adapter: ModelAdapter) -> None:
    """Refuse "every weight" of a model that has weights which are no site.

    Raises:
        UserError: names the parameters.
    """
    trainable = {name for name, p in adapter.model.named_parameters() if p.requires_grad}
    missing = [name for name in adapter.unsupported if name in trainable]
    if missing:
        experts = any("expert" in name for name in missing)
        raise UserError(
            f"{len(missing)} parameters of the model are not supported, for example "
            f"{missing[:3]}{' (a mixture of experts, which routes tokens apart)' * experts}: "
            "name the components you want instead of None; "
            "tl_entk.list_components(model) lists those there are."
        )
