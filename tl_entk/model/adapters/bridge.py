"""TransformerBridge (TransformerLens 3.9 and 4.x; native and Hugging Face models) as sites.

Every live parameter of a bridge sits in a wrapped module (``_original_component``); a linear
map or an embedding is read at that module, before any conversion of shape a HookPoint makes.
A norm is read at its bridge, which may compute without calling the wrapped module.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import nn

from feature_sets.errors import UserError
from tl_entk.model.adapters.base import refuse_shared
from tl_entk.model.adapters.transformer import Outputs, TransformerAdapter
from tl_entk.model.sites import Cut, Heads, Kind, Site, Tap
from tl_entk.tools.hugging_face import cache_argument

_WEIGHT_NAMES = {
    "embed": "W_E",
    "pos_embed": "W_pos",
    "unembed": "W_U",
    "attn.q": "W_Q",
    "attn.k": "W_K",
    "attn.v": "W_V",
    "attn.o": "W_O",
    "mlp.in": "W_in",
    "mlp.gate": "W_gate",
    "mlp.out": "W_out",
}


def adapt_bridge(model: nn.Module) -> TransformerAdapter:
    """The sites of a TransformerBridge.

    Raises:
        UserError: if the model has no token embedding or unembedding to read.
    """
    _refuse_switches(model.cfg)
    _refuse_architecture(model)
    components = dict(_components(model))
    if "embed" not in components or "unembed" not in components:
        raise UserError(
            "the bridge has no embed or unembed component: tl_entk needs a causal language model."
        )
    sites = tuple(_sites(model.cfg, components))
    refuse_shared(sites)
    known = {id(site.parameter) for site in sites} | _stale(components)
    return TransformerAdapter(
        model=model,
        model_class="TransformerBridge",
        sites=sites,
        final_hidden=Tap(components["unembed"]._original_component, "input"),
        cuts=tuple(_cuts(model.cfg, components)),
        start_cache=partial(_start_cache, model),
        unsupported=tuple(n for n, p in model.named_parameters() if id(p) not in known),
        processed=(
            "the bridge's compatibility mode has processed its weights"
            if getattr(model, "_weights_processed", False)
            else None
        ),
    )


def _start_cache(model: Any, _: int) -> Outputs:
    """With the wrapped model's own cache, which takes any number of windows."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.original_model.config)
    options = {cache_argument(model.original_model): cache, "use_cache": True}
    return lambda tokens: model(tokens, **options)


def _cuts(cfg: Any, components: dict[str, Any]) -> Iterator[Cut]:
    last = f"blocks.{cfg.n_layers - 1}"
    if f"{last}.attn.q" in components:
        # the attention pattern has a row for every position, but one is read
        query = components[f"{last}.attn.q"]._original_component
        yield Cut(Tap(query, "input"), until=Tap(query, "output"))
    for path in (f"{last}.attn.o", f"{last}.ln2", "ln_final"):
        if path in components:
            component = components[path]
            module = component if _is_norm(component) else component._original_component
            yield Cut(Tap(module, "input"))


def _refuse_switches(cfg: Any) -> None:
    for switch in ("use_attn_in", "use_split_qkv_input", "use_attn_result"):
        if getattr(cfg, switch, False):
            raise UserError(
                f"{switch} is on, which takes the attention apart: call model.set_{switch}(False)."
            )


def _refuse_architecture(model: Any) -> None:
    """Refuse what a kernel per weight and position is not defined for, by name."""
    config = getattr(getattr(model, "original_model", None), "config", None)
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            "the model is an encoder-decoder: tl_entk needs a causal language model, whose logits "
            "at a position are a function of one window of tokens."
        )
    kinds = {cls.__name__ for module in nn.Module.modules(model) for cls in type(module).__mro__}
    if kinds & {"SSMStateHookMixin", "SSMBlockBridge"}:
        raise UserError(
            "the model has state-space (recurrent) blocks, whose scans have no hooks at their "
            "weights: tl_entk supports attention and MLP blocks."
        )


def _components(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Bridge components with a wrapped module, under their TransformerLens paths."""
    for path, module in nn.Module.named_modules(model, remove_duplicate=False):
        inside = "_original_component" in path.split(".")
        if path and not inside and "_original_component" in module._modules:
            yield path, module


def _stale(components: dict[str, Any]) -> set[int]:
    """Joint projections that the bridge has split: the parts are live parameters, they are not.

    The wrapped attention or MLP still owns the joint weight and bias, each as large as its parts
    together.
    """
    stale: set[int] = set()
    for parts in (("q", "k", "v"), ("gate", "in")):
        for path in components:
            owner, _, last = path.rpartition(".")
            paths = [f"{owner}.{part}" for part in parts]
            if last != parts[0] or not components.keys() >= {owner, *paths}:
                continue
            split = [dict(components[p]._original_component.named_parameters()) for p in paths]
            for name in ("weight", "bias"):
                size = sum(part[name].numel() for part in split if name in part)
                joint = components[owner]._original_component.named_parameters()
                stale.update(
                    id(p) for n, p in joint if n.endswith(f".{name}") and p.numel() == size
                )
    return stale


def _sites(cfg: Any, components: dict[str, Any]) -> Iterator[Site]:
    for path, component in components.items():
        wrapped = component._original_component
        parameters = {n: p for n, p in wrapped._parameters.items() if p is not None}
        if not parameters:
            continue
        if _is_norm(component):
            yield from _norm(path, component, parameters)
        elif isinstance(wrapped, nn.Embedding):
            kinds: dict[str, Kind] = {"embed": "embedding", "pos_embed": "position"}
            if path in kinds:
                weight, output = parameters["weight"], Tap(wrapped, "output")
                yield Site(_name(path, "W"), kinds[path], weight, output, weight.shape[1])
        elif _is_linear(wrapped):
            yield from _linear(cfg, path, wrapped)


def _is_norm(component: Any) -> bool:
    return hasattr(component, "hook_normalized")


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _name(path: str, letter: str) -> str:
    """TransformerLens' name of a weight ("W") or bias ("b") of the component at this path."""
    for end, weight in _WEIGHT_NAMES.items():
        if path == end or path.endswith("." + end):
            owner = path if "." not in path else path.rpartition(".")[0]
            return f"{owner}.{letter}{weight[1:]}"
    return f"{path}.{letter}"


def _linear(cfg: Any, path: str, module: Any) -> Iterator[Site]:
    if path.endswith(".qkv"):
        return
    d_out, d_in = (
        module.weight.shape if isinstance(module, nn.Linear) else module.weight.shape[::-1]
    )
    heads = _heads(cfg, path, d_in, d_out)
    output, entry = Tap(module, "output"), Tap(module, "input")
    yield Site(_name(path, "W"), "linear", module.weight, output, d_out, entry, d_in, heads)
    if module._parameters.get("bias") is not None:
        along_output = heads if heads and heads.along == "output" else None
        yield Site(_name(path, "b"), "bias", module.bias, output, d_out, heads=along_output)


def _heads(cfg: Any, path: str, d_in: int, d_out: int) -> Heads | None:
    """Heads of an attention projection, where its width is a whole number of them."""
    if not path.endswith((".attn.q", ".attn.k", ".attn.v", ".attn.o")):
        return None
    last, n_heads = path[-1], cfg.n_heads
    if last in "kv":
        n_heads = getattr(cfg, "n_key_value_heads", None) or n_heads
    width = d_in if last == "o" else d_out
    return Heads("input" if last == "o" else "output", n_heads) if width % n_heads == 0 else None


def _norm(path: str, component: Any, parameters: dict[str, nn.Parameter]) -> Iterator[Site]:
    output = Tap(component.hook_out, "input")
    if "weight" in parameters:
        weight = parameters["weight"]
        normalized, width = Tap(component.hook_normalized, "output"), weight.numel()
        yield Site(f"{path}.w", "scale", weight, output, width, normalized, width)
    if "bias" in parameters:
        bias = parameters["bias"]
        yield Site(f"{path}.b", "bias", bias, output, bias.numel())
