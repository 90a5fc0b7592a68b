"""Fits of a linearization, and products with a Jacobian, that cannot be meant."""

import numpy as np
import pytest
import torch

import tl_entk
from tests.wrong_input.cases import Case, at, every

pytestmark = pytest.mark.plain

LAYER, ROWS = torch.nn.Linear(3, 2, bias=False), torch.eye(3)
TARGETS = torch.ones(3, 2)


def fitted(**options):
    return tl_entk.linearized(LAYER, ROWS, **{"targets": TARGETS} | options)


def derived():
    return tl_entk.jacobian(LAYER, ROWS)


CASES = [
    *(
        Case(f"fit, {name}", lambda o=options: fitted(**o), words)
        for name, options, words in (
            ("targets as an array of text", {"targets": np.full((3, 2), "a")}, "targets"),
            ("no targets", {"targets": None}, "targets"),
            ("targets of another shape", {"targets": torch.ones(3, 1)}, r"shape \(3, 1\)"),
            (
                "targets with NaN",
                {"targets": at(TARGETS, np.nan)},
                "targets are not finite|targets is not finite",
            ),
            ("ridge 0", {"ridge": 0}, "ridge = 0: pass a positive"),
            ("ridge NaN", {"ridge": float("nan")}, "ridge = nan: pass a positive"),
            ("ridge as text", {"ridge": "small"}, "ridge = 'small': pass a positive"),
            ("ridge none", {"ridge": None}, "ridge = None: pass a positive"),
            ("ridge true", {"ridge": True}, "ridge = True: pass a positive"),
            ("around one name", {"around": "model"}, "around = 'model': pass one or both"),
            ("around nothing", {"around": ()}, "around = .*pass one or both"),
            ("around none", {"around": None}, "around = None: pass one or both"),
            ("around numbers", {"around": (1, "model")}, "around = .*pass one or both"),
            ("around lists", {"around": (["model"],)}, "around = .*pass one or both"),
            ("around twice", {"around": ("model", "model")}, "around = .*pass one or both"),
            ("solver", {"solver": "lu"}, "solver = 'lu': pass one of"),
            ("solver none", {"solver": None}, "solver = None: pass one of"),
            ("solver list", {"solver": ["cg"]}, "solver = .*pass one of"),
            ("tol NaN", {"tol": float("nan")}, "tol = nan"),
            ("tol text", {"tol": "fine"}, "tol = 'fine'"),
            ("tol none", {"tol": None}, "tol = None"),
            ("iterations", {"max_iterations": 0}, "max_iterations = 0"),
            ("iterations 1.5", {"max_iterations": 1.5}, "max_iterations = 1.5"),
            ("iterations true", {"max_iterations": True}, "max_iterations = True"),
            ("train as text", {"train": "all"}, "train = 'all': pass indices"),
            ("train as floats", {"train": torch.ones(2)}, "train = .*pass indices"),
            ("train as a mask", {"train": torch.ones(3, dtype=bool)}, "train = .*pass indices"),
            ("train out of range", {"train": torch.tensor([0, 9])}, "among the 3 examples"),
            ("train twice", {"train": torch.tensor([0, 0])}, "repeat"),
            ("labels as floats", {"labels": torch.ones(3)}, "labels are indices of outputs"),
            ("labels out of range", {"labels": torch.tensor([0, 1, 2])}, "from 0 to 1"),
            ("labels as text", {"labels": "a"}, "labels are indices of outputs"),
            ("loss that is no function", {"loss": "mse"}, "loss is a str: pass a function"),
            (
                "loss of many numbers",
                {"loss": lambda x, y: x},
                "loss is no single number: return one",
            ),
        )
    ),
    Case("a fit of nothing", lambda: tl_entk.linearized(LAYER, None, TARGETS), "inputs|examples"),
    Case("an unknown fit", lambda: fitted().fit("nope"), r"no fit \('nope', 'train'\): there are"),
    Case("a listed fit", lambda: fitted().fit(["model"]), "no fit .*there are"),
    *(
        Case(f"Jacobian, {name}", call, words)
        for name, call, words in (
            (
                "a vector of another length",
                lambda: derived().apply(torch.ones(3)),
                r"shape \(3,\).*\(6,\)",
            ),
            ("a vector of None", lambda: derived().apply(None), "change is a NoneType"),
            (
                "a matrix of another shape",
                lambda: derived().adjoint(torch.ones(5, 2)),
                r"\(5, 2\).*\(3, 2\)",
            ),
            ("values of text", lambda: derived().adjoint("a"), "values is a str"),
            (
                "weights of another length",
                lambda: derived().weighted(torch.ones(5)),
                r"shape \(5,\): pass",
            ),
            ("weights of None", lambda: derived().weighted(None), "factors is a NoneType"),
            (
                "weights with NaN",
                lambda: derived().weighted(torch.full((2,), np.nan)),
                "not finite",
            ),
            (
                "outputs out of range",
                lambda: derived().outputs_between(1, 9),
                "start = 1, stop = 9",
            ),
            (
                "outputs turned round",
                lambda: derived().outputs_between(2, 1),
                "start = 2, stop = 1",
            ),
            (
                "more directions than there are",
                lambda: derived().eigendecompose(99),
                "k = 99.*pass 1 to",
            ),
        )
    ),
]


@every(CASES)
def test_wrong_fits_are_refused(case, untyped):
    case.check()


def test_targets_may_be_an_array(untyped):
    assert torch.equal(fitted(targets=TARGETS.numpy()).outputs, fitted().outputs)
