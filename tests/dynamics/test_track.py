"""Track: what it records is what one would compute by hand, and the training never notices."""

import pytest
import torch

from feature_sets import fourier
from tests.dynamics.trainings import FEATURES, N, Net, net_kernels, run, track_of
from tests.models import build, tokens
from tl_entk import Track, Watch, eigendecompose, kernel_blocks, subspace_overlap
from tl_entk.dynamics.training_state import list_modules
from tl_entk.experiments import ModularSettings, build_model, modular_data

SETTINGS = ModularSettings(p=5, d_mlp=16)
DATA = modular_data(SETTINGS)
SUMS = fourier(DATA.a.numpy(), DATA.b.numpy(), 5, families=["a+b"])


def test_a_record_is_what_one_computes_by_hand():
    model = build_model(SETTINGS)
    watches = {
        "all": Watch("total", range(1, 5), SUMS),
        "last": Watch("unembed.W_U", [0, 3], SUMS),
    }
    track = Track(
        lambda model: kernel_blocks(model, DATA.tokens),
        watches,
        at=[0, 2],
        k=6,
        kernels_kept=["blocks.0.mlp.W_in"],
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        track(step, model)
        optimizer.zero_grad()
        model(DATA.tokens).square().mean().backward()
        if step < 2:
            optimizer.step()
    course, blocks = track.course(), kernel_blocks(model, DATA.tokens)
    assert course.steps.tolist() == [0, 2]
    assert list(course.eigenvalues) == ["total", "unembed.W_U", "blocks.0.mlp.W_in"]
    for name, values in course.eigenvalues.items():
        kernel = blocks.total() if name == "total" else blocks[name]
        torch.testing.assert_close(values[1], eigendecompose(kernel, 6).eigenvalues)
        assert not torch.allclose(values[0], values[1])
    for name, kernel in (("all", blocks.total()), ("last", blocks["unembed.W_U"])):
        vectors = eigendecompose(kernel, 6).vectors[:, list(watches[name].modes)]
        expected = subspace_overlap(vectors, SUMS)
        assert float(course.overlaps[name][1]) == pytest.approx(expected.overlap, abs=1e-9)
        assert course.max_overlap[name] == expected.max_overlap
    assert course.provenance["source"]["readout"] == "mean_logit"


def test_an_overlap_with_what_the_kernel_is_made_of_is_its_maximum():
    values = torch.randn(N, 3, generator=torch.Generator().manual_seed(0))
    basis, _ = torch.linalg.qr(values - values.mean(0))
    kernel = basis @ torch.diag(torch.tensor([5.0, 3.0, 1.0])) @ basis.T
    track = Track(
        lambda model: {"K": kernel},
        {"in": Watch("K", [1], basis[:, 1:2]), "out": Watch("K", [0], basis[:, 1:2])},
        at=[0],
        k=2,
    )
    track(0, None)
    course = track.course()
    assert course.eigenvalues["K"].tolist()[0] == pytest.approx([5.0, 3.0], rel=1e-5)
    assert float(course.overlaps["in"]) == pytest.approx(course.max_overlap["in"], abs=1e-5)
    assert float(course.overlaps["out"]) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("named", [False, True])
def test_total_is_an_entry_of_that_name_or_else_all_of_them(named):
    first, second = net_kernels(Net()).values()
    given = {"W": first, "W[0]": second, "V": second}  # a head's slice lies in its weight
    expected = first + second
    if named:
        given["total"] = expected = 7 * first
    track = track_of(lambda model: given, at=[0])
    track(0, Net())
    found, wanted = track.course().eigenvalues["total"][0], eigendecompose(expected, 4).eigenvalues
    torch.testing.assert_close(found[: len(wanted)], wanted)
    assert not found[len(wanted) :].any()


def test_training_with_tracking_gives_the_same_weights_bit_for_bit():
    def noisy(model):
        torch.randn(3)  # a kernel that samples, and one that leaves gradients behind
        model().sum().backward()
        return net_kernels(model)

    untracked, tracked = run(Net(), None, 20), run(Net(), track_of(noisy), 20)
    assert torch.equal(untracked.weight, tracked.weight)
    assert not torch.equal(untracked.weight, run(Net(), None, 20, seed=1).weight)


def test_a_transformer_trains_alike_with_tracking():
    def trained(tracked):
        torch.manual_seed(0)
        model = build_model(SETTINGS).train()
        track = Track(
            lambda model: kernel_blocks(model, DATA.tokens, "class_trace"),
            {"sum": Watch("total", range(1, 5), SUMS)},
            at=range(0, 9, 2),
            k=5,
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for step in range(9):
            rows = torch.randperm(25)[:8]
            if tracked:
                track(step, model)
            loss = model(DATA.tokens[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return model

    untracked, tracked = trained(False), trained(True)
    for name, weight in untracked.state_dict().items():
        assert torch.equal(weight, tracked.state_dict()[name]), name


@pytest.mark.parametrize("name", ["native:layer_norm", "hf:gpt2"])
@pytest.mark.parametrize("fails", [False, True])
def test_flags_and_gradients_come_back(name, fails):
    model = build(name)
    model.train()
    next(iter(model.children())).eval()  # a part that the user froze
    modules = list_modules(model)
    assert len(modules) > len(list(model.modules()))  # a bridge holds the host unregistered
    model(tokens()).sum().backward()
    gradients = {n: p.grad for n, p in model.named_parameters()}
    values = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    flags = [module.training for module in modules]
    assert set(flags) == {True, False}
    seen = []

    def kernels(model):
        seen.append([module.training for module in model.modules()])
        model(tokens()).sum().backward()  # leaves gradients behind
        if fails:
            raise RuntimeError("no kernel")
        return kernel_blocks(model, tokens(), components="unembed.W_U")

    track = Track(kernels, kernels_kept=["unembed.W_U"], at=[0], k=2)
    if fails:
        with pytest.raises(RuntimeError, match="no kernel"):
            track(0, model)
    else:
        track(0, model)
    assert not any(seen[0])
    assert [module.training for module in modules] == flags
    assert all(p.grad is gradients[n] for n, p in model.named_parameters())
    assert all(torch.equal(gradients[n], value) for n, value in values.items())
    assert values


def test_metrics_are_asked_for_only_when_due_and_in_evaluation_mode():
    asked, model, track = [], Net().train(), track_of(at=[1, 3])

    def metrics(step):
        asked.append((step, model.training))
        return {"accuracy": torch.tensor(0.5), **({"loss": 2} if step == 3 else {})}

    for step in range(5):
        track(step, model, lambda step=step: metrics(step))
    assert asked == [(1, False), (3, False)]
    assert model.training
    assert track.course().metrics["accuracy"].tolist() == [0.5, 0.5]
    loss = track.course().metrics["loss"]
    assert loss.isnan().tolist() == [True, False]
    assert float(loss[1]) == 2


def test_a_metric_that_stops_coming_is_nan_too():
    track = track_of(at=[0, 1])
    track(0, Net(), {"loss": 1.0})
    track(1, Net())
    assert track.course().metrics["loss"].isnan().tolist() == [False, True]


def test_time_is_booked_by_part():
    import time

    def slow(model):
        time.sleep(0.05)
        return net_kernels(model)

    track = track_of(slow, at=[0, 1])
    for step in range(2):
        track(step, Net(), lambda: time.sleep(0.02) or {})
    seconds = track.course().seconds
    assert bool((seconds["kernels"] >= 0.05).all())
    assert bool((seconds["metrics"] >= 0.02).all())
    parts = seconds["kernels"] + seconds["metrics"] + seconds["eigen"]
    assert bool((parts <= seconds["total"] + 1e-9).all())
    assert track.course().tracking_seconds == pytest.approx(float(seconds["total"].sum()))


def test_the_largest_overlap_is_the_smaller_rank():
    twice = torch.cat([FEATURES, FEATURES], 1)
    assert Watch("total", range(4), twice).max_overlap == 2
    assert Watch("total", [2], twice).max_overlap == 1
