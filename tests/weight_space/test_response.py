"""Predicted and measured changes by step; what a direction reads and writes."""

from dataclasses import replace

import pytest
import torch

import tl_entk
from tests.models import build, tokens
from tl_entk.operator.suffix import Suffix
from tl_entk.plot.responses import response_frame
from tl_entk.weight_space import response as response_module

N = 8
WEIGHT = "blocks.0.mlp.W_out"


@pytest.fixture(scope="module")
def found():
    model, batch = build("native:layer_norm"), tokens(N)
    blocks = tl_entk.kernel_blocks(model, batch, "target_logprob", "blocks.*")
    eigen = tl_entk.eigendecompose(blocks, 2, components=[WEIGHT, "blocks.1.attn.W_O"])
    return model, batch, eigen


def test_predictions_hold_for_small_steps_on_any_windows_and_fail_for_large_ones(found):
    model, batch, eigen = found
    u = eigen.weight_directions()
    for windows in (batch, tokens(N, seed=9)):
        response = tl_entk.nudge_response(u, model, windows, 1, steps=(1e-5, 1e-3, 3.0))
        assert response.measured.shape == (3, N)
        assert float(response.correlation[0]) > 1 - 1e-8
        errors = response.error
        # the error of the first order grows with the step
        assert float(errors[0]) < 1e-3 < 0.1 < float(errors[2])
        assert 50 < float(errors[1] / errors[0]) < 200
        assert response.linear_until == 1e-3
    response = tl_entk.nudge_response(u, model, batch, 1, steps=(1e-4,))
    expected = eigen.eigenvalues[1].sqrt() * eigen.scores[:, 1]
    assert torch.allclose(response.predicted, expected, atol=1e-10)
    norm = (model.W_out[0].square().sum() + model.W_O[1].square().sum()).sqrt().detach()
    assert response.norm == pytest.approx(float(norm))
    with tl_entk.nudge(model, u[1], 1e-4 * response.norm), torch.no_grad():
        moved = model(batch)[:, -1]
    with torch.no_grad():
        before = model(batch)[:, -1]
    target = before.argmax(1, keepdim=True)
    change = (moved.log_softmax(1) - before.log_softmax(1)).gather(1, target)[:, 0]
    assert torch.allclose(response.measured[0], change, atol=1e-12)


def test_predictions_of_all_logits_hold_too(found):
    model, batch, _ = found
    eigen = tl_entk.top_eigendirections(model, batch, WEIGHT, 2, tol=1e-10)
    u = eigen.weight_directions()
    response = tl_entk.nudge_response(u, model, batch, steps=(1e-4,))
    expected = eigen.eigenvalues[0].sqrt() * eigen.scores[:, 0]
    assert torch.allclose(response.predicted, expected, atol=1e-8)
    assert float(response.correlation[0]) > 1 - 1e-5


def test_steps_are_positive_numbers(found):
    model, batch, eigen = found
    u = eigen.weight_directions()
    for steps in ((), (0.0,), (-1.0,), (float("nan"),)):
        with pytest.raises(tl_entk.UserError, match="positive numbers"):
            tl_entk.nudge_response(u, model, batch, steps=steps)
    with pytest.raises(tl_entk.UserError, match="direction 5"):
        tl_entk.nudge_response(u, model, batch, 5)


def test_responses_are_drawn(found):
    model, batch, eigen = found
    response = tl_entk.nudge_response(eigen.weight_directions(), model, batch, steps=(1e-3, 0.1))
    frame = response_frame({"old": response, "again": response})
    assert frame.name.tolist() == ["old", "old", "again", "again"]
    ax = tl_entk.plot.response(response)
    assert len(ax.lines) == 2  # the curve, and where an error is a tenth
    chart = tl_entk.plot.response({"old": response}, interactive=True).to_dict()
    assert chart["title"]["text"] == "How far the first order holds"
    steps = chart["layer"][0]["encoding"]["x"]["axis"]["values"]
    assert steps == pytest.approx([1e-3, 1e-2, 0.1, 1.0])
    with pytest.raises(tl_entk.UserError, match="no responses"):
        tl_entk.plot.response({})


def test_singular_vectors_add_up_to_the_direction(found):
    model, _, eigen = found
    u = eigen.weight_direction(0)
    part = u[WEIGHT]
    total = torch.zeros_like(part)
    for pair in range(10):
        one = tl_entk.reads_and_writes(model, u, WEIGHT, pair=pair, count=3)
        a, b = one.reads.vector, one.writes.vector
        assert float(a[a.abs().argmax()]) > 0
        total += one.singular_values[pair] * a[:, None] * b
        if pair == 0:
            assert (one.reads.space, one.writes.space, one.head) == ("neurons", "residual", None)
            assert one.reads.highest[0][0] == int(a.argmax())
            logits = b @ model.W_U.detach()
            logits = logits - logits.mean()
            assert [n for n, _ in one.writes.highest] == logits.topk(3).indices.tolist()
            assert one.writes.lowest[0][1] == pytest.approx(float(logits.min()))
            assert one.share == pytest.approx(float(one.singular_values[0] ** 2 / part.norm() ** 2))
            assert "reads neurons" in str(one)
            assert len(one.to_pandas()) == 12
    assert torch.allclose(total, part, atol=1e-12)


def test_what_is_read_of_the_residual_stream_is_told_by_the_nearest_embeddings():
    model, batch = build("native:layer_norm"), tokens(N)
    weight = "blocks.1.mlp.W_in"
    blocks = tl_entk.kernel_blocks(model, batch, "logsumexp", weight)
    one = tl_entk.reads_and_writes(model, tl_entk.eigendecompose(blocks, 1).weight_direction(0))
    assert (one.component, one.reads.space, one.writes.space) == (weight, "residual", "neurons")
    cosines = torch.nn.functional.cosine_similarity(model.W_E.detach(), one.reads.vector, dim=1)
    assert [n for n, _ in one.reads.highest] == cosines.topk(10).indices.tolist()
    assert one.reads.lowest[0][1] == pytest.approx(float(cosines.min()))


def test_the_head_that_has_most_of_it_is_shown(found):
    model, _, eigen = found
    u = eigen.weight_direction(0)
    one = tl_entk.reads_and_writes(model, u, "blocks.1.attn.W_O", count=2)
    squares = u["blocks.1.attn.W_O"].square().sum((1, 2))
    assert torch.allclose(one.head_shares, squares / squares.sum())
    assert one.head == int(squares.argmax())
    assert (one.reads.space, one.writes.space) == ("head", "residual")
    for options, match in (
        ({"component": "blocks.1.attn.W_O", "head": 9}, "head 9"),
        ({"component": WEIGHT, "head": 0}, "no axis of heads"),
        ({"component": WEIGHT, "pair": 99}, "pair 99"),
        ({"component": "W"}, "has no 'W'"),
    ):
        with pytest.raises(tl_entk.UserError, match=match):
            tl_entk.reads_and_writes(model, u, **options)
    biases = tl_entk.kernel_blocks(model, tokens(N), "logsumexp", "blocks.0.mlp.b_out")
    of_bias = tl_entk.eigendecompose(biases, 1).weight_direction(0)
    with pytest.raises(tl_entk.UserError, match="no matrix"):
        tl_entk.reads_and_writes(model, of_bias)


def test_steps_may_come_in_any_order(found):
    model, batch, eigen = found
    steps = (3.0, 1e-5, 1e-3)
    response = tl_entk.nudge_response(eigen.weight_directions(), model, batch, 1, steps=steps)
    assert response.linear_until == 1e-3


def test_one_direction_is_predicted_and_few_windows_are_read_at_a_time(found, monkeypatch):
    model, batch, eigen = found
    u = eigen.weight_directions()
    expected = tl_entk.nudge_response(u, model, batch, 1, steps=(1e-3,))
    predict, run, directions, windows = response_module.first_order_change, Suffix.run, [], []

    def count_directions(some, *args, **options):
        directions.append(len(some))
        return predict(some, *args, **options)

    def count_windows(suffix, rows, *args, **options):
        windows.append(rows.stop - rows.start)
        return run(suffix, rows, *args, **options)

    monkeypatch.setattr(response_module, "first_order_change", count_directions)
    monkeypatch.setattr(response_module, "examples_per_pass", lambda *_: 3)
    monkeypatch.setattr(Suffix, "run", count_windows)
    found = tl_entk.nudge_response(u, model, batch, 1, steps=(1e-3,))
    assert directions == [1]
    assert max(windows) == 3
    assert torch.allclose(found.measured, expected.measured, atol=1e-12)
    assert torch.allclose(found.predicted, expected.predicted, atol=1e-12)


def test_the_token_that_is_looked_at_is_the_top_one_before_the_step(found):
    """Of the classes that the readout sees, which are not those of the model's own top tokens."""
    model, batch, _ = found
    with torch.no_grad():
        before = model(batch)[:, -1]
    common = int(before.argmax(1).mode().values)
    seen = slice(common + 1, 7) if common < 4 else slice(0, common)
    blocks = tl_entk.kernel_blocks(
        model, batch, "target_logit", "blocks.1.mlp.W_out", class_slice=seen
    )
    u = tl_entk.eigendecompose(blocks, 1).weight_directions()
    # the other way, which lowers the token that is looked at
    u = replace(u, weights={name: -part for name, part in u.weights.items()})
    response = tl_entk.nudge_response(u, model, batch, steps=(3.0,))
    with torch.no_grad(), tl_entk.nudge(model, u[0], 3.0 * response.norm):
        after = model(batch)[:, -1]
    top = before[:, seen].argmax(1)
    assert bool((after[:, seen].argmax(1) != top).any())
    change = (after - before)[torch.arange(N), top + seen.start]
    assert torch.allclose(response.measured[0], change, atol=1e-12)


def test_predictions_of_kernels_of_cosines_are_of_the_gradients_as_they_are(found):
    model, batch, _ = found
    u = tl_entk.default_directions(model, batch, 2).weight_directions()
    response = tl_entk.nudge_response(u, model, batch, steps=(1e-5,))
    assert float(response.error[0]) < 1e-3
