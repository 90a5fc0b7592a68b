"""What a model says next: logits at the end of windows, and greedy continuations."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int
from torch import Tensor, nn

from feature_sets.errors import UserError
from tl_entk.model.adapters import TransformerAdapter, adapt_transformer
from tl_entk.model.checks import check_model
from tl_entk.model.last_logits import last_logits_of
from tl_entk.tools.lead import on_all_ranks
from tl_entk.tools.progress import Progress
from tl_entk.tools.ranks import current_ranks
from tl_entk.tools.values import check_at_least, is_integer

# by how much logits of the same window may differ, over the largest
_SAME = 1e-4
# model to lengths, number format and hooks to whether its cache gives the same logits
_TRIED: WeakKeyDictionary[Any, dict[tuple[Any, ...], bool]] = WeakKeyDictionary()


@on_all_ranks
def greedy_continuation(
    model: Any,
    tokens: Int[Tensor, "n t"],
    n_new: int = 3,
    batch_size: int = 64,
    progress: bool = False,
) -> Int[Tensor, "n n_new"]:
    """The most probable next tokens of each window, one after the other.

    Keys and values of the window are kept where the model can do so and the logits come out the
    same up to 1e-4 of the largest (tried on two windows); else the window is run anew for each
    token.

    Args:
        model: a TransformerLens model.
        tokens: windows of one length, without padding.
        n_new: tokens to add.
        batch_size: windows per forward pass.
        progress: show a progress bar.

    Returns:
        The added tokens only.

    Raises:
        UserError: if the model is in train mode, the tokens do not fit it, or windows and new
            tokens together are longer than its context.

    Example:
        >>> from tl_entk.experiments import ModularSettings, build_model, modular_data
        >>> settings = ModularSettings(p=5)
        >>> model, data = build_model(settings), modular_data(settings)
        >>> greedy_continuation(model, data.tokens[:, :2], 2).shape
        torch.Size([25, 2])
    """
    adapter = adapt_transformer(model)
    check_model(adapter)
    tokens = adapter.check_tokens(tokens)
    length, context = tokens.shape[1], adapter.context
    # the last new token is not read again
    check_at_least("batch_size", batch_size)
    if not is_integer(n_new) or n_new < 1 or length + n_new - 1 > context:
        raise UserError(
            f"n_new = {n_new!r} after windows of {length}: pass 1 to {context - length + 1}, the "
            f"model's context being {context}."
        )
    start_cache = adapter.start_cache
    if n_new == 1 or not _cache_is_right(adapter, tokens[:2], n_new):
        start_cache = None
    ranks = current_ranks()
    own = tokens[ranks.share(len(tokens))]
    found = [own.new_zeros(0, n_new)]
    with Progress("continuing", -(-len(own) // batch_size) * n_new, progress) as bar:
        for rows in own.split(batch_size) if len(own) else ():
            outputs = start_cache(len(rows)) if start_cache else adapter.outputs
            read = rows
            for _ in range(n_new):
                following = last_logits_of(adapter, read, outputs).argmax(1, keepdim=True)
                rows = torch.cat([rows, following], 1)
                read = following if start_cache else rows
                bar.advance()
            found.append(rows[:, length:])
    return ranks.join(torch.cat(found), len(tokens))


def _cache_is_right(adapter: TransformerAdapter, tokens: Int[Tensor, "b t"], n_new: int) -> bool:
    """Whether the model's own cache of keys and values continues such windows as whole passes do.

    Architectures, and hooks of the user's, that a cache does not suit show it here. Tried once for
    a model, its hooks, and lengths: waves of a few windows would mostly try.
    """
    modules = list(nn.Module.modules(adapter.model))
    # the numbers of hooks are never given twice
    hooks = [key for m in modules for key in (*m._forward_hooks, *m._forward_pre_hooks)]
    case = tokens.shape[1], n_new, str(adapter.dtype), tuple(hooks)
    known = _TRIED.setdefault(adapter.model, {})
    if case not in known:
        known[case] = _try_cache(adapter, tokens, n_new)
    return known[case]


def _try_cache(adapter: TransformerAdapter, rows: Int[Tensor, "b t"], n_new: int) -> bool:
    if adapter.start_cache is None:
        return False
    read = rows
    try:
        outputs = adapter.start_cache(len(rows))
        for _ in range(n_new):
            whole = last_logits_of(adapter, rows, adapter.outputs)
            kept = last_logits_of(adapter, read, outputs)
            same = _SAME * float(whole.abs().max())
            if not torch.allclose(kept, whole, rtol=0, atol=same):
                return False
            read = whole.argmax(1, keepdim=True)
            rows = torch.cat([rows, read], 1)
    except Exception:  # whatever it is, the windows can be run whole
        return False
    return True
