"""HookedTransformer (TransformerLens 3.9) as sites.

Inputs of the projections are read where the module is called, because the residual stream after
the norm's weight (plus shortformer's positions) has no hook point of its own. A weight's output is
read where it enters its hook point: what is put in that one's place (SAELens puts a sparse
autoencoder there) is part of the function that comes after.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from feature_sets.errors import UserError
from tl_entk.model.adapters.base import refuse_shared
from tl_entk.model.adapters.transformer import Outputs, TransformerAdapter
from tl_entk.model.sites import Cut, Heads, Site, Tap


def adapt_hooked_transformer(model: nn.Module) -> TransformerAdapter:
    """The sites of a HookedTransformer.

    Raises:
        UserError: if a switch of the model changes the layout that is read; names the fix.
    """
    _refuse_switches(model.cfg)
    sites = tuple(_sites(model))
    refuse_shared(sites)
    known = {id(site.parameter) for site in sites}
    if not _has_positions(model.cfg):
        known.update(id(p) for n, p in model.named_parameters() if n == "pos_embed.W_pos")
    return TransformerAdapter(
        model=model,
        model_class="HookedTransformer",
        sites=sites,
        final_hidden=Tap(model.get_submodule("unembed"), "input"),
        cuts=tuple(_cuts(model)),
        start_cache=partial(_start_cache, model),
        unsupported=tuple(n for n, p in model.named_parameters() if id(p) not in known),
        processed=_processing(model),
    )


def _start_cache(model: Any, n: int) -> Outputs:
    from transformer_lens.cache.key_value_cache import TransformerLensKeyValueCache

    cache = TransformerLensKeyValueCache.init_cache(model.cfg, model.cfg.device, n)
    # without a mask it asks the tokenizer which tokens are padding
    return lambda tokens: model(tokens, past_kv_cache=cache, attention_mask=torch.ones_like(tokens))


def _cuts(model: Any) -> Iterator[Cut]:
    norms = [getattr(model, "ln_final", None)]
    if len(model.blocks):
        last = model.blocks[-1]
        yield Cut(Tap(last.attn.hook_z, "output"))
        norms = [getattr(last, "ln2", None), *norms]
    yield from (Cut(Tap(norm, "input")) for norm in norms if norm is not None)


def _has_positions(cfg: Any) -> bool:
    """Whether W_pos is read; other models hold it (ALiBi) or not (rotary), but never read it."""
    return cfg.positional_embedding_type in ("standard", "shortformer")


def _refuse_switches(cfg: Any) -> None:
    for switch, fix in {
        "use_attn_in": "model.set_use_attn_in(False)",
        "use_split_qkv_input": "model.set_use_split_qkv_input(False)",
        "ungroup_grouped_query_attention": "model.set_ungroup_grouped_query_attention(False)",
    }.items():
        if getattr(cfg, switch, False):
            raise UserError(f"{switch} is on, which splits the inputs per head: call {fix}.")
    if getattr(cfg, "load_in_4bit", False):
        raise UserError("4-bit weights have no gradient: load the model without load_in_4bit.")
    if getattr(cfg, "num_experts", None):
        raise UserError("mixture-of-experts layers are not supported: tokens do not share weights.")


def _linear(
    name: str, weight: nn.Parameter, output: Tap, input_: Tap, heads: Heads | None = None
) -> Site:
    shape = weight.shape
    if heads is None:
        d_in, d_out = shape
    elif heads.along == "output":
        d_in, d_out = shape[1], shape[0] * shape[2]
    else:
        d_in, d_out = shape[0] * shape[1], shape[2]
    return Site(name, "linear", weight, output, d_out, input_, d_in, heads)


def _bias(name: str, bias: nn.Parameter, output: Tap, heads: Heads | None = None) -> Site:
    return Site(name, "bias", bias, output, bias.numel(), heads=heads)


def _sites(model: Any) -> Iterator[Site]:
    embed, unembed = model.embed, model.unembed
    # with a norm after the embedding, the embedding's output is what enters that norm
    embedded = Tap(embed.ln, "input") if hasattr(embed, "ln") else Tap(embed, "output")
    yield Site("embed.W_E", "embedding", embed.W_E, embedded, embed.W_E.shape[1])
    yield from _norm("embed.ln", getattr(embed, "ln", None))
    if _has_positions(model.cfg):
        weight = model.pos_embed.W_pos
        output = Tap(model.pos_embed, "output")
        yield Site("pos_embed.W_pos", "position", weight, output, weight.shape[1])
    for index, block in enumerate(model.blocks):
        yield from _block(f"blocks.{index}", block)
    yield from _norm("ln_final", getattr(model, "ln_final", None))
    output = Tap(unembed.hook_out, "input")
    yield _linear("unembed.W_U", unembed.W_U, output, Tap(unembed.hook_in, "output"))
    yield _bias("unembed.b_U", unembed.b_U, output)


def _block(path: str, block: Any) -> Iterator[Site]:
    yield from _norm(f"{path}.ln1", block.ln1)
    yield from _attention(f"{path}.attn", block.attn)
    yield from _norm(f"{path}.ln1_post", getattr(block, "ln1_post", None))
    yield from _norm(f"{path}.ln2", getattr(block, "ln2", None))
    if hasattr(block, "mlp"):
        yield from _mlp(f"{path}.mlp", block.mlp)
    yield from _norm(f"{path}.ln2_post", getattr(block, "ln2_post", None))


def _attention(path: str, attn: Any) -> Iterator[Site]:
    for letter, argument in (("Q", "query_input"), ("K", "key_input"), ("V", "value_input")):
        # grouped attention keeps the real parameters behind an underscore
        grouped = f"_W_{letter}" in attn._parameters
        weight = getattr(attn, f"_W_{letter}" if grouped else f"W_{letter}")
        bias = getattr(attn, f"_b_{letter}" if grouped else f"b_{letter}")
        heads = Heads("output", weight.shape[0])
        output = Tap(getattr(attn, f"hook_{letter.lower()}"), "input")
        yield _linear(f"{path}.W_{letter}", weight, output, Tap(attn, "input", argument), heads)
        yield _bias(f"{path}.b_{letter}", bias, output, heads)
    yield from _norm(f"{path}.q_norm", getattr(attn, "q_norm", None))
    yield from _norm(f"{path}.k_norm", getattr(attn, "k_norm", None))
    output, heads = Tap(attn, "output"), Heads("input", attn.W_O.shape[0])
    yield _linear(f"{path}.W_O", attn.W_O, output, Tap(attn.hook_z, "output"), heads)
    yield _bias(f"{path}.b_O", attn.b_O, output)


def _mlp(path: str, mlp: Any) -> Iterator[Site]:
    entry, post, output = Tap(mlp, "input"), Tap(mlp.hook_post, "output"), Tap(mlp, "output")
    pre = Tap(mlp.hook_pre, "input")
    if hasattr(mlp, "W_gate"):
        yield _linear(f"{path}.W_gate", mlp.W_gate, pre, entry)
        yield _linear(f"{path}.W_in", mlp.W_in, Tap(mlp.hook_pre_linear, "input"), entry)
        # a gated MLP adds b_in after the product of gate and linear part
        yield _bias(f"{path}.b_in", mlp.b_in, Tap(mlp.hook_post, "input"))
    else:
        yield _linear(f"{path}.W_in", mlp.W_in, pre, entry)
        yield _bias(f"{path}.b_in", mlp.b_in, pre)
    yield from _norm(f"{path}.ln", getattr(mlp, "ln", None))
    yield _linear(f"{path}.W_out", mlp.W_out, output, post)
    yield _bias(f"{path}.b_out", mlp.b_out, output)


def _norm(path: str, norm: Any) -> Iterator[Site]:
    """Weight and bias of a norm; nothing for None, an identity, or a norm without weights."""
    if getattr(norm, "w", None) is not None:
        normalized, width = Tap(norm.hook_normalized, "output"), norm.w.numel()
        yield Site(f"{path}.w", "scale", norm.w, Tap(norm, "output"), width, normalized, width)
    if getattr(norm, "b", None) is not None:
        yield _bias(f"{path}.b", norm.b, Tap(norm, "output"))


def _processing(model: Any) -> str | None:
    normalization = model.cfg.normalization_type or ""
    if normalization.endswith("Pre"):
        return f"normalization_type is {normalization!r}: LayerNorm is folded into the weights"
    weight = model.W_E.detach().float()
    centered = weight.mean(-1).abs().max() <= 1e-5 * weight.std()
    if normalization.startswith("LN") and torch.isfinite(weight).all() and bool(centered):
        return "W_E is centered"
    return None
