"""Warnings point at the caller's line, through any depth of the package and what wraps it."""

import inspect
import warnings

import pytest
import torch

from feature_sets.warn import warn_user
from tl_entk.directions.solver import leading_eigenpairs
from tl_entk.directions.unsupervised_rotation import rotate_by_ica, rotate_by_varimax
from tl_entk.linearization.fit import linearized

pytestmark = pytest.mark.plain


def raised(work):
    """File and line of the one warning that some work raises."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work()
    assert len(caught) == 1
    return caught[0].filename, caught[0].lineno


def line_of(work):
    """Where the one line of a lambda stands."""
    return inspect.getsourcefile(work), work.__code__.co_firstlineno


def test_a_warning_points_at_the_callers_line():
    work = lambda: warn_user("look", RuntimeWarning)  # noqa: E731
    assert raised(work) == line_of(work)


def test_decorators_of_torch_are_passed_over():
    work = lambda: torch.no_grad()(warn_user)("look")  # noqa: E731
    assert raised(work) == line_of(work)


def test_the_kind_is_the_one_asked_for():
    with pytest.warns(RuntimeWarning, match="look"):
        warn_user("look", RuntimeWarning)
    with pytest.warns(UserWarning, match="look"):
        warn_user("look")


MATRIX = torch.diag(0.99 ** torch.arange(40, dtype=torch.float64))
VECTORS = torch.randn(49, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LAYER = torch.nn.Linear(6, 3).double()
INPUTS = torch.randn(20, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(
    "work",
    [
        lambda: leading_eigenpairs(MATRIX, 3, tol=1e-9, max_products=4),
        lambda: rotate_by_varimax(VECTORS, max_iterations=1),
        lambda: rotate_by_ica(VECTORS, max_iterations=1),
        lambda: linearized(LAYER, INPUTS, INPUTS[:, :3], solver="cg", max_iterations=1, ridge=1e-9),
    ],
    ids=["leading_eigenpairs", "varimax", "ICA", "linearized"],
)
@pytest.mark.filterwarnings("default")
def test_every_warning_points_here(work):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work()
    assert caught
    assert {warning.filename for warning in caught} == {__file__}
