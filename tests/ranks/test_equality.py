"""Kernels and eigenpairs of 2 and 4 processes are those of one."""

import tempfile

import pytest
import torch

import tl_entk
from tests.models import HAS_HOOKED, build, tokens
from tests.ranks.processes import run_in_processes

pytestmark = pytest.mark.plain

# an attention-only model, gated and grouped, tied embeddings, one with positions and biases
MODELS = ["native:plain", "native:gated_grouped", "hf:gemma3", *["hooked:gpt2"] * HAS_HOOKED]
COMPONENTS = ("blocks.0.mlp.W_out", "blocks.0.attn.W_V", "embed.W_E", "unembed.W_U")


def operators() -> dict:
    """Products and eigenpairs of kernels that are never formed."""
    found = {}
    for name in MODELS:
        model, batch = build(name), tokens(7)
        names = set(tl_entk.list_components(model))
        for component in (*COMPONENTS, "blocks.0.*", "tied_embedding"):
            if component != "blocks.0.*" and component not in names:
                continue
            op = tl_entk.kernel_operator(model, batch, component)
            generator = torch.Generator().manual_seed(0)
            x = torch.randn(op.shape[0], 3, generator=generator, dtype=op.dtype)
            found[f"{name} {component} product"] = op @ x
    for readout in ("final_hidden", "logsumexp"):
        for normalization in ("plain", "cosine+centered"):
            if readout == "logsumexp" and normalization != "plain":
                continue
            eigen = tl_entk.top_eigendirections(
                build("native:plain"), tokens(7), "blocks.0.mlp.W_out", 4, tol=1e-8,
                readout=readout, normalization=normalization,
            )  # fmt: skip
            found[f"{readout} {normalization} eigenvalues"] = eigen.eigenvalues
            found[f"{readout} {normalization} scores"] = eigen.scores.abs()
            found[f"{readout} {normalization} residuals"] = eigen.residuals
            assert bool(eigen.converged.all())
    return found


def blocks() -> dict:
    """Dense blocks, by pairs of positions and by gradients, of one output and of several."""
    found = {}
    for name in MODELS:
        for n in (7, 60):
            for readout in ("mean_logit", "class_trace", "target_logit"):
                computed = tl_entk.kernel_blocks(build(name), tokens(n), readout)
                found |= {f"{name} {n} {readout} {key}": block for key, block in computed.items()}
    flattened = tl_entk.kernel_blocks(build("native:plain"), tokens(5), "logits", "*.W_V[*]")
    return found | {f"logits {key}": block for key, block in flattened.items()}


def compressed() -> dict:
    """Kernels of many weights at once, along a few outputs."""
    found = {}
    for name in ("native:plain", "hf:gemma3"):
        computed = tl_entk.all_eigendirections(
            build(name),
            tokens(9),
            ["blocks.0.mlp.W_out", "blocks.0.*", "embed.W_E"],
            k=4,
            outputs=5,
            tol=1e-6,
        )
        for key, eigen in computed.items():
            found |= {f"{name} compressed {key} eigenvalues": eigen.eigenvalues}
            left_out = torch.tensor(eigen.provenance["energy_left_out"], dtype=torch.float64)
            found |= {f"{name} compressed {key} left out": left_out}
    return found


def refused() -> dict:
    """What one process alone can see ends the call in all."""
    operator = tl_entk.kernel_operator(build("native:plain"), tokens(7), "blocks.0.mlp.W_out")
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.raises(IsADirectoryError, match="move away what is in its place"),
    ):
        tl_entk.leading_eigenpairs(operator, 2, resume=folder)
    return {}


def everything() -> dict:
    """In one start of the processes, which takes longer than what they compute."""
    return refused() | operators() | blocks() | compressed()


@pytest.fixture(scope="module")
def alone() -> dict:
    return everything()


@pytest.mark.parametrize("count", [2, 4])
def test_all_processes_have_what_one_has(count, alone, tmp_path):
    for found in run_in_processes(everything, count, tmp_path):
        assert found.keys() == alone.keys()
        for name, expected in alone.items():
            size = float(expected.abs().max())
            if "residuals" in name:
                assert float(found[name].max()) <= 1e-8
                continue
            torch.testing.assert_close(
                found[name], expected, rtol=0, atol=1e-5 * size + 1e-12, msg=name
            )
