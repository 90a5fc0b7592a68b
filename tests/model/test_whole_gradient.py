"""What the hooks see of a weight must be all of its gradient: checked on every kind of model."""

import types

import pytest
import torch
from torch import nn

import tl_entk
from tests.models import HAS_HOOKED, MODELS, V, build, tokens
from tests.oracle import jacobians, kernel, relative_error
from tl_entk.model.adapters import adapt

C = 5
CALLS = {
    "kernel_blocks": lambda model, batch, name: tl_entk.kernel_blocks(
        model, batch, components=name
    ),
    "kernel_operator": tl_entk.kernel_operator,
    "jacobian": tl_entk.jacobian,
    "gradient_norms": tl_entk.gradient_norms,
    "linearized": lambda model, batch, name: tl_entk.linearized(
        model, batch, torch.zeros(len(batch), 7), components=name, ridge=1.0
    ),
    "all_eigendirections": lambda model, batch, name: tl_entk.all_eigendirections(
        model, batch, [name], k=1, outputs=2
    ),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))


@every_call
@pytest.mark.usefixtures("untyped")
def test_a_patched_module_that_uses_its_weight_otherwise_is_refused(call, monkeypatch, model):
    mlp, out = type(model.blocks[0].mlp), model.blocks[0].mlp.out._original_component
    plain = mlp.forward

    def once_more(self, x, *rest):
        return plain(self, x, *rest) + 0.1 * x[..., :10] @ out.weight.T

    monkeypatch.setattr(mlp, "forward", once_more)
    with pytest.raises(tl_entk.UserError, match=r"blocks\.0\.mlp\.W_out is also used where no"):
        call(model, tokens(), "blocks.0.mlp.W_out")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore:the weights look processed")
def test_sound_models_in_half_precision_are_taken(name):
    """Rounding is no hidden use; in float64 the tests of every architecture show the same."""
    tl_entk.kernel_blocks(build(name, torch.bfloat16), tokens(3))


def pad_with(model, side="left"):
    """A tokenizer like GPT-2's: one token begins, ends and pads."""
    model.tokenizer = types.SimpleNamespace(
        pad_token_id=V - 1, bos_token_id=V - 1, eos_token_id=V - 1, padding_side=side
    )
    model.cfg.default_prepend_bos = False
    return model


@pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has no HookedTransformer")
class TestHooked:
    @every_call
    @pytest.mark.usefixtures("untyped")
    def test_positions_that_the_host_shifts_are_refused(self, call):
        batch = tokens(8) % (V - 2) + 1
        batch[5:, 0] = V - 1  # the host takes it for padding, and counts from the next token
        model = pad_with(build("hooked:gpt2"))
        with pytest.raises(tl_entk.UserError, match=r"example 5 .*padding_side = 'right'"):
            call(model, batch, "pos_embed.W_pos")
        # what the message advises
        call(pad_with(model, "right"), batch, "pos_embed.W_pos")

    def test_other_weights_of_shifted_windows_are_those_of_the_function(self):
        batch = tokens(4) % (V - 2) + 1
        batch[2:, 0] = V - 1
        model = pad_with(build("hooked:gpt2"))
        dense = jacobians(model, batch, lambda z: z.mean(1))
        blocks = tl_entk.kernel_blocks(model, batch, components=["blocks.0.*", "embed.W_E"])
        for name in dense.keys() & blocks.keys():
            K = kernel(dense[name])
            assert relative_error(blocks[name], K, 1.0) < 1e-9, name

    @pytest.mark.parametrize(
        ("hook", "weight"),
        [
            ("blocks.0.attn.hook_q", "blocks.0.attn.W_Q"),
            ("blocks.0.attn.hook_v", "blocks.0.attn.b_V"),
            ("blocks.0.mlp.hook_pre", "blocks.0.mlp.W_in"),
            ("blocks.0.mlp.hook_pre", "blocks.0.mlp.b_in"),
            ("blocks.0.mlp.hook_post", "blocks.0.mlp.W_out"),
            ("unembed.hook_out", "unembed.W_U"),
        ],
    )
    def test_a_module_in_a_hook_points_place(self, hook, weight):
        """As SAELens' add_sae puts them: what they make of the value is part of the function."""
        model, batch = build("hooked:gpt2"), tokens()
        owner, _, last = hook.rpartition(".")
        setattr(model.get_submodule(owner), last, Gate())
        dense = jacobians(model, batch, lambda z: z.mean(1))[weight]
        block = tl_entk.kernel_blocks(model, batch, components=weight)[weight]
        assert relative_error(block, kernel(dense)) < 1e-9
        op = tl_entk.kernel_operator(model, batch, weight, readout="mean_logit")
        assert relative_error(op.to_dense(), kernel(dense)) < 1e-9

    def test_a_module_in_a_gated_mlps_place(self):
        model, batch = build("hooked:llama"), tokens()
        model.blocks[0].mlp.hook_pre = Gate()
        model.blocks[0].mlp.hook_post = Gate()
        dense = jacobians(model, batch, lambda z: z.mean(1))
        blocks = tl_entk.kernel_blocks(model, batch, components="blocks.0.mlp.*")
        for name in blocks:
            assert relative_error(blocks[name], kernel(dense[name])) < 1e-9, name


class Gate(nn.Module):
    """Reconstructs what passes, badly."""

    def forward(self, x):
        return 0.7 * x * torch.sigmoid(3 * x)


@pytest.mark.parametrize("place", ["blocks.0.ln1.hook_out", "blocks.0.mlp.out.hook_out"])
def test_a_module_in_a_bridges_hook_points_place(model, place):
    batch = tokens()
    owner, _, last = place.rpartition(".")
    setattr(model.get_submodule(owner), last, Gate())
    dense = jacobians(model, batch, lambda z: z.mean(1))
    for name in ("blocks.0.ln1.w", "blocks.0.mlp.W_out"):
        block = tl_entk.kernel_blocks(model, batch, components=name)[name]
        assert relative_error(block, kernel(dense[name])) < 1e-9


class Flagged(nn.Module):
    """Uses its weight once more while a flag is set."""

    def __init__(self, first=0, shared=False):
        super().__init__()
        self.layer = nn.Linear(C, C)
        self.first, self.shared = first, shared

    def forward(self, x):
        y = torch.tanh(self.layer(x))
        if not self.shared:
            return y
        more = torch.zeros_like(y)
        more[self.first :] = y[self.first :] @ self.layer.weight
        return y + more


def test_a_use_that_begins_later_is_found():
    model, x = Flagged(), torch.randn(9, C)
    tl_entk.kernel_blocks(model, x)
    model.shared = True
    with pytest.raises(tl_entk.UserError, match=r"layer\.weight is also used"):
        tl_entk.kernel_blocks(model, x)


@pytest.mark.parametrize("first", [5, 8])
@pytest.mark.parametrize("call", [tl_entk.kernel_blocks, tl_entk.jacobian])
def test_a_use_in_some_rows_is_found(call, first):
    with pytest.raises(tl_entk.UserError, match=r"layer\.weight is also used"):
        call(Flagged(first, shared=True), torch.randn(9, C))


def test_the_check_leaves_gradients_and_flags_alone():
    model = Flagged()
    model.layer.weight.grad = torch.ones(C, C)
    model.layer.bias.requires_grad_(False)
    fired = []
    model.layer.weight.register_post_accumulate_grad_hook(fired.append)
    tl_entk.kernel_blocks(model, torch.randn(9, C))
    assert torch.equal(model.layer.weight.grad, torch.ones(C, C))
    assert model.layer.bias.grad is None
    assert not model.layer.bias.requires_grad
    assert not fired  # an optimizer that steps in the backward pass hangs there


def test_bridges_hold_what_the_check_needs(model):
    """Every weight's layout is known: the check covers all of them."""
    assert {site.kind for site in adapt(model).sites} == {
        "linear", "embedding", "position", "scale", "bias"
    }  # fmt: skip
