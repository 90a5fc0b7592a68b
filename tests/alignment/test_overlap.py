from dataclasses import replace

import numpy as np
import pytest
import torch

import tl_entk
from feature_sets import FeatureSet, fourier
from tests.models import tokens
from tl_entk.alignment.frequencies import kernel_spectrum, key_frequencies
from tl_entk.alignment.overlap import SubspaceOverlap
from tl_entk.directions.basis import orthonormal_basis

P = 7
A, B = np.divmod(np.arange(P * P), P)


def random(n, k, seed=0):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_overlap_is_between_zero_and_the_smaller_dimension():
    features = fourier(A, B, P, families=["a+b"])
    assert tl_entk.subspace_overlap(random(P * P, 4), features).max_overlap == 4
    itself = tl_entk.subspace_overlap(torch.from_numpy(features.values), features)
    assert itself.overlap == pytest.approx(6)
    assert itself.share == pytest.approx(1)
    torch.testing.assert_close(itself.singular_values, torch.ones(6).double())
    other = tl_entk.subspace_overlap(
        torch.from_numpy(features.values), fourier(A, B, P, families=["a-b"])
    )
    assert other.overlap == pytest.approx(0, abs=1e-12)


def test_overlap_does_not_depend_on_the_basis():
    vectors, features = random(30, 3), random(30, 5, 1)
    mixed = tl_entk.subspace_overlap(vectors @ random(3, 3, 2), features @ random(5, 5, 3))
    plain = tl_entk.subspace_overlap(vectors, features)
    assert mixed.overlap == pytest.approx(plain.overlap)


def test_overlap_equals_squared_principal_angles_of_scipy():
    import scipy.linalg

    vectors, features = random(30, 3), random(30, 5, 1)
    angles = scipy.linalg.subspace_angles(vectors.numpy(), (features - features.mean(0)).numpy())
    overlap = tl_entk.subspace_overlap(vectors, features)
    assert overlap.overlap == pytest.approx((np.cos(angles) ** 2).sum())


def test_angles_are_listed_in_degrees():
    cosines = torch.tensor([1 + 1e-12, 0.5, 0.0], dtype=torch.float64)  # rounding may pass 1
    table = SubspaceOverlap(1.25, cosines, 3).to_pandas()
    assert list(table.angle) == [1, 2, 3]
    assert list(table.degrees) == pytest.approx([0, 60, 90])


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_what_is_constant_does_not_depend_on_the_unit(scale):
    vectors, features = random(30, 3), random(30, 2, 1)
    expected = tl_entk.subspace_overlap(vectors, features).overlap
    units = torch.tensor([scale, 1 / scale], dtype=torch.float64)
    assert tl_entk.abs_cosines(vectors, features * units).numpy() == pytest.approx(
        tl_entk.abs_cosines(vectors, features).numpy()
    )
    assert tl_entk.subspace_overlap(vectors, features * scale).overlap == pytest.approx(expected)
    # a tenth is no sum of powers of two: its mean is off by rounding
    constant = torch.stack([features[:, 0], torch.full((30,), 0.1, dtype=torch.float64)], 1)
    with pytest.raises(ValueError, match="feature 1 is constant"):
        tl_entk.abs_cosines(vectors, constant * scale)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("function", [tl_entk.group_projections, tl_entk.purity])
def test_groups_are_of_a_feature_set(function):
    with pytest.raises(ValueError, match="FeatureSet"):
        function(random(30, 3), random(30, 2))


@pytest.mark.parametrize(("k", "f"), [(3, 5), (4, 2), (1, 1)])
def test_overlap_is_the_projection_kernel_of_transformer_lens(k, f):
    host = pytest.importorskip("transformer_lens.tools.analysis.projection_kernel")
    vectors, features = random(30, k), random(30, f, 1)
    theirs = host.projection_kernel(
        host.orthonormal_subspace(vectors), host.orthonormal_subspace(features - features.mean(0))
    )
    ours = tl_entk.subspace_overlap(vectors, features)
    assert ours.overlap == pytest.approx(float(theirs.score))
    assert ours.max_overlap == min(theirs.rank_a, theirs.rank_b)
    torch.testing.assert_close(ours.singular_values, theirs.cosines)


def test_dependent_features_count_once():
    column = random(10, 1)
    assert orthonormal_basis(torch.cat([column, 2 * column], 1)).shape == (10, 1)
    axis = fourier(A, B, P, [2], ["a", "b", "axis sum"])
    assert orthonormal_basis(torch.from_numpy(axis.values)).shape[1] == 4


def test_group_projection_does_not_depend_on_the_phase():
    features = fourier(A, B, P, families=["a", "a+b"])
    for phase in (0.0, 0.4, 2.0):
        wave = torch.from_numpy(np.cos(2 * np.pi * 3 * (A + B) / P + phase))[:, None]
        shares, names = tl_entk.group_projections(wave, features)
        assert shares[0, names.index("a+b k=3")] == pytest.approx(1)
        assert float(shares.sum()) == pytest.approx(1)


def test_abs_cosines_are_numpys_correlations():
    vectors, features = random(20, 2), random(20, 3, 5)
    vectors = vectors - vectors.mean(0)
    expected = np.abs(np.corrcoef(vectors.numpy().T, features.numpy().T)[:2, 2:])
    np.testing.assert_allclose(tl_entk.abs_cosines(vectors, features).numpy(), expected)


@pytest.mark.usefixtures("untyped")
def test_other_examples_are_refused():
    with pytest.raises(ValueError, match="same examples"):
        tl_entk.subspace_overlap(random(5, 1), random(6, 1))
    with pytest.raises(ValueError, match="same examples"):
        kernel_spectrum(torch.eye(5), fourier(A, B, P))


def test_constant_features_are_refused():
    with pytest.raises(ValueError, match="constant"):
        tl_entk.subspace_overlap(random(7, 1), torch.full((7, 1), 0.1))


def test_shares_of_a_partition_add_up_to_one(model):
    blocks = tl_entk.kernel_blocks(model, tokens(20), "class_trace", lambda n: True)
    for direction in (random(20, 1)[:, 0], random(20, 3)):
        shares = tl_entk.component_shares(blocks, direction)
        assert sum(shares[n] for n in blocks.partition()) == pytest.approx(1)
        assert set(shares) == set(blocks)
        layers = tl_entk.layer_shares(shares, blocks.partition())
        assert sum(layers.values()) == pytest.approx(1)
        assert list(layers) == ["embed", "pos_embed", "blocks.0", "blocks.1", "ln_final", "unembed"]
        heads = tl_entk.head_shares(shares)
        assert len(heads) == 8
        slices = sum(v for n, v in shares.items() if n.endswith("]"))
        assert sum(heads.values()) == pytest.approx(slices)


def test_share_of_one_direction_is_its_quotient(model):
    blocks = tl_entk.kernel_blocks(model, tokens(20))
    u = random(20, 1)[:, 0]
    expected = (u @ blocks["embed.W_E"] @ u) / (u @ blocks.total() @ u)
    shares = tl_entk.component_shares(blocks, u)
    assert shares["embed.W_E"] == pytest.approx(float(expected))


def test_grouped_heads_are_listed_apart():
    shares = {f"blocks.0.attn.W_Q[{h}]": 0.1 for h in range(4)}
    shares |= {f"blocks.0.attn.W_K[{h}]": 0.2 for h in range(2)}
    heads = tl_entk.head_shares(shares)
    assert set(heads) == {
        *(f"blocks.0.head[{h}]" for h in range(4)),
        "blocks.0.kv[0]",
        "blocks.0.kv[1]",
    }


@pytest.mark.usefixtures("untyped")
def test_directions_without_energy_are_refused():
    blocks = tl_entk.KernelBlocks({"W": torch.diag(torch.tensor([1.0, 0.0]))})
    with pytest.raises(ValueError, match="energy"):
        tl_entk.component_shares(blocks, torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError, match="entries"):
        tl_entk.component_shares(blocks, torch.ones(3))


def test_key_frequencies_from_a_planted_embedding_and_kernel():
    a = torch.arange(29)
    noise = random(29, 8) * 0.02
    embedding = noise.clone()
    for column, k in enumerate((3, 3, 11)):
        embedding[:, column] += torch.cos(2 * torch.pi * k * a / 29 + column)
    assert sorted(key_frequencies(tl_entk.embedding_spectrum(embedding))) == [3, 11]
    x, y = np.divmod(np.arange(29 * 29), 29)
    features = fourier(x, y, 29, families=["a+b"])
    planted = torch.from_numpy(features.group("a+b k=5").values)
    kernel = planted @ planted.T + 0.01 * torch.eye(841)
    assert key_frequencies(kernel_spectrum(kernel, features)) == [5]
    two = fourier(x, y, 29, frequencies=[11, 5], families=["a", "a+b"])
    assert list(kernel_spectrum(kernel, two)) == [11, 5]
    with pytest.raises(ValueError, match=r"no frequencies: pass those of feature_sets\.fourier"):
        kernel_spectrum(kernel, replace(features, frequencies=()))


def test_parts_of_a_feature_set_keep_their_frequencies():
    features = fourier(A, B, P, families=["a", "a+b"])
    assert features.family("a+b").frequencies == (1, 1, 2, 2, 3, 3)
    assert features.group("a k=2").frequencies == (2, 2)
    assert features.rows(np.arange(20)).frequencies == features.frequencies
    with pytest.raises(ValueError, match="1 frequencies for 12 features"):
        replace(features, frequencies=(1,))


def test_fourier_families():
    features = fourier(A, B, P)
    assert len(features.group_names()) == 9 * 3
    angle = 2 * np.pi * 2 / P
    names = list(features.names)
    column = features.values[:, names.index("sin axis difference k=2")]
    np.testing.assert_allclose(column, np.sin(angle * A) - np.sin(angle * B))
    column = features.values[:, names.index("cos 2(a+b) k=2")]
    np.testing.assert_allclose(column, np.cos(2 * angle * (A + B)))
    np.testing.assert_allclose(features.values.mean(0), 0, atol=1e-12)


def test_fourier_of_an_even_modulus_has_no_empty_sine():
    a, b = np.divmod(np.arange(36), 6)
    names = fourier(a, b, 6, families=["a"]).names
    assert "cos a k=3" in names
    assert "sin a k=3" not in names


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        ({"frequencies": [4]}, "pass 1 to 3"),
        ({"frequencies": [0]}, "pass 1 to 3"),
        ({"families": ["c"]}, "there are"),
    ],
)
def test_fourier_refusals(arguments, fix):
    with pytest.raises(ValueError, match=fix):
        fourier(A, B, P, **arguments)


@pytest.mark.usefixtures("untyped")
def test_feature_set_refusals():
    good = np.array([[0.0, 1.0], [1.0, 0.0]])
    names = ("x", "y")
    with pytest.raises(ValueError, match="constant"):
        FeatureSet(np.ones((2, 2)), names, names, names)
    with pytest.raises(ValueError, match="not finite"):
        FeatureSet(np.array([[0.0, np.nan], [1.0, 0.0]]), names, names, names)
    with pytest.raises(ValueError, match="unique"):
        FeatureSet(good, ("x", "x"), names, names)
    with pytest.raises(ValueError, match="as many"):
        FeatureSet(good, ("x",), names, names)
    with pytest.raises(ValueError, match="no family"):
        FeatureSet(good, names, names, names).family("z")
    with pytest.raises(ValueError, match="no group"):
        FeatureSet(good, names, names, names).group("z")
