"""Track: what it records is what one would compute by hand, and the training never notices."""

import json

import pytest
import torch
from torch import nn

from feature_sets import fourier
from tests.models import build, tokens
from tl_entk import Course, Track, Watch, eigendecompose, kernel_blocks, subspace_overlap
from tl_entk.dynamics.training_state import list_modules
from tl_entk.experiments import ModularSettings, build_model, modular_data

N = 6
FEATURES = torch.randn(N, 2, generator=torch.Generator().manual_seed(1))
SETTINGS = ModularSettings(p=5, d_mlp=16)
DATA = modular_data(SETTINGS)
SUMS = fourier(DATA.a.numpy(), DATA.b.numpy(), 5, families=["a+b"])


class Net(nn.Module):
    """A linear map with dropout, whose input stays."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 3, generator=generator))
        self.drop = nn.Dropout(0.5)
        self.register_buffer("x", torch.randn(N, 3, generator=generator))

    def forward(self):
        return self.drop(self.x @ self.weight)


def net_kernels(model):
    """Two plain kernels that depend on the weights."""
    out = model.x @ model.weight
    return {"first": out @ out.T, "second": out.tanh() @ out.tanh().T}


def track_of(kernels=net_kernels, kernel="total", at=range(0, 20, 5), k=4, **options):
    return Track(kernels, {"sum": Watch(kernel, range(1, 3), FEATURES)}, at=at, k=k, **options)


def run(model, track, steps, first=0, seed=0):
    """A training with dropout drawn from the global stream; metrics of the step."""
    torch.manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(first, steps):
        if track is not None:
            track(step, model, lambda step=step: {"step": step})
        loss = model().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


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


def test_a_resumed_training_keeps_the_records_before_and_replaces_those_after(tmp_path):
    straight = track_of(path=tmp_path / "straight")
    run(Net(), straight, 20)
    broken, model = track_of(path=tmp_path / "broken"), Net()
    run(model, broken, 8)
    state = {n: t.clone() for n, t in model.state_dict().items()}
    run(model, broken, 14, first=8)  # recorded at step 10, but the training's own state is lost
    assert Course.load(tmp_path / "broken").steps.tolist() == [0, 5, 10]
    model.load_state_dict(state)
    again = track_of(path=tmp_path / "broken")
    assert again.course().steps.tolist() == [0, 5, 10]
    run(model, again, 20, first=8, seed=1)
    course = Course.load(tmp_path / "broken")
    assert course.steps.tolist() == straight.course().steps.tolist() == [0, 5, 10, 15]
    assert course.metrics["step"].tolist() == [0, 5, 10, 15]
    torch.testing.assert_close(course.overlaps["sum"][:2], straight.course().overlaps["sum"][:2])
    # with another seed, step 10 differs from the record that it replaces
    assert torch.equal(course.eigenvalues["total"], again.course().eigenvalues["total"])
    assert not torch.equal(course.eigenvalues["total"][2], broken.course().eigenvalues["total"][2])


def test_started_anew_every_record_is_replaced(tmp_path):
    run(Net(), track_of(path=tmp_path / "course"), 20)
    again = track_of(path=tmp_path / "course")
    again(0, Net())
    assert Course.load(tmp_path / "course").steps.tolist() == [0]


def test_a_file_that_cannot_be_written_is_refused_before_the_training(tmp_path):
    (tmp_path / "course.safetensors").mkdir()
    with pytest.raises(IsADirectoryError, match=r"course\.safetensors .*: move away"):
        track_of(path=tmp_path / "course")


def test_an_interruption_while_writing_leaves_the_file_before(tmp_path, monkeypatch):
    track = track_of(path=tmp_path / "course")
    run(Net(), track, 6)
    monkeypatch.setattr("tl_entk.tools.files.save_file", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        track(10, Net())
    assert Course.load(tmp_path / "course").steps.tolist() == [0, 5]
    assert [path.name for path in tmp_path.iterdir()] == ["course.safetensors"]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"k": 5}, "'k'"),
        ({"kernel": "first"}, "'kernels'"),
        ({"kernels_kept": ["first"]}, "'kernels'"),
        ({"provenance": {"seed": 1}}, "'given'"),
    ],
)
def test_a_file_of_another_course_is_refused(tmp_path, options, what):
    run(Net(), track_of(path=tmp_path / "course"), 2)
    with pytest.raises(ValueError, match=f"{what}.*another path"):
        track_of(path=tmp_path / "course", **options)


def test_other_features_or_tokens_are_another_course(tmp_path):
    run(Net(), track_of(path=tmp_path / "course"), 2)
    other = {"sum": Watch("total", range(1, 3), 2 * FEATURES)}
    with pytest.raises(ValueError, match="'watched'"):
        Track(net_kernels, other, at=[0], k=4, path=tmp_path / "course")

    def blocks(seed):
        return lambda model: kernel_blocks(model, tokens(N, seed), components="unembed.W_U")

    track = track_of(blocks(1), at=range(5))
    track.path = tmp_path / "blocks.safetensors"
    model = build("native:layer_norm")
    track(0, model)
    again = track_of(blocks(2), at=range(5), path=track.path)
    with pytest.raises(ValueError, match="tokens_sha256"):
        again(1, model)


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


def test_steps_must_increase():
    track = track_of()
    track(5, Net())
    for step in (5, 3):
        with pytest.raises(ValueError, match="increasing steps"):
            track(step, Net())


def test_a_course_needs_a_record():
    with pytest.raises(ValueError, match="no record yet"):
        track_of().course()


def test_a_step_that_failed_can_be_called_again():
    track = track_of()
    with pytest.raises(TypeError, match="no number"):
        track(0, Net(), {"loss": "low"})
    track(0, Net(), {"loss": 0.5})
    assert track.course().steps.tolist() == [0]


@pytest.mark.parametrize("step", [0, 1], ids=["due", "not yet due"])
@pytest.mark.parametrize(
    ("kernels", "kernel", "error", "advice"),
    [
        (net_kernels, "third", ValueError, "gives no 'third'.*'first'.*'total'"),
        (lambda m: {"total": torch.eye(5)}, "total", ValueError, "same examples"),
        (lambda m: torch.eye(N), "total", TypeError, 'return KernelBlocks, or {"total"'),
        (lambda m: {}, "total", ValueError, "gives no 'total'"),
    ],
)
def test_bad_kernels_are_refused_at_the_first_call(kernels, kernel, error, advice, step):
    with pytest.raises(error, match=advice):
        track_of(kernels, kernel, at=[0, 50])(step, Net())


def test_a_kernel_kept_that_is_too_small():
    track = track_of(lambda m: {"total": torch.eye(N), "a": torch.eye(2)}, kernels_kept=["a"])
    with pytest.raises(ValueError, match="kernel 'a' has 2 eigendirections"):
        track(0, Net())


def test_a_kernel_that_is_not_finite_says_when_and_which():
    track = track_of(lambda m: {"total": torch.full((N, N), torch.nan)}, at=[7])
    with pytest.raises(ValueError, match="not finite") as caught:
        track(7, Net())
    assert caught.value.__notes__ == ["kernel 'total' at step 7"]


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"at": []}, "at is empty"),
        ({"k": 2}, "pass k=3"),
        ({"k": N + 1}, f"here {N}"),
    ],
)
def test_bad_options(options, advice):
    with pytest.raises(ValueError, match=advice):
        track_of(**options)


def test_nothing_to_follow_and_features_that_disagree():
    with pytest.raises(ValueError, match="no kernel to follow"):
        Track(net_kernels, at=[0], k=2)
    with pytest.raises(ValueError, match="k = 0"):
        Track(net_kernels, kernels_kept=["first"], at=[0], k=0)
    both = {"a": Watch("first", [0], FEATURES), "b": Watch("first", [0], FEATURES[:-1])}
    with pytest.raises(ValueError, match="'b' are of 5 examples"):
        Track(net_kernels, both, at=[0], k=2)


def test_provenance_is_plain_json(tmp_path):
    with pytest.raises(TypeError, match="JSON"):
        track_of(provenance={"weights": torch.ones(1)})
    track = track_of(provenance={"seed": (1, 2)}, path=tmp_path / "course")
    track(0, Net())
    assert json.loads(json.dumps(track.course().provenance)) == track.course().provenance
    # a tuple comes back as a list, and is the same course still
    assert len(track_of(provenance={"seed": (1, 2)}, path=tmp_path / "course").course()) == 1


@pytest.mark.parametrize(
    ("modes", "features", "advice"),
    [
        ([], FEATURES, "one or more"),
        ([1, 1], FEATURES, "each once"),
        ([-1], FEATURES, "has modes 0"),
        (range(N - 1, N + 1), FEATURES, "has modes 0 to 5"),
        ([0], FEATURES[:, 0], "examples, features"),
        ([0], torch.ones(N, 1), "constant"),
    ],
)
def test_bad_watches(untyped, modes, features, advice):
    with pytest.raises(ValueError, match=advice):
        Watch("total", modes, features)


def test_the_largest_overlap_is_the_smaller_rank():
    twice = torch.cat([FEATURES, FEATURES], 1)
    assert Watch("total", range(4), twice).max_overlap == 2
    assert Watch("total", [2], twice).max_overlap == 1
