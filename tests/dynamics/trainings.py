"""A small training that a Track follows."""

import torch
from torch import nn

from tl_entk import Track, Watch

N = 6
FEATURES = torch.randn(N, 2, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    """A linear map with dropout, whose input stays."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 3, generator=generator))
        self.drop = nn.Dropout(0.5)
        self.register_buffer("x", torch.randn(N, 3, generator=generator))

    def forward(self):
        return self.drop(self.x @ self.weight)


def net_kernels(model):
    """Two plain kernels that depend on the weights."""
    out = model.x @ model.weight
    return {"first": out @ out.T, "second": out.tanh() @ out.tanh().T}


def track_of(kernels=net_kernels, kernel="total", at=range(0, 20, 5), k=4, **options):
    return Track(kernels, {"sum": Watch(kernel, range(1, 3), FEATURES)}, at=at, k=k, **options)


def run(model, track, steps, first=0, seed=0):
    """A training with dropout drawn from the global stream; metrics of the step."""
    torch.manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(first, steps):
        if track is not None:
            track(step, model, lambda step=step: {"step": step})
        loss = model().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model
