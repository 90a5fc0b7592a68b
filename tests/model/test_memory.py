"""A device that runs out of memory: fewer examples at a time, then a clear end."""

from types import SimpleNamespace

import pytest
import torch

import tl_entk
from tests.models import tokens
from tl_entk.kernel import gram as gram_module
from tl_entk.linearization import fit
from tl_entk.linearization.kernel_regression import mean_diagonal
from tl_entk.model import factors, staged_factors
from tl_entk.model.factors import Outer
from tl_entk.model.gradient_map import GradientMap
from tl_entk.model.memory import check_memory_budget

NAMES = ["blocks.0.attn.W_Q", "blocks.1.mlp.W_out", "embed.W_E"]


def scarce(monkeypatch, most):
    """A device with memory for so many examples in a pass."""
    plain = factors.forward

    def forward(task, sites, rows, **options):
        if len(task.inputs[rows]) > most:
            raise torch.OutOfMemoryError("no room")
        return plain(task, sites, rows, **options)

    monkeypatch.setattr(factors, "forward", forward)
    monkeypatch.setattr(staged_factors, "forward", forward)
    monkeypatch.setattr(fit, "forward", forward)


@pytest.mark.parametrize("readout", ["class_trace", "logsumexp"])
def test_blocks_go_on_with_fewer_examples(model, monkeypatch, readout):
    batch = tokens(11)
    expected = tl_entk.kernel_blocks(model, batch, readout, NAMES)
    scarce(monkeypatch, 3)
    with pytest.warns(RuntimeWarning, match="ran out of memory") as said:
        found = tl_entk.kernel_blocks(model, batch, readout, NAMES)
    assert "11 examples at a time; going on with 5" in str(said[0].message)
    for name, block in expected.items():
        torch.testing.assert_close(found[name], block)


def test_jacobians_and_stages_go_on_with_fewer_examples(model, monkeypatch):
    batch = tokens(11)
    J = tl_entk.jacobian(model, batch, NAMES).dense()
    eigen = tl_entk.all_eigendirections(model, batch, NAMES, k=2, outputs=3)
    norms = tl_entk.gradient_norms(model, batch, NAMES)
    scarce(monkeypatch, 3)
    with pytest.warns(RuntimeWarning, match="ran out of memory"):
        torch.testing.assert_close(tl_entk.jacobian(model, batch, NAMES).dense(), J)
    with pytest.warns(RuntimeWarning, match="ran out of memory"):
        torch.testing.assert_close(tl_entk.gradient_norms(model, batch, NAMES), norms)
    with pytest.warns(RuntimeWarning, match="ran out of memory"):
        found = tl_entk.all_eigendirections(model, batch, NAMES, k=2, outputs=3)
    for name, one in eigen.items():
        torch.testing.assert_close(found[name].eigenvalues, one.eigenvalues)


def scarce_for_gram(monkeypatch, most):
    """A device with room for so many bytes of a Gram matrix's temporaries."""
    plain = gram_module._by_gradients

    def by_gradients(x, g, memory_budget, ranks):
        if memory_budget > most:
            raise torch.OutOfMemoryError("no room")
        return plain(x, g, memory_budget, ranks)

    monkeypatch.setattr(gram_module, "_by_gradients", by_gradients)


def outer_factors():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 6, 5, 4, generator=generator, dtype=torch.float64)
    return Outer(x, torch.randn(1, 6, 5, 3, generator=generator, dtype=torch.float64))


def test_gram_matrices_go_on_with_smaller_pieces(monkeypatch):
    factors = outer_factors()
    expected = gram_module.gram(factors, 2**30)
    scarce_for_gram(monkeypatch, 2**26)
    with pytest.warns(RuntimeWarning, match="pieces of a kernel of 1024 MiB; went on with 64 MiB"):
        found = gram_module.gram(factors, 2**30)
    torch.testing.assert_close(found, expected)


def test_gram_matrices_that_do_not_fit_at_all_end_clearly(monkeypatch):
    scarce_for_gram(monkeypatch, 0)
    with pytest.raises(torch.OutOfMemoryError, match="take fewer, or pass a smaller memory_budget"):
        gram_module.gram(outer_factors(), 2**30)


def test_the_budget_is_given_or_goes_by_the_device(monkeypatch):
    gpu, memory = torch.device("cuda"), 100 * 2**30
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=memory)
    )
    assert check_memory_budget(None, gpu) == 40 * 2**30
    assert check_memory_budget(None) == 4 * 2**30
    assert check_memory_budget(2**30, gpu) == 2**30


def test_a_linearization_goes_on_with_fewer_examples(model, monkeypatch):
    batch, targets = tokens(11), torch.ones(11, 7, dtype=torch.float64)
    expected = tl_entk.linearized(model, batch, targets, components="unembed.*")
    scarce(monkeypatch, 3)
    with pytest.warns(RuntimeWarning, match="ran out of memory") as said:
        found = tl_entk.linearized(model, batch, targets, components="unembed.*")
    assert "11 examples at a time; going on with 5" in str(said[0].message)
    torch.testing.assert_close(found.outputs, expected.outputs)
    torch.testing.assert_close(found.predictions, expected.predictions)


def written_out(monkeypatch, most):
    """A device with memory for the Jacobian of so many examples."""
    plain = GradientMap.dense

    def dense(part, chosen):
        if chosen.stop - chosen.start > most:
            raise torch.OutOfMemoryError("no room")
        return plain(part, chosen)

    monkeypatch.setattr(GradientMap, "dense", dense)


WRITES_OUT = {
    "J": lambda J: J.dense(),
    "J^T J": lambda J: J.gram(),
    "J J^T": lambda J: J.kernel(),
    "eigenvalues": lambda J: J.eigendecompose(3).eigenvalues,
    "of few rows": lambda J: J.outputs_between(0, 2).eigendecompose(3).eigenvalues,
    "residuals": lambda J: J.eigendecompose(3).residuals,
    "diagonal": lambda J: torch.tensor(mean_diagonal(J)),
}


@pytest.mark.parametrize("name", WRITES_OUT)
@pytest.mark.plain
def test_a_jacobian_is_written_out_for_fewer_examples(name, monkeypatch):
    J = tl_entk.jacobian(torch.nn.Linear(5, 6).double(), torch.eye(5).double()[[0, 1, 2, 3, 4, 0]])
    expected = WRITES_OUT[name](J)
    written_out(monkeypatch, 2)
    with pytest.warns(RuntimeWarning, match="ran out of memory with . examples at a time"):
        torch.testing.assert_close(WRITES_OUT[name](J), expected)
    written_out(monkeypatch, 0)
    with (
        pytest.raises(torch.OutOfMemoryError, match="single example: fewer components"),
        pytest.warns(RuntimeWarning),
    ):
        WRITES_OUT[name](J)


@pytest.mark.plain
@pytest.mark.parametrize("name", ["apply", "adjoint"])
def test_products_with_a_jacobian_that_do_not_fit_say_what_would(name, monkeypatch):
    J = tl_entk.jacobian(torch.nn.Linear(3, 2), torch.eye(3))

    def refuse(*_):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(GradientMap, name, refuse)
    with pytest.raises(torch.OutOfMemoryError, match=r"factors of 3 examples.*pass fewer examples"):
        getattr(J, name)(torch.ones(8) if name == "apply" else torch.ones(3, 2))


@pytest.mark.plain
def test_factors_that_do_not_fit_together_say_what_would(monkeypatch):
    def refuse(*_, **__):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(factors, "fold_outputs", refuse)
    with pytest.raises(torch.OutOfMemoryError, match=r"factors of 3 examples.*pass fewer examples"):
        tl_entk.jacobian(torch.nn.Linear(3, 2), torch.eye(3))


def test_a_device_too_small_for_one_example_ends_clearly(monkeypatch):
    model, x = torch.nn.Linear(3, 2), torch.randn(5, 3)
    plain = model.forward

    def forward(rows):
        if torch.is_grad_enabled():
            raise torch.OutOfMemoryError("no room")
        return plain(rows)

    monkeypatch.setattr(model, "forward", forward)
    with (
        pytest.raises(torch.OutOfMemoryError, match="single example"),
        pytest.warns(RuntimeWarning),
    ):
        factors.collect(task_of(model, x), [], columns=slice(0, 1), batch_size=4, dtype=x.dtype)


def task_of(model, x):
    from tl_entk.model.adapters import adapt
    from tl_entk.model.readouts import bind_readout
    from tl_entk.model.task import Task

    readout = bind_readout("mean_logit", n=len(x), d_vocab_out=2)
    return Task(adapt(model), x, torch.zeros(len(x), dtype=torch.long), readout, 1)
