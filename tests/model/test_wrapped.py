"""Compiled and data-parallel models are the models within; gradients may be switched off."""

import pytest
import torch
from torch import nn

import tl_entk
from tests.model.test_whole_gradient import CALLS
from tests.models import tokens

NAME = "blocks.0.mlp.W_in"


def compiled(model):
    return torch.compile(model, backend="eager")


def compiled_in_place(model):
    nn.Module.compile(model, backend="eager")
    return model


def data_parallel(model):
    return nn.DataParallel(model)


def distributed(model):
    return nn.parallel.DistributedDataParallel(model)


@pytest.fixture
def process_group(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


WRAPPERS = [compiled, compiled_in_place, data_parallel, lambda m: compiled(data_parallel(m))]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_wrapped_models(model, wrap):
    batch = tokens()
    expected = tl_entk.kernel_blocks(model, batch, components="blocks.0.*")
    operator = tl_entk.kernel_operator(model, batch, NAME, readout="logsumexp").to_dense()
    wrapped = wrap(model)
    assert tl_entk.list_components(wrapped) == tl_entk.list_components(model)
    found = tl_entk.kernel_blocks(wrapped, batch, components="blocks.0.*")
    torch.testing.assert_close(found.total(), expected.total())
    again = tl_entk.kernel_operator(wrapped, batch, NAME, readout="logsumexp")
    torch.testing.assert_close(again.to_dense(), operator)


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_wrapped_modules_of_ones_own(wrap):
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(5, 3)
    expected = tl_entk.kernel_blocks(model, x, "class_trace")
    found = tl_entk.kernel_blocks(wrap(model), x, "class_trace")
    assert list(found) == list(expected)
    torch.testing.assert_close(found.total(), expected.total())


@pytest.mark.usefixtures("process_group")
def test_distributed_data_parallel():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(5, 3)
    expected = tl_entk.kernel_blocks(model, x, "class_trace")
    found = tl_entk.kernel_blocks(distributed(model), x, "class_trace")
    torch.testing.assert_close(found.total(), expected.total())


READOUTS = ["logsumexp", "target_logit", "target_logprob", "mean_logit", "final_hidden"]


@pytest.mark.parametrize("readout", READOUTS)
def test_operators_where_gradients_are_switched_off(model, readout):
    """As TransformerLens' own demos do at the top of a notebook."""
    batch = tokens(6)
    expected = tl_entk.kernel_operator(model, batch, NAME, readout=readout).to_dense()
    with torch.no_grad():
        op = tl_entk.kernel_operator(model, batch, NAME, readout=readout)
        assert torch.equal(op.to_dense(), expected)
        eigen = tl_entk.top_eigendirections(model, batch, NAME, 2, readout=readout)
        assert not torch.is_grad_enabled()
    assert eigen.converged.all()


OTHERS = {
    **CALLS,
    "top_eigendirections": lambda m, x, name: tl_entk.top_eigendirections(
        m, x, name, 2, normalization="cosine"
    ),
    "all_eigendirections_of_a_readout": lambda m, x, name: tl_entk.all_eigendirections(
        m, x, [name], k=1, outputs=2, readout="logits"
    ),
    "default_directions": lambda m, x, name: tl_entk.default_directions(m, x, k=2),
    "position_contributions": lambda m, x, name: tl_entk.position_contributions(
        m, x, name, tl_entk.top_eigendirections(m, x, name, 2)
    ),
}


@pytest.mark.parametrize("call", OTHERS.values(), ids=list(OTHERS))
def test_every_call_where_gradients_are_switched_off(call, model):
    with torch.no_grad():
        call(model, tokens(6), NAME)
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize("call", OTHERS.values(), ids=list(OTHERS))
def test_every_call_in_inference_mode_says_so(call, model):
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode"):
        call(model, tokens(6), NAME)


def test_tokens_made_in_inference_mode_are_taken(model):
    with torch.inference_mode():
        batch = tokens(6)
        x = torch.randn(5, 3)
    tl_entk.kernel_blocks(model, batch)
    tl_entk.kernel_operator(model, batch, "embed.W_E").to_dense()
    tl_entk.kernel_blocks(nn.Linear(3, 2), x)


def test_a_model_made_in_inference_mode_is_refused():
    with torch.inference_mode():
        layer = nn.Linear(3, 2)
    with pytest.raises(RuntimeError, match=r"made inside torch\.inference_mode"):
        tl_entk.kernel_blocks(layer, torch.randn(5, 3))
