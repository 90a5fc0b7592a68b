"""A full-size Gemma-3-270M with random weights (no hub), and the plain twin of the operator."""

from __future__ import annotations

import copy

import torch
from torch.func import functional_call, jvp, vjp

from tl_entk.operator.whitening import whitening

FULL = dict(
    vocab_size=262144, hidden_size=640, intermediate_size=2048, num_hidden_layers=18,
    num_attention_heads=4, num_key_value_heads=1, head_dim=256, query_pre_attn_scalar=256,
    sliding_window=512, max_position_embeddings=32768,
)  # fmt: skip
SMALL = {**FULL, "vocab_size": 4096, "hidden_size": 64, "intermediate_size": 192, "head_dim": 32,
         "query_pre_attn_scalar": 32, "num_hidden_layers": 4}  # fmt: skip

PATHS = {
    "W_Q": "self_attn.q_proj", "W_K": "self_attn.k_proj", "W_V": "self_attn.v_proj",
    "W_O": "self_attn.o_proj", "W_in": "mlp.up_proj", "W_gate": "mlp.gate_proj",
    "W_out": "mlp.down_proj",
}  # fmt: skip


def hugging_face_gemma(sizes: dict = FULL):
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        **sizes, rms_norm_eps=1e-6, bos_token_id=2, eos_token_id=1, pad_token_id=0,
        attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    return Gemma3ForCausalLM(config).eval().requires_grad_(False)


def bridge(model):
    """A TransformerBridge around a copy."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    model = copy.deepcopy(model)
    return build_bridge_from_module(
        model, "Gemma3ForCausalLM", hf_config=model.config, model_name="random-gemma-3"
    )


def hooked(model):
    """A HookedTransformer with the same weights (TransformerLens 3.9, full size)."""
    from transformer_lens import HookedTransformer
    from transformer_lens.loading_from_pretrained import get_pretrained_model_config
    from transformer_lens.pretrained.weight_conversions import convert_gemma_weights

    config = get_pretrained_model_config("google/gemma-3-270m", dtype=torch.float32, device="cpu")
    config.tokenizer_name = None
    result = HookedTransformer(config, move_to_device=False)
    result.load_state_dict(convert_gemma_weights(model, config), strict=False)
    return result.eval().requires_grad_(False)


def random_tokens(n: int, length: int, sizes: dict = FULL) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(3, sizes["vocab_size"], (n, length), generator=generator)


class Twin:
    """The plain way: VJP and JVP of the whole model with respect to one weight, per product."""

    def __init__(self, model, tokens, component: str) -> None:
        _, layer, _, weight = component.split(".")
        self.path = f"layers.{layer}.{PATHS[weight]}.weight"
        self.inner, self.tokens = model.model, tokens
        self.weight = dict(self.inner.named_parameters())[self.path].detach()
        self.n, self.d = len(tokens), model.config.hidden_size
        self.shape = (self.n * self.d, self.n * self.d)
        self.dtype, self.device = torch.float32, tokens.device
        self.root = whitening(model.lm_head.weight.detach().T).root.float()
        self.provenance = {"model": "plain twin", "component": component}

    def hidden(self, weight):
        """Final hidden vectors at the last position, as a function of the weight."""
        output = functional_call(
            self.inner, {self.path: weight}, (self.tokens,), kwargs={"use_cache": False},
            tie_weights=False,
        )  # fmt: skip
        return output.last_hidden_state[:, -1]

    @torch.no_grad()
    def __matmul__(self, x):
        columns = []
        for column in x.reshape(self.n, self.d, -1).unbind(2):
            _, pull = vjp(self.hidden, self.weight)
            (gradient,) = pull((column @ self.root).contiguous())
            del pull
            _, change = jvp(self.hidden, (self.weight,), (gradient,))
            columns.append(change @ self.root)
        return torch.stack(columns, 2).reshape(x.shape)
