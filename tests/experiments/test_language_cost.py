"""What a run of the language-model experiment will take, said before it."""

from dataclasses import replace

import pytest
import torch

from tests.experiments.small_language import SMALL
from tl_entk.alignment.readout_sweep import sweep_directions, sweep_weights
from tl_entk.commands.language import _estimate
from tl_entk.experiments.language import cost
from tl_entk.experiments.language.cost import estimate_language
from tl_entk.language.loading import load_language_model

pytestmark = pytest.mark.plain

WINDOWS = torch.ones(2, 3, dtype=torch.long)


@pytest.fixture(scope="module")
def language_model():
    return load_language_model("stories")


def parts(settings, language_model):
    return {found.part: found for found in estimate_language(settings, language_model, 2**28)}


def test_every_part_that_is_asked_for_is_named(language_model):
    found = parts(replace(SMALL, exact=False), language_model)
    assert list(found) == [
        "windows: the model's own next words",
        "activations, predictions, baselines",
        "kernels of all logits",
        *(f"kernels of all logits, blocks.{layer}.mlp.W_out, solved whole" for layer in (4, 5)),
        "kernels of logsumexp",
        "kernels of target_logit",
        "shares of weights and heads",
    ]
    assert all(one.seconds > 0 for one in found.values())
    assert all(one.memory_bytes > 0 for name, one in found.items() if "kernels" in name)


def test_what_is_not_asked_for_costs_nothing(language_model):
    lean = replace(
        SMALL, agree=False, shares=False, readouts=(), normalizations=(), exact=False, bos=False
    )
    assert list(parts(lean, language_model)) == [
        "activations, predictions, baselines",
        "kernels of all logits",
    ]
    exact = parts(replace(lean, exact=True), language_model)
    assert "kernels of all logits" not in exact
    assert len(exact) == 3


def test_kernels_asked_for_twice_are_solved_once(language_model):
    lean = replace(SMALL, agree=False, shares=False, readouts=(), exact=False)
    twice = parts(replace(lean, normalizations=("plain",), layers=(4, 4)), language_model)
    assert [name for name in twice if "all logits" in name] == ["kernels of all logits"]
    exact = parts(replace(lean, normalizations=("plain",), exact=True), language_model)
    assert [one.note.startswith("about") for name, one in exact.items() if "whole" in name] == [
        True,
        True,
    ]


def test_more_windows_and_solutions_take_longer(language_model, monkeypatch):
    # each measurement is a second, so that the sums are known
    monkeypatch.setattr(cost, "seconds", lambda work, device: 1.0)
    few, many = (parts(replace(SMALL, per_tag=n), language_model) for n in (8, 16))
    name = "activations, predictions, baselines"
    assert many[name].seconds == 2 * few[name].seconds == 2 * 3 * 64 / 16
    whole = "kernels of all logits, blocks.5.mlp.W_out, solved whole"
    # plain and normalized
    assert few[whole].note.startswith("2 times")


def test_the_weights_are_those_of_the_sweep(language_model, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "tl_entk.alignment.readout_sweep.kernel_blocks",
        lambda model, tokens, readout, weights, **_: asked.append(weights) or 1 / 0,
    )
    with pytest.raises(ZeroDivisionError):
        sweep_directions(language_model.model, WINDOWS, ["logsumexp"], layers=[4, 5],
                         components=SMALL.components)  # fmt: skip
    ours = sweep_weights(SMALL.components, [4, 5], 6)
    names = ["blocks.4.mlp.W_out", "blocks.0.attn.W_Q", "blocks.0.attn.W_Q[1]", "embed.W_E"]
    assert [ours(name) for name in names] == [True, True, False, False]
    assert [name in asked[0] for name in names] == [ours(name) for name in names]


def test_the_command_says_it_and_computes_nothing(capsys):
    _estimate(replace(SMALL, exact=False), "cpu", 2**28)
    printed = capsys.readouterr().out
    assert "all of it" in printed
    assert "GiB" in printed
    assert "come on top" in printed
