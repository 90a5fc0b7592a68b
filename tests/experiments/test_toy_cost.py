"""What toy experiments will take: measured pieces, scaled up by how many there are."""

import pytest

from tests.models import HAS_HOOKED
from tl_entk.experiments import toy_cost
from tl_entk.experiments.modular_mlp.settings import MLPSettings
from tl_entk.experiments.modular_transformer.settings import ModularSettings
from tl_entk.experiments.superposition.settings import SuperpositionSettings

pytestmark = pytest.mark.plain

TOY = SuperpositionSettings(m=2, features=4, examples=20, steps=100)


@pytest.fixture
def each_measurement_is_a_second(monkeypatch):
    def one_second(work, device):
        work()
        return 1.0

    monkeypatch.setattr(toy_cost, "seconds", one_second)


@pytest.mark.usefixtures("each_measurement_is_a_second")
def test_steps_and_exponents_are_scaled_up():
    found = {one.part: one.seconds for one in toy_cost.estimate_superposition([TOY], [0.3, 1.0])}
    assert found == {f"{TOY.name}: training": 100 / 40, f"{TOY.name}: kernels": 3}


@pytest.mark.usefixtures("each_measurement_is_a_second")
def test_epochs_and_records_are_scaled_up():
    settings = MLPSettings(p=5, n=8, epochs=12)
    found = {one.part: one.seconds for one in toy_cost.estimate_mlp(settings)}
    # epochs 0, 5, 10, 12 are recorded, 0 and 12 kept; a record is a second of kernels, and three
    # decompositions
    assert found == pytest.approx({"training": 1.2, "kernels through training": 6 * 4})


@pytest.mark.usefixtures("each_measurement_is_a_second")
@pytest.mark.parametrize("model_class", ["bridge", *(["hooked"] if HAS_HOOKED else [])])
def test_a_transformer_is_trained_for_a_few_epochs_and_left_nowhere(
    model_class, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    settings = ModularSettings(p=5, epochs=50)
    found = {one.part: one.seconds for one in toy_cost.estimate_transformer(settings, model_class)}
    assert found["training"] == 50 / 10
    # epochs 0, 25, 50
    assert found["kernels through training"] == 3 * 4
    assert found["kernels of the trained model"] > 10
    assert not list(tmp_path.iterdir())


def test_the_paper_is_the_sum_of_its_trainings(monkeypatch):
    for name in ("superposition", "mlp", "transformer"):
        monkeypatch.setattr(
            toy_cost, f"estimate_{name}", lambda *_: [toy_cost.Cost("a part", 2.0, 0, "")]
        )
    found = [(one.part, one.seconds) for one in toy_cost.estimate_paper("bridge")]
    assert found == [
        ("superposition, 1 of 5 seeds", 2),
        ("superposition, 4 of 5 seeds", 8),
        ("MLP", 12),
        ("Transformer", 10),
    ]
