"""On a GPU: what the CPU computes, with what a GPU alone has (its memory, nccl)."""

import copy

import pytest
import torch
import torch.distributed as dist

import tl_entk
from tests.models import HAS_HOOKED, build, native, tokens
from tl_entk.tools.ranks import Ranks

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

MODELS = ["native:plain", "native:gated_grouped", "hf:gemma3", *["hooked:gpt2"] * HAS_HOOKED]
COMPONENTS = ["blocks.0.attn.W_V", "blocks.0.mlp.W_out", "embed.W_E", "unembed.W_U"]


@pytest.fixture(params=MODELS)
def pair(request):
    """The same model on both devices."""
    here = build(request.param)
    there = copy.deepcopy(here)
    there.to("cuda")
    return here, there


# the host's rotary tables and norms are float32 there, and differ between devices
FLOAT32_INSIDE = "hf:gemma3"


@pytest.fixture
def loose(request):
    """How many times as far apart results may be."""
    return 1e5 if request.node.callspec.params.get("pair") == FLOAT32_INSIDE else 1.0


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-9) -> None:
    size = float(expected.abs().max())
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=tolerance * size + 1e-14)


@pytest.mark.parametrize("readout", ["class_trace", "mean_logit", "logsumexp", "target_logit"])
def test_blocks(pair, readout, loose):
    here, there = pair
    batch = tokens(9)
    expected = tl_entk.kernel_blocks(here, batch, readout)
    found = tl_entk.kernel_blocks(there, batch.to("cuda"), readout)
    assert found.keys() == expected.keys()
    for name, block in expected.items():
        close(found[name], block, 1e-9 * loose)


def test_tokens_may_lie_on_the_cpu(pair, loose):
    here, there = pair
    name = "blocks.0.mlp.W_out"
    expected = tl_entk.kernel_blocks(here, tokens(5), components=name)
    found = tl_entk.kernel_blocks(there, tokens(5), components=name)
    close(found[name], expected[name], 1e-9 * loose)


@pytest.mark.parametrize("component", COMPONENTS)
def test_products(pair, component, loose):
    here, there = pair
    expected = tl_entk.kernel_operator(here, tokens(9), component)
    found = tl_entk.kernel_operator(there, tokens(9).to("cuda"), component)
    x = torch.randn(found.shape[0], 3, dtype=torch.float64)
    close(found @ x.to("cuda"), expected @ x, 1e-9 * loose)


@pytest.mark.parametrize("normalization", ["plain", "cosine+centered"])
def test_eigenpairs_and_their_resumption(pair, normalization, loose, tmp_path):
    here, there = pair
    options = dict(k=4, tol=1e-8, normalization=normalization)
    expected = tl_entk.top_eigendirections(here, tokens(9), "blocks.0.mlp.W_out", **options)
    batch = tokens(9).to("cuda")
    for _ in range(2):  # the second goes on from what the first has saved
        found = tl_entk.top_eigendirections(
            there, batch, "blocks.0.mlp.W_out", resume=tmp_path / "basis", **options
        )
        close(found.eigenvalues, expected.eigenvalues, 1e-9 * loose)
        close(found.scores.abs(), expected.scores.abs(), 1e-7 * loose)


def test_all_layers_at_once_norms_and_jacobians(pair, loose):
    here, there = pair
    batch, names = tokens(9).to("cuda"), ["blocks.0.mlp.W_out", "blocks.1.attn.W_O"]
    expected = tl_entk.all_eigendirections(here, tokens(9), names, k=3, outputs=4, tol=1e-8)
    found = tl_entk.all_eigendirections(there, batch, names, k=3, outputs=4, tol=1e-8)
    for name in names:
        close(found[name].eigenvalues, expected[name].eigenvalues, 1e-8 * loose)
    close(
        tl_entk.gradient_norms(there, batch, names),
        tl_entk.gradient_norms(here, tokens(9), names),
        1e-9 * loose,
    )
    close(
        tl_entk.jacobian(there, batch, names).dense(),
        tl_entk.jacobian(here, tokens(9), names).dense(),
        1e-9 * loose,
    )


def test_next_words(pair):
    here, there = pair
    batch = tokens(9).to("cuda")
    close(
        tl_entk.greedy_continuation(there, batch, 2).double(),
        tl_entk.greedy_continuation(here, tokens(9), 2).double(),
    )


def test_results_are_saved_from_a_gpu_and_read_on_a_cpu(pair, tmp_path):
    _, there = pair
    blocks = tl_entk.kernel_blocks(there, tokens(9).to("cuda"))
    tl_entk.save(blocks, tmp_path / "blocks")
    again = tl_entk.load(tmp_path / "blocks")
    for name, block in blocks.items():
        assert torch.equal(again[name].cpu(), block.cpu())


def test_directions_of_weights_score_and_step_and_come_back_from_files(pair, loose, tmp_path):
    here, there = pair
    weights = ["blocks.0.attn.W_V", "blocks.0.mlp.W_out"]
    eigen = tl_entk.top_eigendirections(here, tokens(6), weights, 2, tol=1e-8)
    # a file's are on the CPU
    u = tl_entk.load(tl_entk.save(eigen.weight_directions(), tmp_path / "u"))
    for position in (-1, "all"):
        expected = u.project(here, tokens(9), position=position)
        close(u.project(there, tokens(9), position=position), expected, 1e-9 * loose)
    expected = tl_entk.nudge_response(u, here, tokens(9), 1, steps=(0.1,))
    found = tl_entk.nudge_response(u, there, tokens(9), 1, steps=(0.1,))
    close(found.measured, expected.measured, 1e-8 * loose)


def test_a_full_device_takes_fewer_examples_at_a_time():
    """The device's own refusal, not a raised one: half of what the pass would take is there."""
    sizes = dict(n_layers=4, d_model=512, d_head=64, n_heads=8, d_mlp=2048, n_ctx=64)
    model = native("layer_norm", torch.float32, **sizes).to("cuda")
    batch = torch.randint(11, (256, 64), device="cuda")
    name = "blocks.0.mlp.W_out"

    def block():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return tl_entk.kernel_blocks(model, batch, components=name, memory_budget=2**40)[name]

    expected = block()
    peak, whole = torch.cuda.max_memory_allocated(), torch.cuda.mem_get_info()[1]
    try:
        torch.cuda.set_per_process_memory_fraction(0.6 * peak / whole)
        with pytest.warns(RuntimeWarning, match="ran out of memory"):
            found = block()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_nccl_moves_what_crosses_between_processes(tmp_path):
    """A group of one: every call that crosses, on the device."""
    torch.cuda.set_device(0)
    dist.init_process_group("nccl", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        ranks = Ranks(1, 0, dist.group.WORLD)
        a = torch.randn(5, 3, device="cuda")
        b = a.T.clone().T  # not contiguous
        ranks.add_up(b)
        assert torch.equal(a, b)
        assert torch.equal(ranks.join(a, 5), a)
        assert torch.equal(ranks.join(a, 3, dim=1), a)
        assert torch.equal(ranks.gather(a, 5), a)
        assert ranks.largest(2.5) == 2.5
        assert ranks.from_first({"a": 1}) == {"a": 1}
    finally:
        dist.destroy_process_group()
