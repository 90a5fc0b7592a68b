"""A solve that several processes began is gone on with by another number of them."""

from functools import partial

import pytest
import torch

import tl_entk
from tests.models import build, tokens
from tests.ranks.processes import run_in_processes

pytestmark = pytest.mark.plain


def solve(basis: str, max_products: int | None = None) -> dict[str, torch.Tensor]:
    eigen = tl_entk.top_eigendirections(
        build("native:plain"), tokens(7), "blocks.0.mlp.W_out", 5, tol=1e-8, resume=basis,
        max_products=max_products,
    )  # fmt: skip
    return {
        "eigenvalues": eigen.eigenvalues,
        "converged": eigen.converged,
        "products": torch.tensor(eigen.provenance["products"]),
    }


def test_two_processes_then_three_then_one(tmp_path):
    expected = solve(str(tmp_path / "alone"))
    basis = str(tmp_path / "basis")
    for count, products in ((2, 7), (3, 9)):
        found = run_in_processes(partial(solve, basis, products), count, tmp_path)
        assert not all(bool(one["converged"].all()) for one in found)
    last = solve(basis)
    torch.testing.assert_close(last["eigenvalues"], expected["eigenvalues"], rtol=1e-7, atol=0)
    assert bool(last["converged"].all())
    assert int(last["products"]) <= int(expected["products"]) + 2
