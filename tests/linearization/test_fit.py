"""Linearized predictions against the plain formula, and identities they must keep."""

import math
from types import SimpleNamespace

import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn.functional import one_hot

import tl_entk
from tests.oracle import jacobians
from tl_entk.experiments.modular_mlp.model import MLPSettings, seeded_mlp
from tl_entk.experiments.modular_transformer.model import build_model
from tl_entk.experiments.modular_transformer.task import ModularSettings, modular_data
from tl_entk.experiments.superposition.model import SuperpositionSettings, seeded_toy_model
from tl_entk.linearization.fit import linearized
from tl_entk.linearization.kernel_regression import mean_diagonal

RIDGE = 0.05


def toy():
    model, x = seeded_toy_model(SuperpositionSettings(m=3, features=5, examples=12))
    x = x.double()
    return SimpleNamespace(
        model=model.double(), x=x, y=x, labels=x.argmax(1), train=torch.tensor([7, 2, 3, 11, 5, 0])
    )


def mlp():
    model, data = seeded_mlp(MLPSettings(p=5, n=6))
    return SimpleNamespace(
        model=model.double(),
        x=data.x.double(),
        y=data.targets.double(),
        labels=data.labels,
        train=data.train,
    )


def transformer():
    settings = ModularSettings(p=5, d_model=8, d_mlp=8, n_heads=2)
    data = modular_data(settings)
    return SimpleNamespace(
        model=build_model(settings).double(),
        x=data.tokens,
        y=one_hot(data.labels, 5).double(),
        labels=data.labels,
        train=data.train,
        # p classes of p + 1 logits
        options={"class_slice": slice(0, 5)},
    )


@pytest.fixture(params=[toy, mlp, transformer], ids=lambda build: build.__name__)
def case(request):
    return request.param()


def run(case, **changes):
    options = {"ridge": RIDGE, "train": case.train, "labels": case.labels}
    options |= getattr(case, "options", {}) | changes
    return linearized(case.model, options.pop("x", case.x), options.pop("y", case.y), **options)


def plain(case):
    """Outputs (N, R) and Jacobian (N R, P) by torch.func, without our factors."""
    if case.x.is_floating_point():
        weights = {name: weight.detach() for name, weight in case.model.named_parameters()}
        found = jacrev(lambda given: functional_call(case.model, given, (case.x,)))(weights)
        outputs = case.model(case.x)
    else:
        found = jacobians(case.model, case.x, lambda logits: logits[:, :5])
        outputs = case.model(case.x)[:, -1, :5]
    J = torch.cat([dense.flatten(2) for dense in found.values()], 2)
    return outputs.detach(), J.flatten(0, 1)


def plain_predictions(case, train, ridge=RIDGE):
    f, J = plain(case)
    K = J @ J.T
    rows = (train[:, None] * f.shape[1] + torch.arange(f.shape[1])).flatten()
    system = K[rows][:, rows] + ridge * torch.eye(len(rows)).double()

    def fitted(start):
        wanted = (case.y - start)[train].flatten()
        return start + (K[:, rows] @ torch.linalg.solve(system, wanted)).reshape(f.shape)

    return {"model": fitted(f), "zero": fitted(torch.zeros_like(f))}


@pytest.mark.parametrize("solver", ["auto", "cholesky", "cg"])
def test_predictions_equal_the_plain_formula(case, solver):
    found = run(case, solver=solver, tol=1e-9)
    assert torch.allclose(found.outputs, plain(case)[0], atol=1e-12)
    for around, expected in plain_predictions(case, case.train).items():
        assert (found.predictions[around] - expected).abs().max() < 1e-7, around
        solution = found.solutions[around]
        assert solution.converged
        assert solution.residual < 1e-8
        assert (solution.iterations > 0) == (solver == "cg")


def test_all_rows_train_by_default(case):
    found = run(case, train=None)
    expected = plain_predictions(case, torch.arange(len(case.x)))
    assert torch.allclose(found.predictions["model"], expected["model"], atol=1e-8)
    assert [fit.part for fit in found.fits] == ["train", "train"]


def test_either_space_gives_the_same_weights():
    """(J^T J + ridge)^-1 J^T r = J^T (J J^T + ridge)^-1 r."""
    case = mlp()
    for train in (case.train, case.train[:3]):
        J = tl_entk.jacobian(case.model, case.x[train])
        narrow = min(J.shape)
        exact = run(case, train=train, solver="cholesky").solutions["zero"]
        iterated = run(case, train=train, solver="cg", tol=1e-10).solutions["zero"]
        assert (exact.width, iterated.width) == (narrow, J.shape[0])
        assert torch.allclose(exact.change, iterated.change, atol=1e-8)
        # the normal equations themselves
        wanted = J.adjoint(case.y[train] - J.apply(exact.change))
        assert torch.allclose(RIDGE * exact.change, wanted, atol=1e-10)


def test_around_zero_a_linear_model_is_ridge_regression():
    torch.manual_seed(0)
    model = nn.Linear(4, 3, bias=False).double()
    x, y = torch.randn(9, 4).double(), torch.randn(9, 3).double()
    train = torch.tensor([0, 3, 4, 6, 7, 8])
    found = linearized(model, x, y, train=train, ridge=0.3)
    plain = Ridge(alpha=0.3, fit_intercept=False, solver="cholesky").fit(x[train], y[train])
    assert torch.allclose(found.predictions["zero"], torch.from_numpy(plain.predict(x)))
    # around the model the ridge pulls to the model's weights instead of to zero
    weights = model.weight.detach().T
    rest = plain.fit(x[train], y[train] - x[train] @ weights).predict(x)
    assert torch.allclose(found.predictions["model"], x @ weights + torch.from_numpy(rest))


def test_a_large_ridge_leaves_the_model_and_a_small_one_the_targets(case):
    stiff = run(case, ridge=1e12)
    assert torch.allclose(stiff.predictions["model"], stiff.outputs, atol=1e-8)
    assert stiff.predictions["zero"].abs().max() < 1e-8
    assert stiff.fit("model", "test").r2 == pytest.approx(1)
    assert stiff.fit("model", "test").loss_ratio == pytest.approx(1)
    few = run(case, train=case.train[:2], ridge=1e-9)
    dead = few.outputs[case.train[:2]] == 0  # cut off by the ReLU: without a gradient
    missed = (few.predictions["model"] - case.y)[case.train[:2]]
    assert missed[~dead].abs().max() < 1e-3


def test_test_targets_change_no_prediction(case):
    first, y = run(case), case.y.clone()
    rest = [i for i in range(len(y)) if i not in case.train.tolist()]
    y[rest] = 17.0
    second = run(case, y=y)
    for around, predicted in first.predictions.items():
        assert torch.equal(predicted, second.predictions[around])
        train = [found.fit(around, "train") for found in (first, second)]
        assert train[0] == train[1]
        assert first.fit(around, "test").loss < second.fit(around, "test").loss


def test_order_of_examples_does_not_matter(case):
    n = len(case.x)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    place = torch.argsort(order)
    first = run(case)
    second = run(
        case, x=case.x[order], y=case.y[order], labels=case.labels[order], train=place[case.train]
    )
    for around, predicted in first.predictions.items():
        assert torch.allclose(predicted[order], second.predictions[around], atol=1e-9)
    for a, b in zip(first.fits, second.fits, strict=True):
        assert (a.r2, a.loss_ratio) == pytest.approx((b.r2, b.loss_ratio))
        assert (a.part, a.examples, a.accuracy) == (b.part, b.examples, b.accuracy)


def test_figures_by_hand(case):
    found = run(case, loss=lambda outputs, targets: (outputs - targets).abs().sum())
    train = torch.zeros(len(case.x), dtype=torch.bool)
    train[case.train] = True
    for part, rows in (("train", train), ("test", ~train)):
        f, y, labels = found.outputs[rows], case.y[rows], case.labels[rows]
        for around, predictions in found.predictions.items():
            predicted, fit = predictions[rows], found.fit(around, part)
            assert fit.examples == len(f)
            missed = ((f - predicted) ** 2).sum() / ((f - f.mean(0, keepdim=True)) ** 2).sum()
            assert fit.r2 == pytest.approx(float(1 - missed))
            ratio = (predicted - y).abs().sum() / (f - y).abs().sum()
            assert fit.loss_ratio == pytest.approx(float(ratio))
            right = [(v.argmax(1) == labels).double().mean().item() for v in (predicted, f)]
            assert (fit.accuracy, fit.model_accuracy) == pytest.approx(right)
            assert fit.accuracy_gap == pytest.approx(right[0] - right[1])


def test_relative_ridge(case):
    f, J = plain(case)
    rows = (case.train[:, None] * f.shape[1] + torch.arange(f.shape[1])).flatten()
    mean = float(J[rows].square().sum(1).mean())
    found = run(case, ridge=0.1, relative_ridge=True)
    assert found.ridge == pytest.approx(0.1 * mean)
    assert torch.allclose(
        found.predictions["zero"], run(case, ridge=0.1 * mean).predictions["zero"], atol=1e-9
    )


def test_mean_diagonal_in_chunks_and_with_weighted_rows(monkeypatch):
    monkeypatch.setattr("tl_entk.linearization.kernel_regression._CHUNK", 100)
    case = toy()
    J = tl_entk.jacobian(case.model, case.x).weighted(torch.rand(5))
    assert mean_diagonal(J) == pytest.approx(float(J.dense().square().sum(1).mean()))


def test_some_components_only():
    case = mlp()
    found = run(case, components="W2.weight", around=["zero"])
    J = tl_entk.jacobian(case.model, case.x, "W2.weight")
    assert set(found.predictions) == {"zero"}
    assert torch.allclose(found.predictions["zero"], J.apply(found.solutions["zero"].change))
    assert found.provenance["component"] == "W2.weight"


def test_single_precision_and_batches_of_examples():
    case = mlp()
    exact = run(case)
    rough = run(
        SimpleNamespace(**{**vars(case), "model": case.model.float(), "x": case.x.float()}),
        dtype=torch.float32,
        memory_budget=2**20,
    )
    assert rough.predictions["model"].dtype == torch.float64
    assert torch.allclose(rough.predictions["model"], exact.predictions["model"], atol=1e-3)


def test_auto_iterates_where_nothing_small_can_be_factorized(monkeypatch):
    case = mlp()
    assert run(case).solutions["zero"].solver == "cholesky"
    monkeypatch.setattr("tl_entk.linearization.kernel_regression._DENSE", 10)
    assert run(case).solutions["zero"].solver == "cg"


def test_the_model_comes_back_and_the_result_says_what_it_is(case):
    before = {k: w.clone() for k, w in case.model.named_parameters()}
    found = run(case)
    for name, parameter in case.model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None
    info = found.provenance
    assert (info["n"], info["n_train"]) == (len(case.x), len(case.train))
    assert info["tokens_sha256"] != info["train_sha256"]
    table = found.rows()
    assert [(row["around"], row["part"]) for row in table] == [
        (around, part) for around in ("model", "zero") for part in ("train", "test")
    ]
    assert table[0]["loss_ratio"] == found.fit("model", "train").loss_ratio
    assert {type(value) for row in table for value in row.values()} <= {str, int, float}


def test_without_labels_or_anything_to_compare():
    model = nn.Linear(2, 1, bias=False).double()
    x, y = torch.ones(3, 2).double(), torch.ones(3, 1).double()
    fit = linearized(model, x, y).fit()
    assert math.isnan(fit.r2)  # the outputs do not vary
    assert fit.accuracy_gap is None
    perfect = linearized(model, x, model(x)).fit("model")
    assert math.isnan(perfect.loss_ratio)
    assert perfect.loss == 0


def test_too_few_iterations_warn_and_say_so():
    with pytest.warns(RuntimeWarning, match=r"after 2 iterations.*raise max_iterations"):
        found = run(mlp(), solver="cg", max_iterations=2)
    solution = found.solutions["zero"]
    assert not solution.converged
    assert solution.residual > 1e-6
    assert solution.iterations == 2


@pytest.mark.parametrize(
    ("changes", "error", "advice"),
    [
        ({"ridge": 0.0}, ValueError, "positive number"),
        ({"ridge": math.inf}, ValueError, "positive number"),
        ({"around": "model"}, ValueError, "as a tuple"),
        ({"around": ("model", "nowhere")}, ValueError, "one or both"),
        ({"around": ()}, ValueError, "one or both"),
        ({"around": ("zero", "zero")}, ValueError, "one or both"),
        ({"solver": "lu"}, ValueError, "auto, cholesky, cg"),
        ({"tol": 0.0}, ValueError, "between 0"),
        ({"max_iterations": 0}, ValueError, "at least one iteration"),
        ({"y": torch.ones(25, 5).long()}, TypeError, "one_hot"),
        ({"y": torch.ones(24, 5)}, ValueError, "one row per example"),
        ({"y": torch.full((25, 5), math.nan)}, ValueError, "not finite"),
        ({"labels": torch.full((25,), 5)}, ValueError, "from 0 to 4"),
        ({"labels": torch.zeros(24).long()}, ValueError, "25 integers"),
        ({"train": torch.ones(25, dtype=torch.bool)}, ValueError, "tensor of integers"),
        ({"train": torch.tensor([1, 1])}, ValueError, "repeat"),
        ({"train": torch.tensor([1, 25])}, ValueError, "not among the 25"),
        ({"train": torch.tensor([1])}, ValueError, "at least two"),
        ({"train": torch.arange(24)}, ValueError, "at least two"),
        ({"class_slice": 3}, ValueError, "pass a slice"),
        ({"class_slice": slice(7, 9)}, ValueError, "holds none of the 5"),
        ({"class_slice": slice(0, 3)}, ValueError, "class_slice"),
        ({"x": torch.ones(25, 3).double()}, ValueError, "cannot take these inputs"),
        ({"components": "nothing"}, ValueError, "nothing"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_what_cannot_be_meant(changes, error, advice):
    with pytest.raises(error, match=advice):
        run(mlp(), **changes)


def test_a_factor_beyond_the_budget_is_refused():
    model = nn.Linear(40, 10).double()
    x = torch.randn(50, 40).double()
    with pytest.raises(ValueError, match="solver='cg', or memory_budget="):
        linearized(model, x, torch.ones(50, 10), solver="cholesky", memory_budget=2**20)
    found = linearized(model, x, torch.ones(50, 10), ridge=0.1, memory_budget=2**20)
    assert found.solutions["model"].solver == "cg"
