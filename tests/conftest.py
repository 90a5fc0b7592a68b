import pytest
import torch

from tests.models import build


@pytest.fixture(scope="session", autouse=True)
def _few_threads():
    torch.set_num_threads(2)


@pytest.fixture
def model():
    """A small model with LayerNorm and biases that runs on both TransformerLens lines."""
    return build("native:layer_norm")
