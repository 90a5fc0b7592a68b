"""What a call of kernel_blocks says of itself, what it refuses, and which sites it needs."""

from dataclasses import replace

import pytest
import torch

import tl_entk
from tests.models import build, tokens
from tests.oracle import jacobians
from tl_entk.kernel.blocks import estimate_kernel_blocks, sites_needed
from tl_entk.kernel.plan import Pass, plan_passes
from tl_entk.model.adapters import adapt

NAME = "blocks.0.attn.W_Q"


def test_provenance_says_how_it_was_computed(model, capsys):
    options = {"position": 2, "class_slice": slice(1, 3), "dtype": torch.float32}
    blocks = tl_entk.kernel_blocks(model, tokens(), "mean_logit", NAME, **options)
    about = blocks.provenance
    assert (about["position"], about["class_slice"]) == (2, "slice(1, 3, None)")
    assert about["kernel_dtype"] == "torch.float32"
    assert about["tied_embedding"] == "roles apart"
    assert "estimate" not in about
    assert capsys.readouterr().out == ""
    assert blocks[NAME].dtype == torch.float32


def test_with_progress_the_estimate_is_printed_and_kept(model, capsys):
    plain = tl_entk.kernel_blocks(model, tokens(), "class_trace", NAME)
    blocks = tl_entk.kernel_blocks(
        model, tokens(), "class_trace", NAME, memory_budget=2**21, progress=True
    )
    assert torch.equal(blocks[NAME], plain[NAME])
    said = blocks.provenance["estimate"]
    assert capsys.readouterr().out.startswith("kernel blocks: about ")
    assert said["memory_bytes"] == 4 * 4 * 8 + 2**21  # a kernel of float64, and the budget
    assert said["passes"] == 1
    assert said["seconds"] == said["network_seconds"] + said["gram_seconds"] > 0
    again = estimate_kernel_blocks(model, tokens(), "class_trace", NAME, 2**21)
    assert (again.memory_bytes, again.passes) == (said["memory_bytes"], 1)


def test_heads_are_parted_only_where_one_is_asked_for(model):
    adapter = adapt(model)
    whole = sites_needed(adapter, [NAME])
    assert [(site.name, site.heads) for site in whole] == [(NAME, None)]
    head, other = sites_needed(adapter, ["blocks.1.mlp.W_in", f"{NAME}[1]"])
    assert (head.name, head.heads.count, other.name) == (NAME, 4, "blocks.1.mlp.W_in")


def test_blocks_come_in_the_models_order_as_tensors_of_their_own(model):
    names = [f"{NAME}[2]", f"{NAME}[0]", NAME]
    blocks = tl_entk.kernel_blocks(model, tokens(), "logsumexp", names)
    assert list(blocks) == [NAME, f"{NAME}[0]", f"{NAME}[2]"]
    before = blocks[f"{NAME}[0]"].clone()
    blocks[NAME].zero_()
    blocks[f"{NAME}[2]"].zero_()
    assert torch.equal(blocks[f"{NAME}[0]"], before)
    assert before.any()


def test_the_scale_of_a_readout_is_the_kernels(model):
    two, six = (
        tl_entk.kernel_blocks(
            model, tokens(), tl_entk.Readout(lambda z: z[:, :2], scale=scale), NAME
        )[NAME]
        for scale in (2.0, 6.0)
    )
    torch.testing.assert_close(six, 3 * two)


def test_kernels_that_overflow_are_named(model):
    vast = tl_entk.Readout(lambda z: z[:, 0] * 1e160)
    with pytest.raises(RuntimeError, match=r"the kernel of blocks\.0\.attn\.W_Q is not finite"):
        tl_entk.kernel_blocks(model, tokens(), vast, NAME)


def test_rows_of_a_flattened_kernel_are_outputs_of_examples():
    """Also of the weights whose outputs could be merged: those before the last nonlinearity."""
    model, names = build("native:plain"), ["blocks.1.mlp.W_in", "blocks.1.mlp.b_in", NAME]
    dense = jacobians(model, tokens(), lambda z: z)
    blocks = tl_entk.kernel_blocks(model, tokens(), "logits", names)
    for name in names:
        rows = dense[name].flatten(2).flatten(0, 1)
        torch.testing.assert_close(blocks[name], rows @ rows.T)


def test_roles_of_a_parameter_wait_for_their_own_pass(monkeypatch):
    class Toy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encode = torch.nn.Linear(5, 5, bias=False, dtype=torch.float64)
            self.decode = torch.nn.Linear(5, 5, bias=False, dtype=torch.float64)
            self.last = torch.nn.Linear(5, 2, dtype=torch.float64)
            self.decode.weight = self.encode.weight

        def forward(self, x):
            return self.last(self.decode(self.encode(x).tanh()).tanh())

    torch.manual_seed(0)
    model, x = Toy(), torch.randn(4, 5, dtype=torch.float64)
    rows = [
        torch.autograd.grad(y, model.encode.weight, retain_graph=True)[0] for y in model(x).sum(1)
    ]
    expected = torch.stack(rows).flatten(1)

    def in_turn(work, *args, **options):
        parts = tuple(Pass(group, slice(0, work.outputs)) for group in work.groups)
        return replace(plan_passes(work, *args, **options), passes=parts)

    monkeypatch.setattr("tl_entk.kernel.blocks.plan_passes", in_turn)
    blocks = tl_entk.kernel_blocks(model, x, tl_entk.Readout(lambda z: z.sum(1)))
    torch.testing.assert_close(blocks["encode.weight"], expected @ expected.T)


def test_flattened_kernels_beyond_the_budget_are_refused(model):
    with pytest.raises(ValueError, match="1 flattened kernels of 1400 rows"):
        tl_entk.kernel_blocks(model, tokens(200), "logits", NAME, memory_budget=2**20)


@pytest.mark.usefixtures("untyped")
def test_a_budget_is_bytes(model):
    with pytest.raises(ValueError, match="memory_budget"):
        tl_entk.kernel_blocks(model, tokens(), "logsumexp", NAME, memory_budget=1.5)
    with pytest.raises(ValueError, match="memory_budget"):
        estimate_kernel_blocks(model, tokens(), "logsumexp", NAME, 5)
