"""Induction heads: windows, scores and shares beside the network written out plainly."""

from dataclasses import replace

import pytest
import torch
from sklearn.metrics import r2_score

from tests.experiments.small_induction import SMALL, plain_forward
from tests.models import HAS_HOOKED
from tl_entk.alignment.probes import probe_scores
from tl_entk.experiments.induction.attributions import (
    LOSS_GRADIENT,
    MEAN_OUTPUT,
    PCA,
    PROBE,
    TRACE,
    attribute,
    head_kernels,
    output_baselines,
    share_of_heads,
)
from tl_entk.experiments.induction.data import draw_sequences, draw_windows
from tl_entk.experiments.induction.head_scores import (
    ABLATION,
    COPYING,
    PATCHING,
    PREFIX,
    PREVIOUS,
    score_heads,
)
from tl_entk.experiments.induction.model import (
    AttentionOnly,
    build_attention_only,
    seeded_weights,
)

CLASSES = ["bridge", *(["hooked"] if HAS_HOOKED else [])]
HEADS = [(layer, head) for layer in range(2) for head in range(2)]


@pytest.fixture(scope="module")
def weights():
    generator = torch.Generator().manual_seed(1)
    # large enough for attention that is not even
    return {
        name: (2.5 * weight).double() for name, weight in seeded_weights(SMALL, generator).items()
    }


@pytest.fixture(scope="module")
def windows():
    return draw_windows(SMALL)


@pytest.fixture(scope="module", params=CLASSES)
def model(request, weights):
    return build_attention_only(SMALL, request.param, weights).double()


@pytest.fixture(scope="module")
def scores(model, windows):
    return score_heads(model, windows)


@pytest.fixture(scope="module")
def attributions(model, windows):
    return attribute(model, windows)


@pytest.fixture(scope="module")
def plain(weights, windows):
    """Logits, patterns and outputs of all windows."""
    return plain_forward(weights, windows.tokens)


def logprobs(logits, windows, rows):
    found = logits.log_softmax(-1)
    return torch.stack([found[i, windows.position[row], windows.target[row]]
                        for i, row in enumerate(rows)])  # fmt: skip


def test_sequences_repeat_after_their_period_and_not_before():
    tokens, periods = draw_sequences(SMALL, 50, torch.Generator().manual_seed(0))
    assert tokens.shape == (50, SMALL.length + 1)
    assert set(periods.tolist()) == set(range(SMALL.shortest, SMALL.longest + 1))
    for row, period in zip(tokens.tolist(), periods.tolist(), strict=True):
        assert len(set(row[:period])) == period
        assert all(row[i] == row[i - period] for i in range(period, len(row)))


def test_a_pair_of_windows_differs_in_whether_the_last_token_stood_before():
    windows = draw_windows(SMALL)
    half = SMALL.pairs
    for i in range(half):
        position = int(windows.position[i])
        assert position == int(windows.position[half + i])
        assert 2 * SMALL.shortest <= position < SMALL.longest
        first, second = (windows.tokens[row, : position + 1].tolist() for row in (i, half + i))
        assert first[-1] == second[-1]
        assert len(set(second)) == len(second)
        earlier = first.index(first[-1])
        assert earlier < position
        assert int(windows.target[i]) == first[earlier + 1]
    assert windows.repeated.tolist() == [True] * half + [False] * half
    assert abs(float(windows.feature.sum())) < 1e-12
    assert float(windows.feature.norm()) == pytest.approx(1)


def test_every_class_computes_what_is_trained(model, weights, windows, plain):
    torch.testing.assert_close(AttentionOnly(weights).logits(windows.tokens), plain[0])
    torch.testing.assert_close(model(windows.tokens), plain[0])


def test_attention_scores(scores, windows, plain):
    for layer, head in HEADS:
        prefix, previous = [], []
        for row in range(SMALL.pairs):
            tokens, end = windows.tokens[row].tolist(), int(windows.position[row])
            pattern = plain[1][layer][head][row]
            after = [j for j in range(1, end + 1) if tokens[j - 1] == tokens[end]]
            prefix.append(sum(float(pattern[end, j]) for j in after))
            previous.append(sum(float(pattern[i, i - 1]) for i in range(1, end + 1)) / end)
        assert float(scores[PREFIX][layer, head]) == pytest.approx(sum(prefix) / SMALL.pairs)
        assert float(scores[PREVIOUS][layer, head]) == pytest.approx(sum(previous) / SMALL.pairs)


def test_copying_is_of_the_whole_circuit(scores, weights):
    for layer, head in HEADS:
        value, output = (weights[f"blocks.{layer}.attn.W_{name}"][head] for name in "VO")
        circuit = weights["embed.W_E"] @ value @ output @ weights["unembed.W_U"]
        values = torch.linalg.eigvals(circuit)
        expected = values.real.sum() / values.abs().sum()
        assert float(scores[COPYING][layer, head]) == pytest.approx(float(expected))


def test_ablation_and_attribution_patching(scores, weights, windows, plain):
    first, second = range(SMALL.pairs), range(SMALL.pairs, 2 * SMALL.pairs)
    before = logprobs(plain[0][: SMALL.pairs], windows, first).mean()
    leaves = {place: plain[2][place[0]][place[1]][SMALL.pairs :].clone() for place in HEADS}
    for layer, head in HEADS:
        z = plain[2][layer][head]
        mean = {(layer, head): z.mean(0).expand(SMALL.pairs, -1, -1)}
        logits = plain_forward(weights, windows.tokens[: SMALL.pairs], mean)[0]
        effect = before - logprobs(logits, windows, first).mean()
        assert float(scores[ABLATION][layer, head]) == pytest.approx(float(effect))
        leaf = leaves[layer, head].requires_grad_()
        logits = plain_forward(weights, windows.tokens[list(second)], {(layer, head): leaf})[0]
        # the answer of the window that repeats
        (gradient,) = torch.autograd.grad(logprobs(logits, windows, first).sum(), leaf)
        expected = ((z[: SMALL.pairs] - leaf.detach()) * gradient).sum() / SMALL.pairs
        assert float(scores[PATCHING][layer, head]) == pytest.approx(float(expected))


def weight_gradients(weights, windows, combine):
    """Gradient of a number made of all windows' logits, a tensor per head and letter."""
    leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
    combine(plain_forward(leaves, windows.tokens)[0]).backward()
    return {
        (layer, head, letter): leaves[f"blocks.{layer}.attn.W_{letter}"].grad[head]
        for layer, head in HEADS
        for letter in "QKVO"
    }


def shares_of(gradients, letters="QKVO"):
    """Squared norms of every head's gradients over those of all heads' weights."""
    squares = {place: float(gradient.square().sum()) for place, gradient in gradients.items()}
    heads = [sum(squares[(*place, letter)] for letter in letters) for place in HEADS]
    return torch.tensor(heads, dtype=torch.float64).view(2, 2) / sum(squares.values())


def test_shares_are_norms_of_weighted_gradients(attributions, weights, windows):
    """With target_logprob: of the gradient of the loss weighted by the feature."""
    rows, found = range(2 * SMALL.pairs), attributions
    at = torch.arange(2 * SMALL.pairs)
    readouts = {
        "target_logit": lambda logits: logits[at, windows.position, windows.target],
        "target_logprob": lambda logits: logprobs(logits, windows, rows),
        "logsumexp": lambda logits: logits[at, windows.position].logsumexp(-1),
    }
    for name, read in readouts.items():
        gradients = weight_gradients(weights, windows, lambda x, r=read: r(x) @ windows.feature)
        torch.testing.assert_close(found[f"share, {name}"], shares_of(gradients))
        if name == "target_logit":
            for circuit, letters in (("QK", "QK"), ("OV", "VO")):
                expected = shares_of(gradients, letters)
                torch.testing.assert_close(found[f"share of {circuit}, {name}"], expected)
    loss = weight_gradients(
        weights, windows, lambda x: -logprobs(x, windows, rows)[: SMALL.pairs].mean()
    )
    torch.testing.assert_close(found[LOSS_GRADIENT], shares_of(loss))


def test_the_share_of_the_final_state_is_of_all_its_numbers(model, weights, windows):
    total = torch.zeros(2, 2, dtype=torch.float64)
    at = torch.arange(2 * SMALL.pairs)
    # logits of a unit unembedding are the state itself
    bare = weights | {"unembed.W_U": torch.eye(SMALL.d_model, dtype=torch.float64)}
    for i in range(SMALL.d_model):
        gradients = weight_gradients(
            bare, windows, lambda x, i=i: x[at, windows.position, i] @ windows.feature
        )
        whole = sum(float(gradient.square().sum()) for gradient in gradients.values())
        total += shares_of(gradients) * whole
    found = share_of_heads(head_kernels(model, windows, "final_hidden"), windows.feature)
    torch.testing.assert_close(found, total / total.sum())


def test_traces_alignments_and_outputs(attributions, weights, windows, plain):
    found = attributions
    at, n = torch.arange(2 * SMALL.pairs), 2 * SMALL.pairs
    jacobian = [
        weight_gradients(
            weights, windows, lambda x, i=i: x[at, windows.position, windows.target][i]
        )
        for i in range(n)
    ]
    traces = []
    for place in HEADS:
        J = torch.stack(
            [torch.cat([row[(*place, x)].flatten() for x in "QKVO"]) for row in jacobian]
        )
        J = J - J.mean(0)
        traces.append(float(J.square().sum()))
        vectors = torch.linalg.svd(J, full_matrices=False).U[:, :10]
        best = (vectors.T @ windows.feature).abs().max()
        assert float(found["alignment, target_logit"][place]) == pytest.approx(float(best))
    expected = torch.tensor(traces, dtype=torch.float64).view(2, 2) / sum(traces)
    torch.testing.assert_close(found[TRACE], expected)
    for layer, head in HEADS:
        z = plain[2][layer][head][at, windows.position]
        moved = z[: SMALL.pairs].mean(0) - z[SMALL.pairs :].mean(0)
        image = moved @ weights[f"blocks.{layer}.attn.W_O"][head]
        assert float(found[MEAN_OUTPUT][layer, head]) == pytest.approx(float(image.norm()))


def test_a_probe_and_principal_components_of_the_heads_outputs(model, weights):
    # an odd number of pairs, both windows of each on one side
    pairs = 7
    windows = draw_windows(replace(SMALL, pairs=pairs))
    found = output_baselines(model, windows)
    zs = plain_forward(weights, windows.tokens)[2]
    truth = windows.repeated.double().numpy()[:, None]
    fitted, judged = (
        torch.cat([torch.arange(first, pairs, 2), pairs + torch.arange(first, pairs, 2)])
        for first in (0, 1)
    )
    for layer, head in HEADS:
        z = zs[layer][head][torch.arange(2 * pairs), windows.position]
        guess = probe_scores(z[fitted].numpy(), truth[fitted], z[judged].numpy(), [False])
        expected = r2_score(truth[judged], guess)
        assert float(found[PROBE][layer, head]) == pytest.approx(expected)
        axes = torch.linalg.svd(z - z.mean(0), full_matrices=False).U
        best = (axes.T @ windows.feature).abs().max()
        assert float(found[PCA][layer, head]) == pytest.approx(float(best))
