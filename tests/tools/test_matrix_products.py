"""The library that multiplies is what is fastest with the accuracy of float32."""

import pytest
import torch

from tl_entk.commands.checks import choose_speed
from tl_entk.tools import matrix_products, threads
from tl_entk.tools.matrix_products import Products, choose_products, fast_products

CPU = torch.device("cpu")


MEASURED = (matrix_products.measure_products, threads.set_threads)


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    for measured in MEASURED:
        measured.cache_clear()
    yield
    torch.set_float32_matmul_precision("highest")
    for measured in MEASURED:
        measured.cache_clear()


@pytest.mark.parametrize(
    ("medium", "error", "mode"),
    [
        (0.5, 6e-7, "medium"),
        (0.95, 6e-7, "highest"),
        (0.2, 2e-3, "highest"),
        (0.5, 3e-4, "highest"),
    ],
)
def test_only_what_is_faster_and_as_accurate_is_taken(medium, error, mode):
    """bfloat16 is off by 2e-3, TF32 by 3e-4."""
    assert choose_products(1.0, medium, error).mode == mode


def test_what_is_chosen_multiplies_in_full_float32():
    """Measured here, whatever this machine has."""
    left, right = torch.randn(64, 512), torch.randn(512, 64)
    exact = left.double() @ right.double()
    with fast_products(CPU):
        assert torch.get_float32_matmul_precision() == matrix_products.measure_products().mode
        assert float((left @ right - exact).norm() / exact.norm()) < 1e-5
    assert torch.get_float32_matmul_precision() == "highest"


def test_what_the_user_or_another_device_sets_stays(monkeypatch):
    chosen = Products("medium", 2.0, 5e-7)
    monkeypatch.setattr(matrix_products, "measure_products", lambda: chosen)
    with fast_products(torch.device("meta")):
        assert torch.get_float32_matmul_precision() == "highest"
    torch.set_float32_matmul_precision("high")
    with fast_products(CPU):
        assert torch.get_float32_matmul_precision() == "high"


def test_work_that_fails_leaves_the_switch_as_it_was(monkeypatch):
    chosen = Products("medium", 2.0, 5e-7)
    monkeypatch.setattr(matrix_products, "measure_products", lambda: chosen)

    def fail():
        with fast_products(CPU):
            raise ZeroDivisionError(torch.get_float32_matmul_precision())

    with pytest.raises(ZeroDivisionError, match="medium"):
        fail()
    assert torch.get_float32_matmul_precision() == "highest"


def test_commands_say_what_multiplies(monkeypatch, capsys):
    chosen = Products("medium", 2.0, 5e-7)
    monkeypatch.setattr("tl_entk.tools.matrix_products.measure_products", lambda: chosen)
    choose_speed("cuda")
    assert torch.get_float32_matmul_precision() == "highest"
    choose_speed()
    assert torch.get_float32_matmul_precision() == "medium"
    assert "by oneDNN, 2.0 times as fast, in full float32" in capsys.readouterr().out
