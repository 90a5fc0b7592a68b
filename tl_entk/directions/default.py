"""The default kernel of a language model: fixed, so that no label of a new model is needed.

Which readout, which weights, how layers are added: measured over the settings of
``benchmarks/default_kernel``; the table is in docs/results-language.md.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from feature_sets.errors import UserError
from tl_entk.directions.default_kernel import (
    DEFAULT_NORMALIZATION,
    DEFAULT_READOUT,
    DEFAULT_WEIGHTS,
    default_patterns,
)
from tl_entk.directions.eigen import EigenDirections, eigendecompose
from tl_entk.kernel.blocks import kernel_blocks, list_components
from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.checks import Position
from tl_entk.model.readouts import ReadoutLike
from tl_entk.tools.values import check_at_least


def default_directions(
    model: torch.nn.Module,
    tokens: Int[Tensor, "n t"],
    k: int = 25,
    *,
    readout: ReadoutLike = DEFAULT_READOUT,
    position: Position = -1,
    memory_budget: int | None = None,
    progress: bool = False,
) -> EigenDirections:
    r"""Top eigendirections of a kernel to start with, where no label is there to choose by.

    .. math:: K[n, m] = \sum_b K_b[n, m] / \sqrt{K_b[n, n] K_b[m, m]}

    over W_out of the later half of the layers; K_b is the kernel of logsumexp of the logits at the
    read position. One forward and one backward pass; no label, no layer and no normalization is
    left to choose. It is a start that needs no label, not a claim: over five settings of two
    language models the strongest baseline was ahead by 0.05 (average precision) on average, the
    kernel only where windows were not filtered by the model's agreement; on modular addition it is
    far behind (see ``readout``). A kernel chosen by your own labels may do better:
    :func:`tl_entk.sweep_directions`.

    Args:
        model: a HookedTransformer (TransformerLens 3.9) or a TransformerBridge (3.9, 4.x), in
            evaluation mode.
        tokens: (n, t) token numbers; windows of one length without padding.
        k: how many directions.
        readout: as for :func:`tl_entk.kernel_blocks`; on modular addition "mean_logit" did better.
        position: where logits are read.
        memory_budget: bytes for temporaries (default 4 GiB, on a GPU 40 % of its memory).
        progress: show an estimate and a bar.

    Returns:
        Eigenvalues, largest first, and ``scores`` (n, k).

    Raises:
        UserError: for a model without such weights, or as ``kernel_blocks`` and ``eigendecompose``.

    Source: docs/results-language.md; the kernel's blocks are arXiv 2510.00468, section 2.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> default_directions(model, data.tokens, k=4).scores.shape
        torch.Size([25, 4])
    """
    check_at_least("k", k)
    names = list_components(model)
    wanted = default_patterns(adapt_transformer(model).n_layers)
    chosen = [name for name in names if name in wanted]
    if not chosen:
        raise UserError(
            f"the model has none of {', '.join(DEFAULT_WEIGHTS)} in its later layers: choose "
            "components, and pass the kernel_blocks of them to eigendecompose."
        )
    blocks = kernel_blocks(
        model,
        tokens,
        readout,
        chosen,
        position=position,
        memory_budget=memory_budget,
        progress=progress,
    )
    about = {"kernel": f"{', '.join(chosen)}; {DEFAULT_NORMALIZATION}, then added"}
    return eigendecompose(blocks, k, normalization=DEFAULT_NORMALIZATION, provenance=about)
