"""Baselines of a language model against the model's own cache, on either class."""

import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

import tl_entk
from tests.models import HAS_HOOKED, T, V, build
from tl_entk.alignment.model_baselines import baseline_scores
from tl_entk.alignment.names import BASELINES, LAYERED, PREDICTION, PRODUCTS
from tl_entk.model.adapters import adapt_transformer

MODELS = ["native:layer_norm", "hf:gemma3"] + ["hooked:gemma3", "hooked:gpt2"] * HAS_HOOKED
N, K = 40, 5


def windows():
    return torch.randint(0, V, (N, T), generator=torch.Generator().manual_seed(0))


def twin(values, k=K, standardize=False):
    values = values.detach().double().numpy()
    values = StandardScaler().fit_transform(values) if standardize else values
    return torch.from_numpy(PCA(k, svd_solver="full").fit_transform(values))


def assert_same_scores(found, expected):
    """The same but for signs; components of rounding alone may be left out."""
    k = found.shape[1]
    torch.testing.assert_close(found.abs(), expected[:, :k].abs(), atol=1e-6, rtol=1e-6)
    assert expected[:, k:].norm() <= 1e-5 * expected[:, 0].norm()


@pytest.mark.parametrize("name", MODELS)
def test_every_baseline_is_pca_of_what_the_models_cache_has(name):
    model, tokens = build(name), windows()
    found = baseline_scores(model, tokens, K)
    assert list(found) == list(BASELINES)
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens)
        resid = {layer: cache[f"blocks.{layer}.hook_resid_post"] for layer in (0, 1)}
        normed = [model.blocks[1].ln1(resid[0]), model.ln_final(resid[1])]
    for layer in (0, 1):
        at = {name: found[name][str(layer)] for name in LAYERED}
        assert_same_scores(at["PCA"], twin(resid[layer][:, -1]))
        assert_same_scores(at["standardized PCA"], twin(resid[layer][:, -1], standardize=True))
        assert_same_scores(at["normed PCA"], twin(normed[layer][:, -1]))
        attention = cache[f"blocks.{layer}.hook_attn_out"][:, -1]
        assert_same_scores(at["attention output"], twin(attention))
        neurons = cache[f"blocks.{layer}.mlp.hook_post"][:, -1]
        assert_same_scores(at["neurons"], twin(neurons))
        random = tl_entk.random_directions(N, K, seed=layer)
        torch.testing.assert_close(found["random"][str(layer)], random)
    of_prediction = {name: found[name]["all"] for name in PREDICTION}
    W_U = adapt_transformer(model).unembedding
    top = logits[:, -1].argmax(1)
    assert_same_scores(of_prediction["predicted unembedding"], twin(W_U[:, top].T))
    assert_same_scores(of_prediction["final hidden"], twin(normed[1][:, -1]))
    if "gemma" not in name:  # here its logits have a cap, which the baselines leave out
        expected = logits[:, -1].softmax(1) @ W_U.T
        assert_same_scores(of_prediction["expected unembedding"], twin(expected))
        logs = logits[:, -1].log_softmax(1)
        assert_same_scores(of_prediction["log-probabilities"], twin(logs))


@pytest.mark.parametrize("name", MODELS)
def test_a_product_kernel_is_of_pairs_of_state_and_prediction(name):
    model, tokens = build(name), windows()
    found = baseline_scores(model, tokens, K, list(PRODUCTS))
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens)
    predicted = adapt_transformer(model).unembedding[:, logits[:, -1].argmax(1)].T
    for layer in (0, 1):
        for baseline, hook in (
            ("residual x unembedding", "hook_resid_post"),
            ("neurons x unembedding", "mlp.hook_post"),
            ("attention output x unembedding", "hook_attn_out"),
        ):
            states = cache[f"blocks.{layer}.{hook}"][:, -1]
            # the explicit features: outer products of unit vectors
            a, b = (x.detach().double() / x.double().norm(dim=1, keepdim=True)
                    for x in (states, predicted))  # fmt: skip
            left, sizes, _ = torch.linalg.svd(torch.einsum("na,nb->nab", a, b).flatten(1))
            assert_same_scores(found[baseline][str(layer)], (left[:, :K] * sizes[:K]).detach())


def test_numbers_do_not_depend_on_the_batch_or_on_what_else_is_asked():
    model, tokens = build("native:layer_norm"), windows()
    every = baseline_scores(model, tokens, K)
    for name in BASELINES:
        alone = baseline_scores(model, tokens, K, [name], layers=[1], batch_size=7)
        layer = "all" if name in PREDICTION else "1"
        assert list(alone[name]) == [layer]
        assert_same_scores(alone[name][layer], every[name][layer])


def test_each_window_may_be_read_elsewhere():
    model, tokens = build("native:layer_norm"), windows()
    positions = torch.arange(N) % T
    found = baseline_scores(model, tokens, K, ["PCA", "neurons", "normed PCA"], position=positions)
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
        normed = model.blocks[1].ln1(cache["blocks.0.hook_resid_post"])
    rows = torch.arange(N)
    assert_same_scores(found["PCA"]["0"], twin(cache["blocks.0.hook_resid_post"][rows, positions]))
    assert_same_scores(
        found["neurons"]["1"], twin(cache["blocks.1.mlp.hook_post"][rows, positions])
    )
    assert_same_scores(found["normed PCA"]["0"], twin(normed[rows, positions]))


def test_own_baselines_are_reduced_to_the_same_budget(model):
    wide, narrow = torch.randn(N, 9), torch.randn(N, 2)
    own = {"wide": lambda model, tokens: wide, "narrow": lambda model, tokens: {1: narrow}}
    found = baseline_scores(model, windows(), K, ["PCA"], own=own)
    assert_same_scores(found["wide"]["all"], twin(wide))
    torch.testing.assert_close(found["narrow"]["1"], narrow.double())


def test_what_cannot_be_is_refused(model, untyped):
    tokens = windows()
    with pytest.raises(ValueError, match="no baseline 'ICA': there are PCA; standardized PCA"):
        baseline_scores(model, tokens, K, ["ICA"])
    with pytest.raises(ValueError, match="'PCA' has the name of another"):
        baseline_scores(model, tokens, K, own={"PCA": lambda model, tokens: None})
    for given in (torch.ones(3, 2), [1, 2]):
        with pytest.raises(ValueError, match=r"for 40 windows: return a tensor \(40, m\)"):
            baseline_scores(model, tokens, K, [], own={"mine": lambda *_, given=given: given})
    for given, message in (
        ({"early": torch.ones(N, 2)}, "has a layer 'early': give layers as numbers"),
        ({"9": torch.ones(N, 2)}, "has a layer '9'"),
        ({"1": torch.full((N, 2), torch.nan)}, "'mine' gives values that are not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            baseline_scores(model, tokens, K, [], own={"mine": lambda *_, given=given: given})
    for name in ("eNTK, all logits", "all activations"):
        with pytest.raises(ValueError, match="has the name of another"):
            baseline_scores(model, tokens, K, [], own={name: lambda *_: None})
    with pytest.raises(
        ValueError, match=r"blocks\.0\.mlp\.W_out: leave the baseline 'neurons' out"
    ):
        baseline_scores(build("native:attn_only"), tokens, K, ["neurons"])


def test_components_of_rounding_alone_are_left_out(model):
    few = torch.randn(3, 20, dtype=torch.float64)
    repeated = few[torch.arange(N) % 3]
    found = baseline_scores(model, windows(), K, [], own={"three": lambda *_: repeated.float()})
    assert found["three"]["all"].shape == (N, 2)  # three points have two components
    constant = {"one": lambda *_: torch.ones(N, 9)}
    assert (baseline_scores(model, windows(), K, [], own=constant)["one"]["all"] == 0).all()
