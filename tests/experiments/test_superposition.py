"""Toy models of superposition: closed form, features, and the paper's figures at its settings."""

import pytest
import torch

import tl_entk
from feature_sets.superposition import sparse_features, superposition
from tl_entk.experiments.records import recall, store
from tl_entk.experiments.superposition.analysis import SuperpositionResult, run_superposition
from tl_entk.experiments.superposition.model import seeded_toy_model, train_toy_model
from tl_entk.experiments.superposition.settings import SuperpositionSettings, paper_regimes

pytestmark = pytest.mark.plain

SMALL = {"features": 6, "examples": 40, "steps": 201}


def closed_form(model, x):
    """K_ij(x, x') of W, and of b, as in the paper: flattened, example-major."""
    W, active = model.W, (model(x) > 0).to(x.dtype)
    products, projected = W.T @ W, x @ W.T
    n, c = x.shape
    kernel = torch.zeros(n, c, n, c, dtype=x.dtype)
    bias = torch.zeros_like(kernel)
    for i in range(c):
        for j in range(c):
            gates = active[:, i, None] * active[:, j]
            terms = products[i, j] * (x @ x.T)
            terms = terms + torch.outer(x[:, j], x @ products[:, i])
            terms = terms + torch.outer(x @ products[:, j], x[:, i])
            if i == j:
                terms = terms + projected @ projected.T
                bias[:, i, :, j] = gates
            kernel[:, i, :, j] = gates * terms
    return kernel.reshape(n * c, n * c), bias.reshape(n * c, n * c)


def test_the_kernel_equals_the_closed_form():
    settings = SuperpositionSettings(m=3, sparsity=0.5, **SMALL)
    trained = train_toy_model(settings)
    model, x = trained.model.double(), trained.x.double()
    with torch.no_grad():
        weight, bias = closed_form(model, x)
    blocks = tl_entk.kernel_blocks(model, x, "logits", ["W", "b"])
    assert (blocks["W"] - weight).abs().max() < 1e-10 * weight.abs().max()
    assert (blocks["b"] - bias).abs().max() < 1e-10
    J = tl_entk.jacobian(model, x, "W").dense()
    assert (J @ J.T - weight).abs().max() < 1e-10 * weight.abs().max()


def test_expanded_features():
    x = torch.rand(5, 3)
    F = superposition(x)
    for feature in range(3):
        others = [c for c in range(3) if c != feature]
        assert not F[:, others, feature].any()
        assert torch.allclose(F[:, feature, feature] * x[:, feature].norm(), x[:, feature])
    flat = F.flatten(0, 1)
    assert torch.allclose(flat.T @ flat, torch.eye(3), atol=1e-6)
    with pytest.raises(ValueError, match="feature 1 is zero"):
        superposition(torch.tensor([[1.0, 0.0]]))


def test_sparse_features():
    x = sparse_features(4000, 20, 0.7, torch.Generator().manual_seed(0))
    assert abs((x > 0).float().mean() - 0.3) < 0.01
    assert torch.allclose(x.norm(dim=1)[x.any(1)], torch.ones(int(x.any(1).sum())))
    with pytest.raises(ValueError, match="below 1"):
        sparse_features(4, 3, 1.0, torch.Generator())


def test_training_is_seeded_and_learns():
    settings = SuperpositionSettings(m=3, sparsity=0.5, **SMALL)
    first, again = train_toy_model(settings), train_toy_model(settings)
    assert torch.equal(first.model.W, again.model.W)
    assert first.loss[-1] < 0.5 * first.loss[0]
    start, x = seeded_toy_model(settings)
    assert torch.equal(x, first.x)
    assert not torch.equal(start.W, first.model.W)


def test_result_is_stored_and_recalled(tmp_path):
    settings = SuperpositionSettings(m=3, sparsity=0.5, **SMALL)
    result = run_superposition(settings, (0.5,))  # 0 comes by itself
    store(result, tmp_path / "result")
    again = recall(SuperpositionResult, tmp_path / "result")
    assert again.settings == settings.as_dict()
    assert list(again.eigenvalues) == ["0", "0.5"]
    assert torch.equal(again.alignments["0.5"], result.alignments["0.5"])
    assert again.fits == result.fits
    names = {"before training", "trained"}
    assert {row["model"] for row in again.fits} == names | {f"{n}, by importance" for n in names}
    with pytest.raises(ValueError, match="delete it"):
        recall(tl_entk.Peak, tmp_path / "result")
    with pytest.raises(FileNotFoundError):
        recall(SuperpositionResult, tmp_path / "nothing")


def test_beta_rescales_the_rows():
    """With beta = 1 the spectrum is that of the rows times sqrt(I)."""
    settings = SuperpositionSettings(m=3, sparsity=0.5, **SMALL)
    trained = train_toy_model(settings)
    result = run_superposition(settings, (1.0,), fits=False)
    K = tl_entk.kernel_blocks(trained.model.double(), trained.x.double(), "logits", ["W", "b"])
    root = (0.8 ** torch.arange(6.0, dtype=torch.float64)).sqrt().repeat(40)
    expected = torch.linalg.eigvalsh(K.total() * root[:, None] * root).flip(0)
    found = result.eigenvalues["1"]
    assert torch.allclose(found, expected[: len(found)], atol=1e-10 * float(expected[0]))


# the figures that the paper (and an independent rewrite of it) gives
EXPECTED = {
    (10, 0.3): (50, 10, 48, 0.96),
    (10, 0.9): (50, 20, 40, 0.90),
    (40, 0.9): (50, 43, 36, 0.88),
}


@pytest.mark.parametrize("settings", paper_regimes(), ids=lambda s: s.name)
def test_the_paper_s_regimes(settings):
    result = run_superposition(settings, (0.0, 0.3), fits=False)
    last, represented, distinct, mean = EXPECTED[settings.m, settings.sparsity]
    assert result.cliff().position == last
    assert abs(result.represented - represented) <= 1
    picked = result.picked("0.3")
    assert picked[0] >= distinct
    assert picked[1] >= mean


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SuperpositionSettings(m=1), "count from 2"),
        (lambda: SuperpositionSettings(sparsity=1.0), "below 1"),
        (lambda: SuperpositionSettings(decay=0.0), "above 0"),
        (lambda: SuperpositionSettings(seed=-1), "from 0 on"),
        (lambda: run_superposition(SuperpositionSettings(), ()), "one or more"),
        (lambda: run_superposition(SuperpositionSettings(), (1.5,)), "from 0 to 1"),
    ],
)
def test_bad_settings(call, message):
    with pytest.raises(ValueError, match=message):
        call()
