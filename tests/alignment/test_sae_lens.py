"""Autoencoders that SAELens trained, saved and loaded, where it is installed: beside
TransformerLens 3.9 (it cannot be imported beside 4.x)."""

import functools

import pytest
import torch

import tl_entk
from feature_sets import UserError
from tests.models import HAS_HOOKED, T, V, build

if not HAS_HOOKED:
    pytest.skip("SAELens needs TransformerLens 3", allow_module_level=True)
sae_lens = pytest.importorskip("sae_lens")

N, D_SAE = 40, 24
RESIDUAL, HEADS = "blocks.0.hook_resid_post", "blocks.1.attn.hook_z"
KINDS = {
    "standard": (
        sae_lens.StandardTrainingSAE,
        sae_lens.StandardTrainingSAEConfig,
        dict(l1_coefficient=0.01),
    ),
    "topk": (sae_lens.TopKTrainingSAE, sae_lens.TopKTrainingSAEConfig, dict(k=4)),
    "batchtopk": (sae_lens.BatchTopKTrainingSAE, sae_lens.BatchTopKTrainingSAEConfig, dict(k=4)),
}


def windows(n=N, seed=0):
    return torch.randint(0, V, (n, T), generator=torch.Generator().manual_seed(seed))


@functools.cache
def cached(hook, n=N, seed=0):
    """At the last position."""
    with torch.no_grad():
        return build("hooked:gpt2").run_with_cache(windows(n, seed))[1][hook][:, -1].float()


def train(kind, hook=RESIDUAL, **cfg):
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.sae import SAEMetadata

    torch.manual_seed(0)
    states = cached(hook, 500, seed=1).flatten(1)
    make, configure, options = KINDS[kind]
    sae = make(
        configure(
            d_in=states.shape[1],
            d_sae=D_SAE,
            metadata=SAEMetadata(hook_name=hook),
            **options,
            **cfg,
        )
    )
    batches = iter(lambda: states[torch.randperm(len(states))[:64]], None)
    settings = SAETrainerConfig(
        total_training_samples=64 * 300,
        train_batch_size_samples=64,
        lr=1e-2,
        lr_end=1e-3,
        n_batches_for_norm_estimate=4,
        logger=LoggingConfig(log_to_wandb=False),
    )
    return sae_lens.SAETrainer(cfg=settings, sae=sae, data_provider=batches).fit()


def reload(sae, folder):
    sae.save_inference_model(str(folder))
    return sae_lens.SAE.load_from_disk(str(folder))


@pytest.mark.parametrize(
    ("kind", "scaling"),
    [("standard", "none"), ("topk", "expected_average_only_in"), ("batchtopk", "layer_norm")],
)
def test_scores_are_what_a_saved_autoencoder_encodes(kind, scaling, tmp_path):
    sae = reload(train(kind, normalize_activations=scaling), tmp_path)
    found = tl_entk.sae_scores(build("hooked:gpt2"), windows(), sae)
    states = cached(RESIDUAL)
    with torch.no_grad():
        codes, decoded = sae.encode(states).double(), sae(states)
    torch.testing.assert_close(found.scores, codes[:, found.latents], atol=1e-5, rtol=1e-4)
    assert found.width == D_SAE
    left = (states - decoded).square().sum() / (states - states.mean(0)).square().sum()
    assert found.explained == pytest.approx(1 - float(left), abs=1e-4)
    assert found.explained > 0.5  # it did train, and its scaling was applied


def test_heads_are_read_as_the_autoencoder_expects_them_and_it_is_left_as_it_was(tmp_path):
    sae = reload(train("standard", HEADS, reshape_activations="hook_z"), tmp_path)
    states = cached(HEADS)
    found = tl_entk.sae_scores(build("hooked:gpt2"), windows(), sae)
    with torch.no_grad():
        codes = sae.encode(states).double()
        assert sae(states).shape == states.shape
    torch.testing.assert_close(found.scores, codes[:, found.latents], atol=1e-5, rtol=1e-4)
    assert found.explained > 0.5


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_autoencoders_that_are_still_trained_are_taken_where_examples_are_apart(tmp_path):
    model = build("hooked:gpt2")
    sae = train("topk")
    sae.activation_fn.use_sparse_activations = True
    found = tl_entk.sae_scores(model, windows(), sae)
    saved = tl_entk.sae_scores(model, windows(), reload(sae, tmp_path))
    assert found.latents.tolist() == saved.latents.tolist()
    torch.testing.assert_close(found.scores, saved.scores, atol=1e-5, rtol=1e-5)
    with pytest.raises(UserError, match="depends on the others in the batch"):
        tl_entk.sae_scores(model, windows(), train("batchtopk"))


def test_what_else_sae_lens_has_is_refused():
    from sae_lens.saes.sae import SAEMetadata

    about = dict(d_in=12, d_sae=D_SAE, metadata=SAEMetadata(hook_name=RESIDUAL))
    cases = {
        "transcoder": sae_lens.Transcoder(
            sae_lens.TranscoderConfig(d_out=12, apply_b_dec_to_input=False, **about)
        ),
        "whole sequences": sae_lens.TemporalSAE(
            sae_lens.TemporalSAEConfig(n_heads=2, bottleneck_factor=2, kval_topk=2, **about)
        ),
        "expected_average_only_in": sae_lens.StandardSAE(
            sae_lens.StandardSAEConfig(normalize_activations="expected_average_only_in", **about)
        ),
        "does not say which hook": sae_lens.StandardSAE(
            sae_lens.StandardSAEConfig(d_in=12, d_sae=D_SAE)
        ),
    }
    for words, sae in cases.items():
        with pytest.raises(UserError, match=words):
            tl_entk.sae_scores(build("hooked:gpt2"), windows(), sae)
