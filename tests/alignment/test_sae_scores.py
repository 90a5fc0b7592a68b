"""Latents of a sparse autoencoder as a basis, against what its own encode gives by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import tl_entk
from feature_sets import FeatureSet, UserError
from tests.models import HAS_HOOKED, T, V, build
from tests.sparse_autoencoder import Autoencoder, pairs

N = 40
RESIDUAL, HEADS = "blocks.0.hook_resid_post", "blocks.1.attn.hook_z"
MODELS = ["native:layer_norm"] + ["hooked:gpt2"] * HAS_HOOKED


def windows():
    return torch.randint(0, V, (N, T), generator=torch.Generator().manual_seed(0))


def cached(model, hook):
    with torch.no_grad():
        return model.run_with_cache(windows())[1][hook]


def trained(model, hook=RESIDUAL, position=-1, **cfg):
    return pairs(hook, cached(model, hook)[:, position].flatten(1).float(), **cfg)


@pytest.mark.parametrize("hook", [RESIDUAL, HEADS])
@pytest.mark.parametrize("name", MODELS)
def test_scores_are_what_the_autoencoder_encodes_of_the_cache(name, hook):
    model = build(name)
    sae = trained(model, hook, position=2)
    found = tl_entk.sae_scores(model, windows(), sae, position=2)
    with torch.no_grad():
        codes = sae.encode(cached(model, hook)[:, 2].float()).double()
    alive = codes.max(0).values > codes.min(0).values
    assert sorted(found.latents.tolist()) == alive.nonzero()[:, 0].tolist()
    torch.testing.assert_close(found.scores, codes[:, found.latents], atol=1e-5, rtol=1e-5)
    assert found.width == sae.cfg.d_sae == len(alive)
    assert found.hook == hook
    assert found.columns == [f"latent {latent}" for latent in found.latents]
    assert found.active == pytest.approx(float((codes > 0).sum(1).double().mean()), abs=0.05)
    # both signs of every axis are there
    assert found.explained == pytest.approx(1, abs=1e-5)


def test_each_window_may_be_read_elsewhere_in_batches_of_any_size(model):
    positions = torch.arange(N) % T
    sae = trained(model)
    found = tl_entk.sae_scores(model, windows(), sae, positions, batch_size=7)
    codes = sae.encode(cached(model, RESIDUAL)[torch.arange(N), positions].float()).double()
    torch.testing.assert_close(found.scores, codes[:, found.latents], atol=1e-5, rtol=1e-5)


def test_latents_stand_in_the_order_of_what_they_add_to_the_reconstruction(model):
    sae = trained(model)
    with torch.no_grad():  # a latent's code and its vector may share their scale in any way
        sae.W_dec *= torch.linspace(0.2, 3, sae.cfg.d_sae)[:, None]
        codes = sae.encode(cached(model, RESIDUAL)[:, -1].float()).double()
        parts = [codes[:, [j]] * sae.W_dec[j].double() for j in range(sae.cfg.d_sae)]
        # the autoencoder of a decoder this long reconstructs badly, and sae_scores says so
        with pytest.warns(UserWarning, match="worse than its mean does"):
            found = tl_entk.sae_scores(model, windows(), sae)
    added = torch.stack([(part - part.mean(0)).square().sum(1).mean() for part in parts])
    torch.testing.assert_close(found.contributions, added[found.latents], atol=1e-5, rtol=1e-4)
    assert (found.contributions.diff() <= 0).all()
    frame = found.to_pandas()
    assert frame.latent.tolist() == found.latents.tolist()
    assert frame.active[0] == pytest.approx(float((codes[:, found.latents[0]] > 0).double().mean()))
    assert repr(found).startswith(f"SaeScores: {len(found.latents)} of {sae.cfg.d_sae} latents")


def test_where_decode_divides_by_its_vectors_norms_they_do_not_count(model):
    plain = tl_entk.sae_scores(model, windows(), trained(model))
    sae = trained(model, rescale_acts_by_decoder_norm=True)
    with torch.no_grad():
        vectors = sae.W_dec.clone()
        sae.W_dec *= torch.linspace(0.2, 3, sae.cfg.d_sae)[:, None]
    sae.encode = lambda x: (x.float() @ vectors.T).relu()
    sae.decode = lambda z: z @ vectors
    found = tl_entk.sae_scores(model, windows(), sae)
    torch.testing.assert_close(found.contributions, plain.contributions, atol=1e-5, rtol=1e-5)


def test_one_head_and_an_older_configuration_are_read(model):
    states = cached(model, HEADS)[:, -1, 2].float()
    sae = pairs(HEADS, states, head=2)
    sae.cfg = SimpleNamespace(d_in=sae.cfg.d_in, hook_name=HEADS, hook_head_index=2)  # SAELens 5
    found = tl_entk.sae_scores(model, windows(), sae)
    torch.testing.assert_close(
        found.scores, sae.encode(states).double()[:, found.latents], atol=1e-5, rtol=1e-5
    )


def test_sparse_and_half_precision_codes_are_scores_too(model):
    sae = trained(model)
    plain = tl_entk.sae_scores(model, windows(), sae)
    encode = sae.encode
    sae.encode = lambda x: encode(x).to_sparse()
    sae.decode = lambda z: z.to_dense() @ sae.W_dec
    torch.testing.assert_close(tl_entk.sae_scores(model, windows(), sae).scores, plain.scores)
    half = trained(model).to(torch.bfloat16)
    found = tl_entk.sae_scores(model, windows(), half)
    assert found.scores.dtype == torch.float64
    assert found.latents[0] == plain.latents[0]


def test_what_the_autoencoder_keeps_of_its_inputs_is_there_when_it_decodes(model):
    """As SAELens keeps the mean and the norm that it takes out of them."""
    sae, kept = trained(model), {}
    encode, decode = sae.encode, sae.decode

    def encode_scaled(x):
        kept["norm"] = x.norm(dim=-1, keepdim=True)
        return encode(x / kept["norm"])

    sae.encode = encode_scaled
    sae.decode = lambda codes: decode(codes) * kept["norm"]
    assert tl_entk.sae_scores(model, windows(), sae).explained == pytest.approx(1, abs=1e-5)


def test_what_the_reconstruction_explains_is_counted_from_the_mean(model):
    sae, states = trained(model), cached(model, RESIDUAL)[:, -1]
    with torch.no_grad():
        sae.W_dec *= 0.95  # what it decodes is too short
        left = (states - sae.decode(sae.encode(states.float()))).square().sum()
    expected = 1 - float(left / (states - states.mean(0)).square().sum())
    assert 0 < expected < 0.99
    found = tl_entk.sae_scores(model, windows(), sae)
    assert found.explained == pytest.approx(expected, abs=1e-5)


def features():
    tokens = windows()
    values = np.stack([tokens[:, -1] < 4, tokens[:, -2] < 5], 1)
    return FeatureSet(values, ("last", "before"), ("token", "token"), ("last", "before"))


def test_compare_takes_the_leading_latents_at_the_budget_and_all_of_them_beside(model):
    activations = cached(model, RESIDUAL)[:, -1]
    eigen = tl_entk.random_directions(N, 3, seed=1)
    sae = tl_entk.sae_scores(model, windows(), trained(model))
    options = dict(n_bootstrap=20, probe="ridge")
    table = tl_entk.compare(eigen, features(), activations, baselines={"SAE": sae}, **options)
    assert table.bases[3] == "SAE"
    assert table.bases[-1] == "SAE, all latents"
    columns = table.provenance["columns"]
    assert (columns["SAE"], columns["SAE, all latents"]) == (3, len(sae.latents))
    by_hand = tl_entk.probe_bases(
        {"k": sae.scores[:, :3], "all": sae.scores}, features(), **options
    )
    assert table.macro("SAE") == by_hand.macro("k")
    assert table.macro("SAE, all latents") == by_hand.macro("all")
    # not their principal components, as of states
    as_states = tl_entk.compare(
        eigen, features(), activations, baselines={"SAE": sae.scores}, **options
    )
    assert as_states.macro("SAE") != table.macro("SAE")
    taken = {"SAE": sae, "SAE, all latents": activations}
    with pytest.raises(UserError, match="'SAE, all latents' has the name of another"):
        tl_entk.compare(eigen, features(), activations, baselines=taken, **options)


def test_the_best_latent_is_named_by_its_number(model):
    sae = tl_entk.sae_scores(model, windows(), trained(model))
    table = tl_entk.best_directions(
        sae.scores, features(), columns=sae.columns, n_bootstrap=20, n_permutations=0
    )
    row = table.rows[0]
    assert row.column == f"latent {sae.latents[row.direction]}"


def refuse(model, sae, words):
    with pytest.raises(UserError, match=words):
        tl_entk.sae_scores(model, windows(), sae)


@pytest.mark.usefixtures("untyped")
def test_what_is_no_autoencoder_of_this_model_is_refused(model):
    refuse(model, None, r"sae is a NoneType without encode, .*load_from_disk")
    refuse(model, (trained(model), {}, None), "sae is a tuple .*the first of it")
    refuse(model, Autoencoder("blocks.0.hook_rezid", 12), "no hook 'blocks.0.hook_rezid'")
    refuse(model, Autoencoder("blocks.7.hook_resid_post", 12), "like it: .'blocks.0.hook_resid_po")
    refuse(model, Autoencoder(RESIDUAL, 13), f"width 13, and '{RESIDUAL}' has width 12")
    refuse(model, Autoencoder(RESIDUAL, 6), f"width 6, and '{RESIDUAL}' has width 12")
    refuse(model, Autoencoder(HEADS, 4, head=4), f"width 4 of head 4, and '{HEADS}' has width 16")
    nameless = trained(model)
    nameless.cfg.metadata.hook_name = None
    refuse(model, nameless, "set sae.cfg.metadata.hook_name, for example")
    refuse(model, trained(model, d_out=12), "this is a transcoder")
    refuse(model, trained(model, architecture="skip_transcoder"), "this is a transcoder")
    refuse(model, trained(model, architecture=lambda: "temporal"), "reads whole sequences")
    for scaling, fix in (
        ("expected_average_only_in", "fold_activation_norm_scaling_factor"),
        ("covariance_whitening", "fold_activation_whitening"),
    ):
        refuse(model, trained(model, normalize_activations=scaling), rf"'{scaling}'.*sae\.{fix}")
    mlp = torch.nn.Sequential(torch.nn.Linear(3, 3))
    refuse(mlp, trained(model), "encode its activations yourself")


def test_codes_that_are_no_basis_are_refused(model):
    sae = trained(model)
    encode = sae.encode
    sae.encode = lambda x: encode(x) * torch.nan
    refuse(model, sae, "codes are not finite: load it in a wider format")
    sae.encode = lambda x: torch.ones(len(x), sae.cfg.d_sae)
    refuse(model, sae, "no latent of the autoencoder differs")
    sae.encode = lambda x: encode(x) / encode(x).max()
    refuse(model, sae, "depends on the others in the batch, as BatchTopK's do")
