"""An operator made before its model changed is refused, whichever way that was done."""

import pytest
import torch

import tl_entk
from tests.models import build, tokens
from tl_entk import kernel_operator
from tl_entk.model.adapters import adapt


def change_in_place(model, weight):
    with torch.no_grad():
        weight.mul_(2)


def write_past_autograd(model, weight):
    weight.data.copy_(2 * weight.data)


def give_other_data(model, weight):
    weight.data = 2 * weight.data


def load_others(model, weight):
    changed = {name: 2 * value for name, value in model.state_dict().items()}
    model.load_state_dict(changed, strict=False, assign=True)


def replace_it(model, weight):
    for module in torch.nn.Module.modules(model):
        for name, parameter in module._parameters.items():
            if parameter is weight:
                setattr(module, name, torch.nn.Parameter(2 * weight.detach()))


def add_a_hook(model, weight):
    model.add_hook("blocks.1.attn.hook_z", lambda value, hook: value * 0.5)


def turn_dropout_on(model, weight):
    model.train()


CHANGES = [
    change_in_place,
    write_past_autograd,
    give_other_data,
    load_others,
    replace_it,
    add_a_hook,
    turn_dropout_on,
]


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_has_changed_is_refused_every_way(change, prepared):
    model = build("native:layer_norm")
    op = kernel_operator(model, tokens(), "blocks.0.mlp.W_in")
    x = torch.ones(op.shape[0], dtype=op.dtype)
    if prepared:
        _ = op @ x
    change(model, adapt(model).by_name["blocks.1.mlp.W_out"].parameter)
    with pytest.raises(tl_entk.UserError, match=r"the model has changed since .*: make a new one"):
        op @ x
    # a new one is of the model as it is
    if change is not turn_dropout_on:
        _ = kernel_operator(model, tokens(), "blocks.0.mlp.W_in") @ x


def test_a_model_that_has_not_changed_goes_on(model):
    op = kernel_operator(model, tokens(), "blocks.0.mlp.W_in")
    x = torch.ones(op.shape[0], dtype=op.dtype)
    first = op @ x
    with torch.no_grad():
        model(tokens())
    model.run_with_cache(tokens())
    kernel_operator(model, tokens(), "blocks.*").to_dense()
    tl_entk.kernel_blocks(model, tokens(), "logsumexp")
    assert torch.equal(op @ x, first)
