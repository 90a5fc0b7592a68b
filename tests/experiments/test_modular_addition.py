"""Addition modulo p: one definition of pairs, labels and split for both models."""

import pytest
import torch

from tl_entk.experiments.modular_addition import split_additions
from tl_entk.experiments.modular_mlp.model import MLPSettings, seeded_mlp
from tl_entk.experiments.modular_transformer.task import ModularSettings, modular_data
from tl_entk.experiments.settings import check_addition, count_training

pytestmark = pytest.mark.plain


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_mlp_draws_weights_then_split(seed):
    model, data = seeded_mlp(MLPSettings(seed=seed, p=7, n=8))
    generator = torch.Generator().manual_seed(seed)
    assert torch.equal(model.W1.weight, torch.randn(8, 14, generator=generator))
    assert torch.equal(model.W2.weight, torch.randn(7, 8, generator=generator))
    assert torch.equal(data.train, torch.randperm(49, generator=generator)[:34])
    assert torch.equal(data.x[:, :7].argmax(1), data.a)
    assert torch.equal(data.x[:, 7:].argmax(1), data.b)


def test_both_models_have_the_same_pairs():
    tokens, x = modular_data(ModularSettings(p=7)), seeded_mlp(MLPSettings(p=7, n=8))[1]
    for data in (tokens, x):
        pairs = [(a, b, (a + b) % 7) for a in range(7) for b in range(7)]
        columns = (data.a, data.b, data.labels)
        assert list(zip(*(column.tolist() for column in columns), strict=True)) == pairs
        assert sorted([*data.train.tolist(), *data.test.tolist()]) == list(range(49))


def test_a_part_is_never_empty():
    for fraction in (1e-9, 0.5, 1 - 1e-12):
        check_addition(29, fraction)
        data = split_additions(29, fraction, torch.Generator().manual_seed(0))
        assert min(len(data.train), len(data.test)) >= 1
    assert count_training(5, 0.04) == 1
    with pytest.raises(ValueError, match="2 or more of the 25 pairs"):
        check_addition(5, 0.04, least=2)
