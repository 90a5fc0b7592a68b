"""What people write in modules of their own: changes in place, checkpoints, constant rows."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import tl_entk
from tests.model.test_own_module import plain_jacobian

N, C = 6, 5


class InPlace(nn.Module):
    """Changes a layer's output in place, in a way of its own."""

    def __init__(self, change):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(C, 7), nn.Linear(7, 7), nn.Linear(7, C)
        self.change = change

    def forward(self, x):
        h = self.change(self.first(x))
        return self.last(h + self.change(self.second(h)))


def add(h):
    h += h.detach() ** 2
    return h


def scale(h):
    return h.mul_(1.5).tanh_()


@pytest.mark.parametrize("change", [nn.ReLU(inplace=True), add, scale], ids=["relu", "add", "mul"])
def test_changes_in_place(change):
    torch.manual_seed(0)
    model, x = InPlace(change).double(), torch.randn(N, C, dtype=torch.float64)
    blocks = tl_entk.kernel_blocks(model, x, "class_trace")
    J = tl_entk.jacobian(model, x)
    for name, dense in plain_jacobian(model, x).items():
        K = torch.einsum("ncp,mcp->nm", dense, dense) / C
        assert torch.allclose(blocks[name], K, rtol=1e-9), name
        assert torch.allclose(J.block(name, slice(0, N)), dense), name


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(C, 7), nn.Tanh(), nn.Linear(7, C))
        self.reentrant = reentrant

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_checkpoints_are_refused_by_name(reentrant):
    for call in (tl_entk.kernel_blocks, tl_entk.jacobian):
        with pytest.raises(tl_entk.UserError, match=r"torch\.utils\.checkpoint.*no number"):
            call(Checkpointed(reentrant), torch.randn(N, C))


class Constant(nn.Module):
    """Adds what a layer makes of rows that are the same for all examples."""

    def __init__(self, rows, expand=False):
        super().__init__()
        self.layer, self.other = nn.Linear(C, C), nn.Linear(C, C)
        self.register_buffer("rows", rows)
        self.expand = expand

    def forward(self, x):
        rows = self.rows.expand(len(x), -1) if self.expand else self.rows
        more = self.other(rows)
        return torch.tanh(self.layer(x)) * (more if more.ndim < 2 or self.expand else more.sum(0))


@pytest.mark.parametrize("shape", [(1, C), (C,), (4, C), (N, C), (3, C)])
@pytest.mark.usefixtures("untyped")
def test_layers_of_constant_rows_are_refused(shape):
    """(N, C) has as many rows as there are examples, which are others' all the same."""
    for call in (tl_entk.kernel_blocks, tl_entk.jacobian):
        with pytest.raises(tl_entk.UserError, match=r"other\.weight .*first axis is not"):
            call(Constant(torch.randn(shape)), torch.randn(N, C))


def test_a_row_for_each_example_is_what_the_message_advises():
    torch.manual_seed(0)
    model = Constant(torch.randn(1, C), expand=True).double()
    x = torch.randn(N, C, dtype=torch.float64)
    blocks = tl_entk.kernel_blocks(model, x, "class_trace")
    for name, dense in plain_jacobian(model, x).items():
        K = torch.einsum("ncp,mcp->nm", dense, dense) / C
        assert torch.allclose(blocks[name], K), name


class Noisy(nn.Module):
    def __init__(self, noise):
        super().__init__()
        self.layer, self.noise = nn.Linear(C, C), noise

    def forward(self, x):
        return self.noise(self.layer(x))


@pytest.mark.parametrize(
    "noise",
    [
        lambda y: nn.functional.dropout(y, 0.5, training=True),
        lambda y: y + 0.1 * torch.randn_like(y),
        lambda y: y * torch.randint(1, 3, (len(y), 1)),
    ],
)
def test_modules_that_are_not_deterministic_are_refused(noise):
    with pytest.raises(tl_entk.UserError, match="not deterministic"):
        tl_entk.kernel_blocks(Noisy(noise), torch.randn(N, C))
