"""The number of threads is what was fastest, and the environment overrules."""

import os

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from tl_entk.tools import threads

pytestmark = pytest.mark.plain


@pytest.fixture(autouse=True)
def as_before():
    before = torch.get_num_threads()
    limits = threadpool_limits()
    threads.set_threads.cache_clear()
    yield
    torch.set_num_threads(before)
    limits.restore_original_limits()
    threads.set_threads.cache_clear()


@pytest.mark.parametrize(("two", "expected"), [(0.6, 2), (7.0, 1), (0.95, 1)])
def test_the_fastest_number_is_set_for_torch_and_numpy(monkeypatch, two, expected):
    """Seven times as long is what was seen beside another process with as many threads."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    monkeypatch.setattr(threads, "_measure", {1: 1.0, 2: two}.get)
    chosen = threads.set_threads()
    assert chosen.count == expected == torch.get_num_threads()
    np.ones((64, 64)) @ np.ones((64, 64))
    assert {pool["num_threads"] for pool in threadpool_info() if "blas" in pool["user_api"]} <= {
        expected
    }
    assert str(chosen).startswith(f"{expected} thread")
    assert ("something else" in str(chosen)) == (two > 1)


def test_what_the_environment_says_stays(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    torch.set_num_threads(3)
    monkeypatch.setattr(threads, "_measure", lambda count: pytest.fail("measured"))
    assert str(threads.set_threads()) == "3 threads, as the environment says"
    assert torch.get_num_threads() == 3


def test_tests_take_no_more_threads_than_they_are_given():
    assert torch.get_num_threads() <= int(os.environ.get("OMP_NUM_THREADS", "2"))


def test_a_measurement_leaves_the_number_as_it_was():
    before = torch.get_num_threads()
    assert threads._measure(1) > 0
    assert torch.get_num_threads() == before
