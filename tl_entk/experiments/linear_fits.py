"""The linearization check of one setting at several points of its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from tl_entk.linearization.fit import linearized


def linear_fits(
    models: Mapping[str, nn.Module],
    inputs: Shaped[Tensor, "n ..."],
    targets: Float[Tensor, "n r"],
    **options: Any,
) -> list[dict[str, Any]]:
    """Rows of the linear fits of every model, around the model and around zero.

    Args:
        models: name ("before training", "trained") to model.
        inputs: all examples.
        targets: what the training part is fitted to.
        options: of :func:`tl_entk.linearized`.
    """
    return [
        {"model": name, **row}
        for name, model in models.items()
        for row in linearized(model, inputs, targets, **options).rows()
    ]
