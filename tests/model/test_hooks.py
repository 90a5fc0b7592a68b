"""A user's own hooks are part of the function whose kernel is computed, and they stay."""

import pytest
import torch

import tl_entk
from tests.models import HAS_HOOKED, build, tokens
from tests.oracle import jacobians, kernel, relative_error

EDITED = [
    "blocks.0.attn.hook_q",
    "blocks.0.attn.hook_z",
    "blocks.1.mlp.hook_pre",
    "blocks.1.mlp.hook_post",
    "blocks.0.hook_mlp_out",
    "blocks.1.hook_resid_pre",
]
MODELS = ["native:layer_norm", "hf:gpt2", *(["hooked:gpt2"] if HAS_HOOKED else [])]
CASES = [(name, hook) for name in MODELS for hook in EDITED]
CASES += [
    (name, hook)
    for name in ("native:layer_norm", "hf:gpt2", "hf:gemma3")
    for hook in ("blocks.0.ln1.hook_out", "ln_final.hook_out", "blocks.1.attn.o.hook_out")
]
CASES += [("hf:gemma3", "blocks.0.attn.q_norm.hook_out")]
CASES += [("hooked:gpt2", hook) for hook in ("unembed.hook_in", "unembed.hook_out") if HAS_HOOKED]


def bend(value, hook):
    return value * 1.7 + 0.1 * value.square()


def shared(blocks, component):
    return "tied_embedding" in blocks and component in ("embed.W_E", "unembed.W_U")


@pytest.mark.parametrize(("name", "hook"), CASES)
def test_kernel_of_the_edited_function(name, hook):
    model, batch = build(name), tokens()
    plain = tl_entk.kernel_blocks(model, batch)
    with model.hooks(fwd_hooks=[(hook, bend)]):
        edited = tl_entk.kernel_blocks(model, batch)
        dense = jacobians(model, batch, lambda z: z.mean(1))
    total = sum(kernel(j) for j in dense.values())
    for component, jacobian in dense.items():
        block = edited["tied_embedding"] if shared(edited, component) else edited[component]
        error = relative_error(block, kernel(jacobian), float(total.abs().max()))
        assert error < (2e-6 if "gemma3" in name else 1e-10), component
    assert not torch.allclose(edited.total(), plain.total(), rtol=1e-3)
    assert torch.equal(tl_entk.kernel_blocks(model, batch).total(), plain.total())
