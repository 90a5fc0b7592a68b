"""Wrong values by kind, each with the words that its refusal must have, and right ones beside.

A test calls every function that takes a kind with every wrong value of it. ``refuses`` holds for
all: the error is ours, and names what is wrong.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from feature_sets import FeatureSet, UserError
from tests.models import build
from tl_entk import KernelBlocks, eigendecompose, subspace_overlap

N, D = 12, 6
# few draws: what is refused draws none
FAST = {"n_bootstrap": 5}
_RNG = np.random.default_rng(0)
ROOT = _RNG.standard_normal((N, N))
KERNEL = torch.from_numpy(ROOT @ ROOT.T)
EIGEN = eigendecompose(KERNEL, 4)
ACTIVATIONS = torch.from_numpy(_RNG.standard_normal((N, D)))
PLACES = np.arange(N)
FEATURES = FeatureSet.from_dict({"even": PLACES % 2 == 0, "odd": PLACES % 2 == 1})
REAL = FeatureSet.from_dict({"place": PLACES, "square": PLACES**2})
NAMES = ("blocks.0.mlp.W_in", "blocks.1.mlp.W_in")
BLOCKS = KernelBlocks(dict.fromkeys(NAMES, KERNEL))
OVERLAP = subspace_overlap(EIGEN, FEATURES)


class Case(NamedTuple):
    """A call that must be refused.

    Attributes:
        name: of the case.
        call: without arguments.
        words: a regular expression that the message must have.
        kind: of the error.
    """

    name: str
    call: Callable[[], Any]
    words: str
    kind: type[Exception] = UserError

    def check(self) -> None:
        """The call ends in this error."""
        with pytest.raises(self.kind, match=self.words) as caught:
            self.call()
        # a subclass of ours is ours; another library's ValueError is not
        assert type(caught.value) is self.kind


def every(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """One test for each case."""
    several = list(cases)
    names = [case.name for case in several]
    assert not (twice := [name for name, count in Counter(names).items() if count > 1]), twice
    return pytest.mark.parametrize("case", several, ids=names)


def crossed(
    functions: dict[str, Callable[[Any], Any]], values: dict[str, tuple[Any, str]]
) -> list[Case]:
    """Every function with every wrong value of a kind."""
    return [
        Case(f"{function}, {name}", functools.partial(call, value), words)
        for function, call in functions.items()
        for name, (value, words) in values.items()
    ]


def at(matrix: torch.Tensor, value: float) -> torch.Tensor:
    """A copy with another number in its third row."""
    found = matrix.clone()
    found[2, 0] = value
    return found


# of what must be directions or activations of all N examples
MATRICES: dict[str, tuple[Any, str]] = {
    "none": (None, "is a NoneType.*pass a tensor or a numpy array"),
    "text": ("eigen", "is a str.*pass a tensor or a numpy array"),
    "texts": ([["a"]] * N, "is a list.*pass a tensor or a numpy array of real numbers"),
    "ragged": ([[1.0, 2.0]] * (N - 1) + [[1.0]], "is a list.*pass a tensor or a numpy array"),
    "mapping": ({"scores": ACTIVATIONS}, "is a dict.*pass a tensor or a numpy array"),
    "another result": (OVERLAP, "is a SubspaceOverlap.*pass a tensor or a numpy array"),
    "kernel blocks": (BLOCKS, "is a KernelBlocks.*pass a tensor or a numpy array"),
    "a feature set": (FEATURES, "is a FeatureSet.*pass"),
    "four axes": (torch.ones(N, 2, 2, 2), r"shape \(12, 2, 2, 2\): pass"),
    "no column": (torch.ones(N, 0), r"shape \(12, 0\)"),
    "no example": (torch.ones(0, 2), "0 examples|has 0 entries|shape"),
    "complex": (ACTIVATIONS[:, :2].to(torch.complex128), r"is complex: pass real numbers"),
    "sparse": (ACTIVATIONS[:, :2].to_sparse(), r"is sparse: pass .*to_dense\(\)"),
    "without numbers": (torch.ones(N, 2, device="meta"), "meta device.*load it on another"),
    "masked": (
        np.ma.masked_greater(ACTIVATIONS[:, :2].numpy(), 1.0),
        "masked numbers: leave those examples out",
    ),
    "NaN": (at(ACTIVATIONS[:, :2], np.nan), "not finite in 1 of 12 examples"),
    "infinite": (at(ACTIVATIONS[:, :2], np.inf), "not finite in 1 of 12 examples"),
    "infinite array": (
        at(ACTIVATIONS[:, :2], np.inf).numpy(),
        r"not finite in 1 of 12 examples \(the first is 2\)",
    ),
}
VECTOR = (ACTIVATIONS[:, 0], r"shape \(12,\).*\[:, None\]")
OTHER_LENGTH = (
    ACTIVATIONS[:7, :2],
    "pass (both for )?the same examples in the same order|pass one per example",
)

# of what must be a FeatureSet
FEATURE_SETS: dict[str, tuple[Any, str]] = {
    "none": (None, "features is a NoneType: pass a FeatureSet"),
    "array": (FEATURES.values, r"features is a ndarray: pass a FeatureSet.*from_dict"),
    "tensor": (ACTIVATIONS, r"features is a Tensor: pass a FeatureSet.*from_dict"),
    "mapping": ({"even": [0, 1] * 6}, "features is a dict: pass a FeatureSet.*from_dict"),
    "text": ("even", "features is a str: pass a FeatureSet"),
    "directions": (EIGEN, "features is a EigenDirections: pass a FeatureSet"),
    "other length": (FEATURES.rows(range(7)), "pass (both for )?the same examples"),
}


def whole_numbers(name: str, least: int = 1) -> dict[str, tuple[Any, str]]:
    """Wrong values of an integer from ``least`` on."""
    wrong = [1.5, True, least - 1, -3, "3", float("nan"), [3], np.float64(2.0)]
    return {
        f"{name} = {value!r}": (value, rf"^{name} = {re.escape(repr(value))}.*pass")
        for value in wrong
    }


SEEDS = {
    f"seed = {value!r}": (value, rf"^seed = {re.escape(repr(value))}.*pass an integer from 0")
    for value in (-1, "0", 1.5, True, None, 2**40, float("nan"))
}


def shares(name: str) -> dict[str, tuple[Any, str]]:
    """Wrong values of a number between 0 and 1."""
    wrong = [0, 1, -0.5, 1.5, float("nan"), float("inf"), "half", None, True]
    return {
        f"{name} = {value!r}": (value, rf"^{name} = {re.escape(repr(value))}.*between 0 and 1")
        for value in wrong
    }


@functools.cache
def model() -> Any:
    """A small model with LayerNorm."""
    return build("native:layer_norm")


TOKENS = torch.arange(4 * 5).reshape(4, 5) % 11
