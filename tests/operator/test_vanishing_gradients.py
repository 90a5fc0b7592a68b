"""Operators of windows that are predicted with certainty, where a gradient's digits cancel."""

import pytest
import torch

import tl_entk
from tests.models import build, tokens
from tests.oracle import jacobians, kernel, relative_error

NAME = "blocks.0.mlp.W_in"


def certain(dtype=torch.float32, size=40.0):
    """A model that predicts the first windows with a probability of nearly 1."""
    model = build("native:layer_norm", dtype)
    with torch.no_grad():
        model.unembed._original_component.weight.mul_(size)
    return model


@pytest.mark.parametrize("size", [12.0, 18.0])
def test_log_probabilities_near_zero(size):
    model, batch = certain(size=size), tokens(8)
    probabilities = model(batch)[:, -1].softmax(1).amax(1)
    batch = batch[probabilities.argsort(descending=True)]
    assert probabilities.sort(descending=True).values[1] > 0.99997
    dense = jacobians(certain(torch.float64, size), batch, lambda z: z.log_softmax(1).amax(1))[NAME]
    K = kernel(dense)
    block = tl_entk.kernel_blocks(model, batch, "target_logprob", NAME)[NAME]
    found = tl_entk.kernel_operator(model, batch, NAME, readout="target_logprob").to_dense()
    # entry by entry: those of certain windows are many orders smaller
    scale = (K.diagonal()[:, None] * K.diagonal()).sqrt()
    assert float(((block - K) / scale).abs().max()) < 1e-3
    assert relative_error(found, K) < 1e-4


def test_a_readout_of_ones_own_whose_gradient_cancels():
    model, batch = certain(size=12.0), tokens(8)
    probabilities = model(batch)[:, -1].softmax(1).amax(1)
    batch = batch[probabilities.argsort(descending=True)]
    readout = tl_entk.Readout(lambda z: z.amax(1) - z.logsumexp(1))
    found = tl_entk.kernel_operator(model, batch, NAME, readout=readout).to_dense()
    dense = jacobians(certain(torch.float64, 12.0), batch, lambda z: z.log_softmax(1).amax(1))[NAME]
    assert relative_error(found, kernel(dense)) < 1e-3


def test_derivatives_that_differ_are_said_to(monkeypatch):
    from tl_entk.operator.suffix import Graph, Suffix

    model = build("native:layer_norm", torch.float32)
    for cls in (Graph, Suffix):
        plain = cls.push
        monkeypatch.setattr(cls, "push", lambda *a, _plain=plain: 2 * _plain(*a))
    with pytest.raises(RuntimeError, match=r"differ by 100% of the gradient, in torch.float32"):
        tl_entk.kernel_operator(model, tokens(), NAME)
