"""What holds of every kernel and operator, for models, inputs and readouts drawn by hypothesis."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import tl_entk
from tests.models import V, build

MODEL = build("native:layer_norm")
NAMES = [
    "embed.W_E",
    "blocks.0.attn.W_Q",
    "blocks.0.attn.W_V[1]",
    "blocks.1.mlp.W_out",
    "ln_final.w",
]

few = settings(max_examples=3, deadline=None, derandomize=True)
readouts = st.sampled_from(
    ["mean_logit", "logsumexp", "target_logprob", "top_logits", ("class", 2)]
)
windows = (
    st.integers(2, 5)
    .flatmap(
        lambda n: st.lists(
            st.lists(st.integers(1, V - 1), min_size=3, max_size=3), min_size=n, max_size=n
        )
    )
    .map(torch.tensor)
)
components = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)


def close(found, expected):
    size = float(expected.abs().max())
    return torch.allclose(found, expected, rtol=1e-9, atol=1e-10 * size + 1e-300)


@few
@given(windows, readouts, components)
def test_kernels_are_symmetric_and_positive(batch, readout, names):
    blocks = tl_entk.kernel_blocks(MODEL, batch, readout, names)
    for block in blocks.values():
        assert torch.equal(block, block.T)
        values = torch.linalg.eigvalsh(block)
        assert values[0] >= -1e-10 * float(values[-1].abs())


@few
@given(windows, readouts, components)
def test_a_partition_adds_up(batch, readout, names):
    together = tl_entk.kernel_blocks(MODEL, batch, readout, names)
    apart = [tl_entk.kernel_blocks(MODEL, batch, readout, name)[name] for name in names]
    assert close(together.total(), sum(apart))
    heads = tl_entk.kernel_blocks(MODEL, batch, readout, "blocks.0.attn.W_Q[*]")
    assert close(
        heads.total(), tl_entk.kernel_blocks(MODEL, batch, readout, "blocks.0.attn.W_Q").total()
    )


@few
@given(windows, st.floats(-8, 8).filter(lambda c: abs(c) > 1e-3), components)
def test_a_readout_times_c_is_a_kernel_times_c_squared(batch, c, names):
    plain = tl_entk.Readout(lambda z: z[:, :3].tanh())
    times = tl_entk.Readout(lambda z: c * z[:, :3].tanh())
    K = tl_entk.kernel_blocks(MODEL, batch, plain, names).total()
    assert close(tl_entk.kernel_blocks(MODEL, batch, times, names).total(), c**2 * K)
    op, scaled = (
        tl_entk.kernel_operator(MODEL, batch, names, readout=readout).to_dense()
        for readout in (plain, times)
    )
    assert close(scaled, c**2 * op)


@few
@given(windows, readouts, components, st.randoms(use_true_random=False))
def test_the_order_of_the_examples_does_not_matter(batch, readout, names, random):
    order = list(range(len(batch)))
    random.shuffle(order)
    K = tl_entk.kernel_blocks(MODEL, batch, readout, names).total()
    moved = tl_entk.kernel_blocks(MODEL, batch[order], readout, names).total()
    assert close(moved, K[order][:, order])


@few
@given(windows, readouts, components)
def test_the_operator_is_the_flattened_kernel(batch, readout, names):
    op = tl_entk.kernel_operator(MODEL, batch, names, readout=readout)
    dense = op.to_dense()
    assert close(dense, dense.T)
    K = tl_entk.kernel_blocks(MODEL, batch, readout, names).total()
    # the trace over an example's outputs
    by_output = dense.reshape(op.n, op.d, op.n, op.d)
    assert close(torch.einsum("nrmr->nm", by_output), K)


@few
@given(windows, readouts, components, st.integers(1, 3))
def test_numbers_do_not_depend_on_the_chunks(batch, readout, names, chunk):
    from dataclasses import replace

    op = tl_entk.kernel_operator(MODEL, batch, names, readout=readout)
    other = tl_entk.kernel_operator(MODEL, batch, names, readout=readout)
    network = other.network
    network.plan = replace(network.plan, chunk=chunk, kept=0, cached=False)
    assert close(other.to_dense(), op.to_dense())


@few
@given(windows, readouts)
def test_rows_that_repeat_have_rows_that_repeat(batch, readout):
    twice = torch.cat([batch, batch[:1]])
    K = tl_entk.kernel_blocks(MODEL, twice, readout, NAMES).total()
    assert close(K[-1], K[0])
    assert close(K[:-1, :-1], tl_entk.kernel_blocks(MODEL, batch, readout, NAMES).total())


@pytest.mark.usefixtures("untyped")
def test_one_example_is_refused():
    for call in (tl_entk.kernel_blocks, tl_entk.jacobian):
        with pytest.raises(tl_entk.UserError, match="at least two rows"):
            call(MODEL, torch.ones(1, 3, dtype=torch.long))
        with pytest.raises(tl_entk.UserError, match="at least two rows"):
            call(nn.Linear(3, 2), torch.ones(1, 3))


@few
@given(st.integers(2, 7), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_the_kernel_of_a_linear_layer(n, d, c, seed):
    """K = x . x' for every output, whatever the sizes; of the bias it is 1."""
    x = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    blocks = tl_entk.kernel_blocks(nn.Linear(d, c).double(), x, "class_trace")
    assert close(blocks["weight"], x @ x.T)
    assert close(blocks["bias"], torch.ones(n, n, dtype=torch.float64))
