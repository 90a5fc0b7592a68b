"""Warnings point at the caller's line, through any depth of the package and what wraps it."""

import inspect
import warnings

import pytest
import torch

from tl_entk.tools.warn import warn_user

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
