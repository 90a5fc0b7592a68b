import os

import jaxtyping
import pytest
import torch
from threadpoolctl import threadpool_limits

from tests.models import build


@pytest.fixture(scope="session", autouse=True)
def _few_threads():
    # workers side by side share the cores; torch has as many threads as OMP_NUM_THREADS says
    threads = 1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, torch.get_num_threads())
    torch.set_num_threads(threads)
    threadpool_limits(threads)


@pytest.fixture(autouse=True)
def _products_as_they_were():
    """A command that runs in the tests' process sets what multiplies."""
    mode = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(mode)


@pytest.fixture
def untyped():
    """Users run without shape checks: it is our own messages that they must see."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def model():
    """A small model with LayerNorm and biases that runs on both TransformerLens lines."""
    return build("native:layer_norm")
