"""Every block against the dense J J^T of torch.func.jacrev, on every architecture."""

import pytest
import torch

import tl_entk
from tests.models import MODELS, V, build, tokens
from tests.oracle import head_slices, jacobians, kernel, relative_error
from tl_entk.model.adapters import adapt

# norms (and Gemma's softmax) of these compute in float32 whatever the model's format
FLOAT32_INSIDE = {
    "native:rms_grouped", "hf:gemma1", "hf:gemma2", "hf:gemma3", "hf:llama", "hf:qwen2", "hf:qwen3",
    "hf:mistral", "hf:phi3",
}  # fmt: skip
# an autograd.Function of old style stands in the way of jacrev: one backward pass per row instead
NOT_FUNCTIONAL = {"hf:bloom"}
TARGETS = torch.tensor([3, 1, 6, 2])

# readout, its arguments, the plain function of the logits, the factor of the kernel, the position
READOUTS = {
    "mean_logit": ("mean_logit", {}, lambda z: z.mean(1), 1.0, -1),
    "class_trace": ("class_trace", {}, lambda z: z, None, -1),
    "class": (("class", 4), {}, lambda z: z[:, 4], 1.0, 2),
    "target_logit": (
        "target_logit", {"targets": TARGETS}, lambda z: z.gather(1, TARGETS[:, None])[:, 0], 1.0, 3,
    ),
    "top_logprob": (
        "target_logprob", {}, lambda z: z.log_softmax(1).amax(1), 1.0, -2,
    ),
    "target_margin": (
        "target_margin", {"targets": TARGETS},
        lambda z: z.gather(1, TARGETS[:, None])[:, 0]
        - z.scatter(1, TARGETS[:, None], -torch.inf).amax(1), 1.0, -1,
    ),
    "top_logits": ("top_logits", {}, lambda z: z.sort(1).values[:, -5:], 0.2, 1),
    "logsumexp": (
        "logsumexp", {"class_slice": slice(1, 6)}, lambda z: z[:, 1:6].logsumexp(1), 1.0, -1,
    ),
    "custom": (
        tl_entk.Readout(lambda z: torch.stack([z[:, 0].tanh(), z[:, 1] * z[:, 2]], 1), scale=0.5),
        {}, lambda z: torch.stack([z[:, 0].tanh(), z[:, 1] * z[:, 2]], 1), 0.5, -1,
    ),
}  # fmt: skip


pytestmark = pytest.mark.filterwarnings("ignore:the weights look processed")


def reference_kernels(model, readout_name, *, functional=True):
    """Component -> dense kernel in float64, of every whole weight, head and the tied parameter."""
    _, _, plain, scale, position = READOUTS[readout_name]
    adapter = adapt(model)
    if scale is None:
        scale = 1 / adapter.by_name["unembed.W_U"].d_out
    dense = jacobians(model, tokens(), plain, position, functional)
    dense = {name: jacobian.double() for name, jacobian in dense.items()}
    reference = {}
    for site in adapter.sites:
        if adapter.tied and site.name in ("embed.W_E", "unembed.W_U"):
            # the dense Jacobian cannot tell the roles apart
            reference["tied_embedding"] = kernel(dense[site.name], scale)
            continue
        reference[site.name] = kernel(dense[site.name], scale)
        if site.heads:
            slices = head_slices(site, dense[site.name])
            reference |= {
                name: kernel(part, scale)
                for name, part in zip(site.head_names, slices, strict=True)
            }
    reference["total"] = sum(k for name, k in reference.items() if not name.endswith("]"))
    return reference


def our_kernels(model, readout_name):
    readout, arguments, _, _, position = READOUTS[readout_name]
    blocks = tl_entk.kernel_blocks(
        model, tokens(), readout, lambda name: True, position=position, **arguments
    )
    return {**blocks, "total": blocks.total()}


def relative_errors(kernels, reference):
    size = float(reference["total"].abs().max())
    return {n: relative_error(kernels[n], k, size) for n, k in reference.items()}


CASES = [
    (model, readout)
    for model in MODELS
    # readouts do not see the architecture: a few suffice for the Hugging Face models
    for readout in (("class_trace", "target_logit", "custom") if "hf:" in model else READOUTS)
]


@pytest.mark.parametrize(("model", "readout"), CASES)
def test_every_block_equals_the_dense_kernel_in_float64(model, readout):
    functional = model not in NOT_FUNCTIONAL
    reference = reference_kernels(build(model), readout, functional=functional)
    ours = our_kernels(build(model), readout)
    assert set(ours) - set(reference) <= {"embed.W_E", "unembed.W_U"}
    errors = relative_errors(ours, reference)
    worst = max(errors, key=errors.get)
    bound = 2e-6 if model in FLOAT32_INSIDE else 1e-10
    assert errors[worst] <= bound, (worst, errors[worst])


@pytest.mark.parametrize("model", MODELS)
def test_every_block_equals_the_dense_kernel_in_float32(model):
    functional = model not in NOT_FUNCTIONAL
    single = build(model, torch.float32)
    reference = reference_kernels(rounded_weights(model), "target_logit", functional=functional)
    ours = our_kernels(single, "target_logit")
    errors = relative_errors(ours, reference)
    twin = reference_kernels(single, "target_logit", functional=functional)
    twin_errors = relative_errors(twin, reference)
    for name, error in errors.items():
        # where jacrev itself loses digits in float32 (gradients that almost cancel: heads with
        # less than a ten-thousandth of the kernel), we must not lose more
        assert error <= max(1e-5, 3 * twin_errors[name]), (name, error, twin_errors[name])
    assert errors["total"] <= 1e-5
    # against jacrev in float32 itself, for every block above a thousandth of the kernel
    size = float(twin["total"].abs().max())
    for name, difference in relative_errors(ours, twin).items():
        if float(twin[name].abs().max()) > 1e-3 * size:
            assert difference <= 1e-5, (name, difference)


def rounded_weights(model):
    """The float64 twin with exactly the float32 model's weights."""
    twin, single = build(model), build(model, torch.float32)
    with torch.no_grad():
        for ours, theirs in zip(twin.parameters(), single.parameters(), strict=True):
            ours.copy_(theirs)
    return twin


# their logits are linear in the final hidden vector (no cap after the unembedding)
UNCAPPED = [name for name in MODELS if name.endswith((":plain", "hf:gemma3", ":llama"))]


@pytest.mark.parametrize("model", UNCAPPED)
def test_readout_of_the_final_hidden_vector(model):
    network = build(model)
    site = adapt(network).by_name["unembed.W_U"]
    weight = site.parameter.detach()
    rows = weight if weight.shape[0] == site.d_out else weight.T
    hidden = tl_entk.Readout(lambda h: h @ rows[2], reads="final_hidden")
    names = ["blocks.0.mlp.W_in", "blocks.1.attn.W_Q", "blocks.1.attn.W_V[0]"]
    ours = tl_entk.kernel_blocks(network, tokens(), hidden, names)
    logit = tl_entk.kernel_blocks(network, tokens(), ("class", 2), names)
    for name in names:
        assert relative_error(ours[name], logit[name]) < (2e-6 if "hf" in model else 1e-10)


def test_vocabulary_of_the_cases_is_the_models():
    assert int(tokens(64).max()) < V
