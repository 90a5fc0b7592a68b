"""How the operator behaves: shapes, budgets, shortcuts, refusals, and the model left as it was."""

import copy

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh

import tl_entk
from tests.models import HAS_HOOKED, MODELS, build, tokens
from tl_entk import kernel_operator
from tl_entk.model.adapters import adapt
from tl_entk.operator.plan import OperatorPlan, Sizes, plan_operator
from tl_entk.operator.replay import replaying

BOTH = ["native:layer_norm", *(["hooked:gpt2"] if HAS_HOOKED else []), "hf:qwen2"]


def plan(op, *, chunk, kept, cached):
    """Give an operator another plan, as another budget would have."""
    op.network.plan = OperatorPlan(chunk, kept, cached, columns=3, memory=0)
    return op


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("component", ["blocks.1.attn.W_K", "blocks.1.mlp.W_out", "blocks.*"])
def test_products_do_not_depend_on_what_is_kept(name, component):
    model, batch = build(name), tokens(7)
    whole = kernel_operator(model, batch, component)
    x = torch.randn(whole.shape[0], 5, dtype=whole.dtype)
    reference = whole @ x
    size = float(reference.abs().max())
    bound = 1e-6 if name.startswith("hf") else 1e-12
    for chunk, kept, cached in ((3, 3, False), (3, 1, True), (2, 0, True), (4, 0, False)):
        op = plan(kernel_operator(model, batch, component), chunk=chunk, kept=kept, cached=cached)
        assert float((op @ x - reference).abs().max()) <= bound * size, (chunk, kept)
        # a single vector goes forward another way
        assert float((op @ x[:, 0] - reference[:, 0]).abs().max()) <= bound * size, (chunk, kept)


@pytest.mark.parametrize("name", BOTH)
def test_a_replay_runs_nothing_before_the_component(name):
    model, batch = build(name), tokens(4)
    ran = []
    handles = [
        weight.output.module.register_forward_hook(lambda *_, n=weight.name: ran.append(n))
        for weight in adapt(model).sites
    ]
    op = plan(kernel_operator(model, batch, "blocks.1.mlp.W_out"), chunk=2, kept=0, cached=True)
    op.prepare()
    ran.clear()
    _ = op @ torch.ones(op.shape[0], dtype=op.dtype)
    for handle in handles:
        handle.remove()
    # the first block is handed out again, nothing inside it runs
    assert not [n for n in ran if n.startswith("blocks.0.")]
    assert "blocks.1.mlp.W_out" in ran
    assert "unembed.W_U" not in ran


def test_vectors_blocks_and_formats(model):
    op = kernel_operator(model, tokens(), "blocks.0.mlp.W_in")
    dense = op.to_dense()
    assert op.shape == dense.shape == (4 * 12, 4 * 12)
    assert op.dtype == torch.float64
    x = torch.randn(48, 5, dtype=torch.float64)
    assert torch.allclose(op @ x, dense @ x)
    assert torch.allclose(op @ x[:, 0], dense @ x[:, 0])
    assert (op @ x.float()).dtype == torch.float64
    assert torch.allclose(dense, dense.T)
    assert float(torch.linalg.eigvalsh(dense)[0]) > -1e-12 * float(dense.abs().max())
    single = kernel_operator(model.float(), tokens(), "blocks.0.mlp.W_in", dtype=torch.float64)
    assert (single @ x).dtype == torch.float64


def test_rows_are_example_major(model):
    """Row n d + i: an example's rows are its own, whatever the order of the examples."""
    op = kernel_operator(model, tokens(), "blocks.0.attn.W_V")
    order = torch.tensor([2, 0, 3, 1])
    turned = kernel_operator(model, tokens()[order], "blocks.0.attn.W_V")
    dense = op.to_dense().reshape(4, 12, 4, 12)
    expected = dense[order][:, :, order]
    assert torch.allclose(turned.to_dense().reshape(4, 12, 4, 12), expected)


def test_scalar_readouts_give_the_dense_blocks(model):
    batch = tokens(6)
    for readout in ("mean_logit", "logsumexp", "target_logit", ("class", 3)):
        blocks = tl_entk.kernel_blocks(model, batch, readout)
        for component in ("blocks.0.attn.W_Q", "unembed.W_U", "*.b_in"):
            op = kernel_operator(model, batch, component, readout=readout)
            assert op.shape == (6, 6)
            assert torch.allclose(op.to_dense(), blocks.sum(component), rtol=1e-9, atol=1e-14)


def test_readouts_of_ones_own(model):
    batch = tokens(5)
    hidden = tl_entk.Readout(lambda h: h[:, :2] ** 2, reads="final_hidden", scale=0.5, name="two")
    op = kernel_operator(model, batch, None, readout=hidden)
    assert op.shape == (10, 10)
    trace = op.to_dense().reshape(5, 2, 5, 2).diagonal(dim1=1, dim2=3).sum(-1)
    blocks = tl_entk.kernel_blocks(model, batch, hidden)
    assert torch.allclose(trace, blocks.total())
    with pytest.raises(ValueError, match="come after"):
        kernel_operator(model, batch, "unembed.W_U", readout=hidden)


def test_scipy(model):
    op = kernel_operator(model, tokens(), "blocks.*")
    values = eigsh(op.to_scipy(), k=4, v0=np.ones(48))[0]
    assert np.allclose(values, torch.linalg.eigvalsh(op.to_dense())[-4:].numpy())
    assert op.to_scipy().matmat(np.ones((48, 2))).shape == (48, 2)


@pytest.mark.parametrize("name", BOTH)
def test_the_model_comes_back_as_it_was(name):
    model, batch = build(name), tokens(4)
    before = copy.deepcopy(model.state_dict())
    modules = list(torch.nn.Module.modules(model))

    def state():
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules]
        grads = [(p.requires_grad, p.grad, p._version) for p in model.parameters()]
        return hooks, grads, [m.__dict__.get("forward") for m in modules], model.training

    model(batch)  # bridges set up hooks of their own in the first pass
    expected = state()
    op = plan(kernel_operator(model, batch, "blocks.1.*"), chunk=2, kept=1, cached=True)
    _ = op @ torch.ones(op.shape[0], dtype=op.dtype)
    assert state() == expected
    with pytest.raises(ValueError, match="'final_hidden' or 'logits'"):
        kernel_operator(model, batch, "blocks.1.*", readout="nonsense")
    assert state() == expected
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_failing_pass_leaves_no_patch_behind(model):
    block = model.blocks[0]

    def fail():
        with replaying({block: torch.zeros(1)}):
            assert torch.equal(block(), torch.zeros(1))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert "forward" not in block.__dict__


def test_hooks_of_the_user_are_part_of_the_function(model):
    batch = tokens(4)
    plain = kernel_operator(model, batch, "blocks.0.mlp.W_in").to_dense()
    model.add_hook("blocks.1.attn.hook_z", lambda value, hook: value * 0.5)
    edited = kernel_operator(model, batch, "blocks.0.mlp.W_in")
    kept = edited.to_dense()
    replayed = plan(
        kernel_operator(model, batch, "blocks.1.mlp.W_in"), chunk=2, kept=0, cached=True
    )
    again = kernel_operator(model, batch, "blocks.1.mlp.W_in")
    assert torch.allclose(replayed.to_dense(), again.to_dense())
    model.reset_hooks()
    assert not torch.allclose(kept, plain)


def test_reduced_precision_says_its_error():
    model, batch = build("native:layer_norm", torch.float32), tokens(6)
    full = kernel_operator(model, batch, "blocks.*")
    assert "precision_error" not in full.provenance
    reduced = kernel_operator(model, batch, "blocks.*", precision="bfloat16")
    said = reduced.provenance["precision_error"]
    assert 1e-4 < said < 0.1
    x = torch.randn(full.shape[0], generator=torch.Generator().manual_seed(0))
    error = float((reduced @ x - full @ x).norm() / (full @ x).norm())
    assert error < 5 * said
    with pytest.raises(ValueError, match="TF32"):
        kernel_operator(model, batch, "blocks.*", precision="tf32")


def test_half_precision_models_run():
    model, batch = build("native:layer_norm", torch.bfloat16), tokens(6)
    op = kernel_operator(model, batch, "blocks.0.mlp.W_in")
    assert op.dtype == torch.float32
    exact = build("native:layer_norm", torch.float32)
    exact.load_state_dict({k: v.float() for k, v in model.state_dict().items()})
    reference = kernel_operator(exact, batch, "blocks.0.mlp.W_in")
    x = torch.randn(op.shape[0], generator=torch.Generator().manual_seed(0))
    error = (op @ x - reference @ x).norm() / (reference @ x).norm()
    assert float(error) < 0.05


def test_out_of_memory_halves_the_chunk_and_says_so(model, monkeypatch):
    batch = tokens(8)
    op = kernel_operator(model, batch, "blocks.0.mlp.W_in")
    reference = op.to_dense()
    run = type(op.network.suffix).run
    largest = 3

    def scarce(self, rows, *arguments, **options):
        if rows.stop - rows.start > largest:
            raise torch.OutOfMemoryError("no room")
        return run(self, rows, *arguments, **options)

    monkeypatch.setattr(type(op.network.suffix), "run", scarce)
    fresh = kernel_operator(model, batch, "blocks.0.mlp.W_in")
    with pytest.warns(RuntimeWarning, match="ran out of memory") as said:
        found = fresh.to_dense()
    assert "8 examples at a time; going on with 4" in str(said[0].message)
    assert fresh.plan.chunk == 2
    assert torch.allclose(found, reference)
    hopeless = plan(fresh, chunk=1, kept=0, cached=False)
    monkeypatch.setattr(
        type(op.network.suffix), "run", lambda *_, **__: scarce(op.network.suffix, slice(0, 9))
    )
    with pytest.raises(torch.OutOfMemoryError, match="single example"):
        hopeless @ torch.ones(hopeless.shape[0], dtype=hopeless.dtype)


@pytest.mark.usefixtures("untyped")
def test_bad_input_is_refused_with_the_mend(model):
    batch = tokens(4)
    with pytest.raises(ValueError, match="nearest are"):
        kernel_operator(model, batch, "blocks.0.mlp.W_inn")
    with pytest.raises(ValueError, match="kernel_blocks"):
        kernel_operator(model, batch, "blocks.0.mlp.W_in", readout="class_trace")
    with pytest.raises(ValueError, match="float32 or"):
        kernel_operator(model, batch, "blocks.0.mlp.W_in", dtype=torch.float16)
    mixed = tl_entk.Readout(lambda z: z - z.mean(0))
    with pytest.raises(ValueError, match="mixes examples"):
        kernel_operator(model, batch, "blocks.0.mlp.W_in", readout=mixed)
    model.add_hook("blocks.1.hook_resid_pre", lambda value, hook: value.detach())
    with pytest.raises(ValueError, match=r"nothing that is read depends on blocks\.0\.mlp\.W_in"):
        kernel_operator(model, batch, "blocks.0.mlp.W_in")
    model.reset_hooks()
    with pytest.raises(ValueError, match="1 MiB"):
        kernel_operator(model, batch, "blocks.0.mlp.W_in", memory_budget=5)
    with pytest.raises(ValueError, match="'full', 'bfloat16' or 'tf32'"):
        kernel_operator(model, batch, "blocks.*", precision="half")
    op = kernel_operator(model, batch, "blocks.0.mlp.W_in")
    with pytest.raises(ValueError, match=r"pass \(48,\) or \(48, b\)"):
        op @ torch.ones(12)
    with pytest.raises(TypeError, match="to_scipy"):
        op @ np.ones(48)
    with pytest.raises(ValueError, match="floating-point"):
        op @ torch.ones(48, dtype=torch.long)


@pytest.mark.skipif(not HAS_HOOKED, reason="the cap is this HookedTransformer's")
def test_capped_logits_are_warned_of():
    with pytest.warns(UserWarning, match="caps or scales"):
        kernel_operator(build("hooked:gemma3"), tokens(), "blocks.0.mlp.W_in")


def test_the_budget_decides_what_is_kept():
    sizes = Sizes(kept=5 * 2**20, cache=2**20, gradient=2**20)
    common = dict(n=100, length=64, vector_bytes=2**16, device=torch.device("cpu"))

    def planned(mib):
        return plan_operator(sizes, memory_budget=mib * 2**20, **common)

    everything = planned(2000)
    assert everything.kept * everything.chunk >= 100
    some = planned(400)
    assert 0 < some.kept * some.chunk < 100
    assert some.cached
    assert not planned(60).cached
    for mib in (2000, 400, 200, 60):
        assert planned(mib).memory <= mib * 2**20
    with pytest.raises(ValueError, match="memory_budget="):
        planned(6)


def test_estimate_is_of_the_right_size(model):
    import time

    op = kernel_operator(model, tokens(200), "blocks.*")
    estimate = op.estimate(k=3)
    op.prepare()
    x = torch.randn(op.shape[0], dtype=op.dtype)
    _ = op @ x
    started = time.perf_counter()
    for _ in range(3):
        _ = op @ x
    seconds = (time.perf_counter() - started) / 3
    assert seconds / 10 < estimate.product_seconds < 10 * seconds
    assert estimate.seconds >= estimate.products / estimate.block_size * estimate.product_seconds
    assert "products of" in str(estimate)


def test_there_are_enough_architectures():
    assert len({name.partition(":")[2] for name in MODELS}) >= 12


def test_shortcuts_are_tried_where_the_positions_differ(model):
    """A hook on the last position only: a cut would be wrong for an example read elsewhere."""

    def last_only(value, hook):
        return torch.cat([value[:, :-1], 3 * value[:, -1:]], 1)

    model.add_hook("blocks.1.mlp.hook_pre", last_only)
    position = torch.tensor([4, 4, 2, 1])
    batch, order = tokens(4), torch.tensor([2, 3, 0, 1])
    op = kernel_operator(model, batch, "blocks.0.mlp.W_in", position=position)
    turned = kernel_operator(model, batch[order], "blocks.0.mlp.W_in", position=position[order])
    dense = op.to_dense().reshape(4, 12, 4, 12)[order][:, :, order].reshape(48, 48)
    assert torch.allclose(turned.to_dense(), dense)
    model.reset_hooks()


def test_per_example_readouts_are_tried_with_their_own_rows(model):
    batch, targets = tokens(4), torch.tensor([3, 1, 6, 2])

    def chosen(logits, classes):
        return logits.gather(1, classes[:, None])[:, 0]

    own = tl_entk.Readout(chosen, per_example=(targets,))
    position = torch.tensor([2, 4, 3, 0])
    op = kernel_operator(model, batch, "blocks.0.mlp.W_in", readout=own, position=position)
    block = tl_entk.kernel_blocks(model, batch, own, "blocks.0.mlp.W_in", position=position)
    assert torch.allclose(op.to_dense(), block.total())


@pytest.mark.parametrize("component", ["unembed.W_U", "unembed.*", "blocks.1.mlp.W_out"])
def test_few_classes_in_float32(component):
    """With fewer logits than d_model, S has null directions that must stay out."""
    exact = build("native:layer_norm")
    single = build("native:layer_norm", torch.float32)
    with torch.no_grad():
        for ours, theirs in zip(exact.parameters(), single.parameters(), strict=True):
            ours.copy_(theirs)
    expected = kernel_operator(exact, tokens(), component).to_dense()
    found = kernel_operator(single, tokens(), component).to_dense()
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


def test_a_tied_embedding_is_the_compression_of_its_kernel():
    """With more logits than d_model the cross terms reach out of the span of W_U."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        vocab_size=30, hidden_size=8, intermediate_size=10, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=6, query_pre_attn_scalar=6,
        max_position_embeddings=16, pad_token_id=0, attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    hf = Gemma3ForCausalLM(config).double().eval()
    model = build_bridge_from_module(
        hf, "Gemma3ForCausalLM", hf_config=config, model_name="tiny"
    ).eval()
    batch = torch.randint(1, 30, (3, 5), generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(adapt(model).unembedding, full_matrices=False)
    V = torch.block_diag(*[right.T @ left.T] * 3)
    for component in ("tied_embedding", "blocks.0.mlp.W_in"):
        logits = kernel_operator(model, batch, component, readout="logits").to_dense()
        whitened = kernel_operator(model, batch, component).to_dense()
        assert torch.allclose(whitened, V.T @ logits @ V, atol=2e-6 * float(whitened.abs().max()))
    other = kernel_operator(model.float(), batch, "tied_embedding", dtype=torch.float64)
    assert (other @ torch.ones(24)).dtype == torch.float64


def test_networks_without_a_second_backward_pass(model):
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(_, x):
            return x.clone()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(_, g):
            return g.clone()

        @staticmethod
        def jvp(_, change):
            return change.clone()

    batch = tokens(4)
    expected = kernel_operator(model, batch, "blocks.0.mlp.W_in").to_dense()
    model.add_hook("blocks.1.mlp.hook_pre", lambda value, hook: Once.apply(value))
    op = kernel_operator(model, batch, "blocks.0.mlp.W_in")
    assert op.plan.kept == 0
    assert torch.allclose(op.to_dense(), expected)
    model.reset_hooks()


def test_weights_that_are_not_finite_are_named(model):
    with torch.no_grad():
        next(iter(model.parameters())).fill_(float("nan"))
    with pytest.raises(RuntimeError, match="not finite"):
        kernel_operator(model, tokens(), "blocks.0.mlp.W_in")
