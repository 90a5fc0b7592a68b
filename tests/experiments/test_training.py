"""Training: the same numbers whether interrupted or not, for either class."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import tl_entk.experiments.modular_transformer.training as training
from feature_sets.errors import UserError
from tests.models import HAS_HOOKED
from tl_entk.experiments import ModularSettings, build_model, kept_training, modular_data
from tl_entk.experiments.modular_mlp.model import train_mlp
from tl_entk.experiments.modular_mlp.settings import MLPSettings
from tl_entk.experiments.modular_transformer.last_position import LastPosition
from tl_entk.experiments.modular_transformer.model import load_weights, weights_of
from tl_entk.experiments.modular_transformer.task import seeded_start
from tl_entk.experiments.modular_transformer.training import train
from tl_entk.experiments.superposition.model import train_toy_model
from tl_entk.experiments.superposition.settings import SuperpositionSettings
from tl_entk.model.adapters import adapt

SMALL = ModularSettings(p=5, epochs=12, d_mlp=16)
CLASSES = ["bridge", *(["hooked"] if HAS_HOOKED else [])]


@pytest.mark.parametrize("model_class", CLASSES)
def test_weights_go_in_and_out_unchanged(model_class):
    start = seeded_start(SMALL)
    model = build_model(SMALL, model_class, start.weights)
    back = weights_of(model)
    assert set(back) == set(start.weights)
    assert all(torch.equal(back[n], w) for n, w in start.weights.items())
    assert not model.training
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == sum(w.numel() for w in start.weights.values())


@pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has no HookedTransformer")
def test_both_classes_compute_the_same_function():
    tokens = modular_data(SMALL).tokens
    hooked, bridge = (build_model(SMALL, c)(tokens) for c in ("hooked", "bridge"))
    torch.testing.assert_close(hooked, bridge, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("model_class", CLASSES)
def test_training_computes_what_the_model_does(model_class):
    start = seeded_start(SMALL)
    model, plain = build_model(SMALL, model_class, start.weights), LastPosition(start.weights)
    tokens = start.data.tokens
    theirs, ours = model(tokens)[:, -1], plain.logits(tokens)
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)
    weights = torch.randn(ours.shape)
    (theirs * weights).sum().backward()
    (ours * weights).sum().backward()
    gradients = LastPosition(start.weights)
    gradients.leaves = {name: leaf.grad for name, leaf in plain.leaves.items()}
    expected = build_model(SMALL, model_class, gradients.weights())
    by_name = {s.name: s.parameter for s in adapt(expected).sites}
    for site in adapt(model).sites:
        if site.kind != "bias":
            torch.testing.assert_close(
                site.parameter.grad, by_name[site.name].detach(), rtol=1e-4, atol=1e-4
            )


def test_plain_weights_go_in_and_out_unchanged():
    weights = seeded_start(SMALL).weights
    back = LastPosition(weights).weights()
    assert all(torch.equal(back[name], weight) for name, weight in weights.items())


@pytest.mark.skipif(HAS_HOOKED, reason="TransformerLens 3 has HookedTransformer")
def test_hooked_is_refused_where_there_is_none():
    with pytest.raises(UserError, match="model_class="):
        build_model(SMALL, "hooked")


def test_data_is_all_pairs_split_in_two():
    data = modular_data(SMALL)
    assert len(data.tokens) == 25
    assert sorted([*data.train.tolist(), *data.test.tolist()]) == list(range(25))
    assert len(data.train) == 12
    assert torch.equal((data.a + data.b) % 5, data.labels)
    assert (data.tokens[:, 2] == 5).all()


def test_standard_deviations_are_the_papers():
    weights = seeded_start(ModularSettings()).weights
    expected = {
        "embed.W_E": 1 / 64,
        "blocks.0.mlp.W_in": 1 / 256,
        "blocks.0.mlp.W_out": 1 / 64,
        "unembed.W_U": 1 / 30,
    }
    for name, variance in expected.items():
        assert float(weights[name].var()) == pytest.approx(variance, rel=0.1)


@pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has no HookedTransformer")
def test_the_stream_is_that_of_a_hooked_transformer_built_after_manual_seed():
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    s = ModularSettings()
    torch.manual_seed(s.seed)
    model = HookedTransformer(HookedTransformerConfig(
        n_layers=1, d_model=64, d_head=16, n_heads=4, d_mlp=256, n_ctx=3, d_vocab=30,
        d_vocab_out=30, act_fn="relu", normalization_type=None, device="cpu", seed=s.seed,
    ))  # fmt: skip
    start = seeded_start(s)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in start.weights:
                fan = {"W_in": 256, "W_U": 30}.get(name.rpartition(".")[2], 64)
                parameter.normal_(0, fan**-0.5)
                torch.testing.assert_close(start.weights[name], parameter.detach())
    assert torch.equal(torch.randperm(841)[:420], start.data.train)


@pytest.mark.parametrize("model_class", CLASSES)
def test_an_interrupted_training_ends_with_the_same_weights(model_class, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "RESUME_EVERY", 4)
    straight = train(SMALL, model_class, tmp_path / "straight")
    epoch = training._Run.epoch
    done = []

    def interrupted(run):
        if len(done) == 9:
            raise KeyboardInterrupt
        done.append(1)
        epoch(run)

    monkeypatch.setattr(training._Run, "epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, model_class, tmp_path / "twice")
    monkeypatch.setattr(training._Run, "epoch", epoch)
    resumed = []
    monkeypatch.setattr(training._Run, "epoch", lambda run: resumed.append(1) or epoch(run))
    second = train(SMALL, model_class, tmp_path / "twice")
    assert len(resumed) == 4  # epochs 9 to 12: the state of epoch 8 was there
    for name, weight in weights_of(straight.model).items():
        assert torch.equal(weights_of(second.model)[name], weight), name
    assert second.curve == straight.curve
    assert not (tmp_path / "twice" / "resume.safetensors").exists()


# files are of the weights: the host's model, which is slow to import, is left out
TRAINS = """
from pathlib import Path
import torch
from tl_entk.experiments import ModularSettings
from tl_entk.experiments.modular_transformer import training
training.RESUME_EVERY = 1
training.build_model = lambda *_: torch.nn.Identity()
training.load_weights = lambda *_: None
print("there", flush=True)
input()
training.train(ModularSettings(p=5, epochs=100, d_mlp=16), "bridge", Path({folder!r}))
"""


def test_two_processes_that_train_the_same_model_leave_the_files_of_one(tmp_path):
    both = [
        subprocess.Popen(
            [sys.executable, "-c", TRAINS.format(folder=str(tmp_path / "both"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    train(replace(SMALL, epochs=100), "bridge", tmp_path / "one")
    for process in both:
        assert process.stdout.readline() == "there\n"
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    files = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*")}
    assert files == {path.relative_to(tmp_path / "both") for path in (tmp_path / "both").rglob("*")}
    for path in files:
        if (tmp_path / "one" / path).is_file():
            assert (tmp_path / "both" / path).read_bytes() == (tmp_path / "one" / path).read_bytes()


def test_where_another_process_ends_the_training_first_it_is_begun_anew(tmp_path, monkeypatch):
    straight = train(SMALL, "bridge", tmp_path / "straight")
    state = tmp_path / "other" / "resume.safetensors"
    read = kept_training.read_tensors

    def read_late(path, *args):
        path.unlink()
        return read(path, *args)

    state.parent.mkdir()
    state.write_text("of an epoch")
    monkeypatch.setattr(kept_training, "read_tensors", read_late)
    assert train(SMALL, "bridge", state.parent).curve == straight.curve


def test_a_finished_training_is_reused(tmp_path):
    first = train(SMALL, "bridge", tmp_path)
    again = train(SMALL, "bridge", tmp_path)
    assert (first.reused, again.reused) == (False, True)
    assert again.curve == first.curve
    for name, weight in weights_of(first.model).items():
        assert torch.equal(weights_of(again.model)[name], weight)


def test_checkpoints_are_the_course_of_the_training(tmp_path):
    from safetensors.torch import load_file

    trained = train(SMALL, "bridge", tmp_path)
    assert list(trained.checkpoints) == [0, 12]
    first = load_file(trained.checkpoints[0])
    assert all(torch.equal(first[n], w) for n, w in seeded_start(SMALL).weights.items())
    last = load_file(trained.checkpoints[12])
    model = build_model(SMALL, "bridge")
    load_weights(model, last)
    tokens = trained.data.tokens
    torch.testing.assert_close(model(tokens), trained.model(tokens))
    assert json.loads((tmp_path / "training-3.json").read_text())["epoch"] == trained.curve.epoch


def test_training_learns(tmp_path):
    settings = ModularSettings(p=5, epochs=150, learning_rate=1e-2, weight_decay=0.1)
    curve = train(settings, "bridge", tmp_path).curve
    assert curve.train_accuracy[-1] == 1.0
    assert curve.train_loss[-1] < 0.1 * curve.train_loss[0]


def test_a_training_that_diverges_ends_with_the_settings_to_change(tmp_path):
    message = (
        r"training diverged: the loss is (nan|inf) at step \d+, with learning_rate = .*: pass l"
    )
    for rates in ({"learning_rate": 1e10}, {"weight_decay": 1e9}):
        with pytest.raises(UserError, match=message):
            train(replace(SMALL, **rates, epochs=25), "bridge", tmp_path / str(rates))
        with pytest.raises(UserError, match=message):
            train_mlp(MLPSettings(p=5, n=8, epochs=10, **rates))
    with pytest.raises(UserError, match=message):
        train_toy_model(SuperpositionSettings(features=5, m=2, steps=9, learning_rate=1e30))


@pytest.mark.parametrize("rate", [float("inf"), float("nan"), -1.0])
@pytest.mark.parametrize("name", ["learning_rate", "weight_decay"])
def test_rates_that_no_optimizer_takes_are_refused(name, rate):
    for kind in (ModularSettings, MLPSettings):
        with pytest.raises(UserError, match=rf"{name} = {rate}: pass a finite number from 0 on"):
            kind(**{name: rate})
    with pytest.raises(UserError, match="learning_rate"):
        SuperpositionSettings(learning_rate=rate)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p": 3}, "odd number"),
        ({"p": 10}, "odd number"),
        ({"n_heads": 0}, "positive"),
        ({"seed": -1}, "from 0 on"),
        ({"d_model": 10, "n_heads": 3}, "divide"),
        ({"train_fraction": 1.0}, "one half empty"),
        ({"epochs": 0}, "positive"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        ModularSettings(**settings)
