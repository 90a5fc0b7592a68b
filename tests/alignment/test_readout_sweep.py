import numpy as np
import pytest
import torch

import tl_entk
from feature_sets import FeatureSet
from tests.models import build, tokens
from tl_entk.alignment.best_directions import LayerDirection
from tl_entk.alignment.names import COMPONENTS, LATER_LAYERS, OF_ALL_LAYERS
from tl_entk.alignment.readout_sweep import (
    Candidate,
    judge_sweep,
    over_layers,
    sweep_directions,
    validation,
)
from tl_entk.alignment.splitting import halves, too_rare
from tl_entk.directions.default_kernel import default_patterns
from tl_entk.kernel.normalizations import NORMALIZATIONS


@pytest.fixture(scope="module")
def swept():
    model, inputs = build("native:layer_norm", torch.float64), tokens(24)
    return model, inputs, sweep_directions(model, inputs, ["logsumexp", "mean_logit"], k=4)


def test_every_combination_is_there(swept):
    model, _, found = swept
    assert len(found) == 2 * len(COMPONENTS) * len(NORMALIZATIONS)
    layers = [str(layer) for layer in range(model.cfg.n_layers)]
    for candidate, by_layer in found.items():
        assert list(by_layer) == (["all"] if candidate.component in OF_ALL_LAYERS else layers)


@pytest.mark.parametrize("component", list(COMPONENTS))
@pytest.mark.parametrize("normalization", list(NORMALIZATIONS))
def test_directions_are_those_of_the_plain_calls(swept, component, normalization):
    model, inputs, found = swept
    blocks = tl_entk.kernel_blocks(model, inputs, "logsumexp", "blocks.*")
    layer = "all" if component in OF_ALL_LAYERS else "1"
    if component == LATER_LAYERS:
        kernels = [blocks[name] for name in default_patterns(model.cfg.n_layers)]
    else:
        kernels = [blocks.sum([one.format(layer=1) for one in COMPONENTS[component]])]
    plain = {
        "plain": lambda k: k,
        "centered": lambda k: h @ k @ h,
        "cosine": lambda k: k / torch.outer(k.diag().sqrt(), k.diag().sqrt()),
    }
    h = torch.eye(24, dtype=torch.float64) - 1 / 24
    for step in normalization.split("+"):
        kernels = [plain[step](kernel) for kernel in kernels]
    expected = torch.linalg.eigvalsh(sum(kernels)).flip(0)[:4]
    got = found[Candidate("logsumexp", component, normalization)][layer]
    torch.testing.assert_close(got.eigenvalues, expected, rtol=1e-8, atol=1e-12)


def test_a_class_trace_is_sampled():
    model, inputs = build("native:layer_norm", torch.float64), tokens(12)
    found = sweep_directions(
        model, inputs, ["class_trace"], components=["W_out"], normalizations=["plain"], k=2
    )
    (layers,) = found.values()
    exact = tl_entk.kernel_blocks(model, inputs, "class_trace", "blocks.1.mlp.W_out").total()
    top = float(torch.linalg.eigvalsh(exact)[-1])
    assert float(layers["1"].eigenvalues[0]) == pytest.approx(top, rel=0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"components": ["W_up"]}, "no component 'W_up'"),
        ({"normalizations": ["scaled"]}, "no normalization 'scaled'"),
        ({"readouts": ["logit"]}, "unknown readout 'logit'"),
    ],
)
def test_names_that_there_are_not(change, message):
    with pytest.raises(ValueError, match=message):
        sweep_directions(build("native:layer_norm"), tokens(8), k=2, **change)


def features_of(n, rng):
    tags = np.repeat(np.eye(2), n // 2, axis=0)
    other = rng.permutation(np.repeat([0, 1], n // 2))
    values = np.column_stack([tags, other])
    return FeatureSet(values, ("A", "B", "x"), ("tag", "tag", "other"), ("A", "B", "x"))


def test_the_planted_candidate_is_ranked_first_and_only_the_train_half_is_seen():
    rng = np.random.default_rng(0)
    features = features_of(80, rng)
    train, test = halves(features)
    seen = features.values + rng.normal(0, 0.3, features.values.shape)
    unseen = rng.normal(size=features.values.shape)
    unseen[test] = features.values[test]
    noise = rng.normal(size=features.values.shape)

    def directions(values):
        scores = torch.from_numpy(values)
        one = torch.ones(3, dtype=torch.float64)
        return {"0": tl_entk.EigenDirections(one, scores, scores, one, one, one > 0)}

    candidates = {
        Candidate("test only", "W_out", "plain"): directions(unseen),
        Candidate("noise", "W_out", "plain"): directions(noise),
        Candidate("planted", "W_out", "plain"): directions(seen),
    }
    rows = judge_sweep(candidates, features)
    assert rows[0].candidate.readout == "planted"
    assert rows[0].validation > 0.9
    assert all(row.validation < 0.75 for row in rows[1:])
    assert rows[0].by_layer == {"0": rows[0].validation}
    assert len(train) == 40


def test_validation_leaves_out_what_is_too_rare_to_be_halved():
    rng = np.random.default_rng(1)
    features = features_of(40, rng)
    rare = np.zeros((40, 1))
    rare[:2] = 1
    more = FeatureSet(
        np.hstack([features.values, rare]),
        (*features.names, "rare"),
        (*features.families, "other"),
        (*features.groups, "rare"),
    )
    scores = torch.from_numpy(rng.normal(size=(40, 5)))
    assert too_rare(more) == ["rare"]
    assert validation(scores, more) == validation(scores, features)


def test_halves_takes_what_too_rare_leaves_whatever_the_strata():
    """Without a label the strata may be others, and so the split, and so what is rare."""
    rng = np.random.default_rng(0)
    changed = 0
    for _ in range(100):
        values = np.column_stack([rng.permutation(np.arange(40) < count) for count in (3, 5, 6)])
        features = FeatureSet(values, ("a", "b", "c"), ("one", "two", "two"), ("a", "b", "c"))
        rare = too_rare(features)
        changed += len(rare) > 0
        if len(rare) < 3:
            halves(features.without(rare))
    assert changed > 10


def test_columns_of_all_layers_are_named():
    columns, places = over_layers({"2": torch.zeros(3, 2), "5": torch.ones(3, 2)})
    assert columns.shape == (3, 4)
    assert places[1:3] == [LayerDirection("2", 1), LayerDirection("5", 0)]
    assert [str(place) for place in places] == [
        "layer 2, direction 0",
        "layer 2, direction 1",
        "layer 5, direction 0",
        "layer 5, direction 1",
    ]
