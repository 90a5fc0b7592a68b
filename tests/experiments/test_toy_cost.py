"""What toy experiments will take: measured pieces, scaled up by how many there are."""

import itertools
from dataclasses import replace

import pytest

from tests.experiments.small_induction import SMALL as SMALL_INDUCTION
from tests.models import HAS_HOOKED
from tl_entk.experiments import toy_cost
from tl_entk.experiments.modular_mlp.settings import MLPSettings
from tl_entk.experiments.modular_transformer.settings import ModularSettings
from tl_entk.experiments.structured_superposition.settings import StructureSettings
from tl_entk.experiments.superposition.settings import SuperpositionSettings

pytestmark = pytest.mark.plain

TOY = SuperpositionSettings(m=2, features=4, examples=20, steps=100)


@pytest.fixture
def clock(monkeypatch):
    """Each measurement takes the next of these seconds; work is done all the same."""

    def take(*numbers):
        coming = itertools.chain(numbers, itertools.repeat(1.0))

        def next_number(work, device):
            work()
            return next(coming)

        monkeypatch.setattr(toy_cost, "seconds", next_number)

    return take


def seconds_of(costs):
    return {one.part: one.seconds for one in costs}


def test_steps_and_exponents_are_scaled_up(clock):
    # 20 steps in 5 s, set-up and all, 100 more in 4 s
    clock(5.0, 9.0, 2.0)
    found = seconds_of(toy_cost.estimate_superposition([TOY], [0.3, 1.0]))
    assert found == pytest.approx(
        {f"{TOY.name}: training": 5 + 80 * 0.04, f"{TOY.name}: kernels": 6}
    )


def test_the_comparison_of_one_structure_stands_for_all(clock, monkeypatch):
    monkeypatch.setattr(toy_cost.structured, "analyze", lambda *_: None)
    sizes = {"m": 2, "features": 10, "examples": 20, "steps": 100}
    regimes = [
        StructureSettings(**sizes, structure=structure)
        for structure in ("independent", "correlated")
    ]
    clock(5.0, 9.0, 5.0, 7.0, 2.0)
    assert seconds_of(toy_cost.estimate_structures(regimes)) == pytest.approx(
        {
            "independent: training": 5 + 80 * 0.04,
            "correlated: training": 5 + 80 * 0.02,
            "kernels and comparison": 4,
        }
    )


def test_epochs_and_records_are_scaled_up(clock):
    settings = MLPSettings(p=5, n=8, epochs=12)
    clock(5.0, 9.0, 10.0, 100.0)
    found = seconds_of(toy_cost.estimate_mlp(settings))
    # epochs 0, 5, 10, 12 are followed, 0 and 12 kept
    kernels = 6 * 10 + (4 * 2 + 2 * 3) * 100
    assert found == pytest.approx({"training": 5 - 8 * 0.04, "kernels through training": kernels})


def test_records_of_induction_heads_are_scaled_up(clock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clock(5.0, 9.0, 10.0, 8.0)
    settings = replace(SMALL_INDUCTION, steps=220, checkpoints=9)
    found = seconds_of(toy_cost.estimate_induction(settings))
    # 4 records were followed in 8 s
    assert found == pytest.approx(
        {
            "training": 5 + 200 * 0.04,
            "attributions of the trained model": 10,
            "shares through training": 10 * 2,
        }
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("model_class", ["bridge", *(["hooked"] if HAS_HOOKED else [])])
def test_a_transformer_is_trained_for_a_few_epochs_and_left_nowhere(
    model_class, clock, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    clock(5.0, 9.0, 10.0, 100.0, 20.0, 200.0)
    settings = ModularSettings(p=5, epochs=50)
    found = seconds_of(toy_cost.estimate_transformer(settings, model_class))
    assert found["training"] == pytest.approx(5 + 30 * 0.04)
    # epochs 0, 25, 50
    assert found["kernels through training"] == 3 * (20 + 2 * 200)
    assert (found["kernels of the trained model"] - 10) % 100 == 0
    assert found["kernels of the trained model"] > 1000
    assert not list(tmp_path.iterdir())


def test_a_training_that_takes_no_longer_is_as_long_as_the_short_one(clock):
    clock(5.0, 4.0)
    (first, *_) = toy_cost.estimate_superposition([TOY], [])
    assert first.seconds == 5


def test_the_paper_is_the_sum_of_its_trainings(monkeypatch):
    asked = []
    for name in ("superposition", "mlp", "transformer"):
        monkeypatch.setattr(
            toy_cost,
            f"estimate_{name}",
            lambda *of: asked.append(of) or iter([toy_cost.Cost("a part", 2.0, 0, "")]),
        )
    assert seconds_of(toy_cost.estimate_paper("bridge")) == {
        "superposition, first seed": 2,
        "superposition, other seeds": 8,
        "the author's toy model": 10,
        "MLP": 10,
        "narrow MLP": 2,
        "Transformer": 10,
    }
    assert asked[4] == (MLPSettings(n=64),)
