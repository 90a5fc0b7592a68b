"""Kernels of many components compressed together, against the whole kernels."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import tl_entk
from tests.kernel.test_blocks_oracle import FLOAT32_INSIDE
from tests.models import HAS_HOOKED, MODELS, build, tokens
from tests.operator.test_operator_oracle import FLOAT32_SOFTMAX
from tl_entk import all_eigendirections
from tl_entk.compressed import eigendirections, plan
from tl_entk.compressed.collect import compressed_jacobians
from tl_entk.compressed.output_space import OutputSpace, PooledKernels, find_output_space
from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.readouts import BoundReadout
from tl_entk.model.request import read_request
from tl_entk.model.sites import Site, Tap, partition
from tl_entk.model.staged_factors import Stage
from tl_entk.model.stages import plan_stages, stages_hold
from tl_entk.operator.build import check_readout
from tl_entk.operator.whitening import whitening

pytestmark = [
    pytest.mark.filterwarnings("ignore:the weights look processed"),
    pytest.mark.filterwarnings("ignore:the model caps or scales"),
]

BOTH = ["native:layer_norm", *(["hooked:gpt2"] if HAS_HOOKED else []), "hf:qwen2"]
# what these compute in float32 inside
ROUNDED = FLOAT32_INSIDE | FLOAT32_SOFTMAX
N, Q = 6, 3
# every kind of use: head slices, whole weights, biases, norms, embeddings, a layer
KINDS = [
    "blocks.0.attn.W_Q[1]", "blocks.0.attn.W_K", "blocks.1.attn.W_V", "blocks.1.attn.W_O[0]",
    "blocks.0.attn.b_V", "blocks.0.mlp.W_in", "blocks.1.mlp.W_out", "blocks.1.mlp.b_out",
    "blocks.0.ln1.w", "ln_final.w", "embed.W_E", "pos_embed.W_pos", "blocks.1.*",
]  # fmt: skip


def kinds_of(model):
    names = tl_entk.list_components(model)
    layer = [name for name in names if name.startswith("blocks.1.")]
    found = [name for name in KINDS if name in names]
    return [*found, "blocks.1.*"] if layer and adapt_transformer(model).tied is False else found


def compressed(model, batch, names, *, readout="final_hidden", budget=2**32, q=Q):
    """The task read along q random outputs, those outputs (R, q), and each kernel's names."""
    adapter = adapt_transformer(model)
    requests = {n: read_request(adapter, batch, n, check_readout(readout)) for n in names}
    request = requests[names[0]]
    d = len(whitening(adapter.unembedding).root)
    generator = torch.Generator().manual_seed(1)
    basis, _ = torch.linalg.qr(torch.randn(d, q, generator=generator, dtype=torch.float64))
    turned = whitening(adapter.unembedding).root @ basis
    read = BoundReadout("some", "final_hidden", 1.0, lambda h, rows: h @ turned.to(h.dtype))
    kernels = {n: one.names if "*" in n else [n] for n, one in requests.items()}
    jacobians = dict(
        compressed_jacobians(
            replace(request.task, readout=read), kernels, dtype=request.dtype, memory_budget=budget
        )
    )
    return jacobians, basis


@pytest.mark.parametrize("name", MODELS)
def test_the_compressed_kernel_is_the_whole_one_along_the_outputs_kept(name):
    model, batch = build(name), tokens(N)
    names = kinds_of(model)
    jacobians, basis = compressed(model, batch, names)
    bound = 2e-6 if name in ROUNDED else 1e-9
    for component in names:
        whole = tl_entk.kernel_operator(model, batch, component).to_dense()
        d = len(basis)
        projected = torch.einsum(
            "ap,namb,bq->npmq", basis, whole.double().reshape(N, d, N, d), basis
        ).reshape(N * Q, N * Q)
        found = jacobians[component].kernel()
        size = float(projected.abs().max())
        assert float((found - projected).abs().max()) <= bound * size, component


@pytest.mark.parametrize("name", BOTH)
def test_with_every_output_it_is_the_whole_kernel(name):
    model, batch = build(name), tokens(N)
    d = adapt_transformer(model).d_model
    names = ["blocks.0.mlp.W_out", "blocks.1.attn.W_Q", "blocks.0.attn.W_V[1]"]
    found = all_eigendirections(model, batch, names, 4, outputs=d)
    for component in names:
        exact = tl_entk.top_eigendirections(model, batch, component, 4, tol=1e-7)
        close = dict(rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found[component].eigenvalues, exact.eigenvalues, **close)
        vectors = found[component].vectors
        # a vector's sign goes with that of its direction of the outputs
        overlap = (vectors * exact.vectors.to(vectors)).sum((0, 1)).abs()
        torch.testing.assert_close(overlap, torch.ones_like(overlap), **close)
        assert found[component].provenance["energy_left_out"] == 0
        assert found[component].space == "final_hidden"


def test_a_vector_that_is_lifted_has_the_compressed_quotient_and_the_error_said():
    model, batch = build("native:layer_norm"), tokens(8)
    names = ["blocks.0.mlp.W_out", "blocks.1.mlp.W_in"]
    found = all_eigendirections(model, batch, names, 5, outputs=4)
    for component in names:
        eigen = found[component]
        operator = tl_entk.kernel_operator(model, batch, component)
        flat = eigen.vectors.flatten(0, 1)
        torch.testing.assert_close(flat.T @ flat, torch.eye(5, dtype=flat.dtype))
        images = operator @ flat
        torch.testing.assert_close((flat * images).sum(0), eigen.eigenvalues.to(flat))
        exact = torch.linalg.eigvalsh(operator.to_dense()).flip(0)
        assert bool((eigen.eigenvalues <= exact[:5] * (1 + 1e-9)).all())
        residuals = (images - flat * eigen.eigenvalues).norm(dim=0) / eigen.eigenvalues[0]
        # all 8 outputs that are left are looked along: nothing is estimated
        torch.testing.assert_close(eigen.residuals, residuals)
        # so is the energy: all that the compressed kernel has not
        (every,) = all_eigendirections(model, batch, {"all": component}, 32, outputs=4).values()
        assert len(every.eigenvalues) == 32
        left = 1 - float(every.eigenvalues.sum() / exact.sum())
        assert every.provenance["energy_left_out"] == pytest.approx(left)
        assert not bool(eigen.converged.any())


def test_random_outputs_tell_the_error_on_average(monkeypatch):
    model, batch, name = build("native:layer_norm"), tokens(8), "blocks.0.mlp.W_out"
    (exact,) = all_eigendirections(model, batch, [name], 3, outputs=4).values()
    space = {}

    def few(*args, **kwargs):
        """The same outputs kept, two of the eight others at random."""
        if "all" not in space:
            space["all"] = find_output_space(*args, **kwargs)
        found = space["all"]
        turn, _ = torch.linalg.qr(torch.randn(8, 2, generator=generator, dtype=torch.float64))
        return OutputSpace(found.leading, found.others @ turn)

    monkeypatch.setattr(eigendirections, "find_output_space", few)
    squares, left = [], []
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        (eigen,) = all_eigendirections(model, batch, [name], 3, outputs=4).values()
        squares.append(eigen.residuals.square())
        left.append(eigen.provenance["energy_left_out"])
    ratio = torch.stack(squares).mean(0) / exact.residuals.square()
    assert bool(((ratio > 0.6) & (ratio < 1.6)).all())
    assert sum(left) / 40 == pytest.approx(exact.provenance["energy_left_out"], rel=0.1)


def test_errors_shrink_with_the_outputs():
    model, batch = build("native:layer_norm"), tokens(8)
    exact = tl_entk.top_eigendirections(model, batch, "blocks.0.mlp.W_out", 5, tol=1e-8)
    errors, left = [], []
    for q in (1, 2, 4, 8, 11):
        (eigen,) = all_eigendirections(model, batch, ["blocks.0.mlp.W_out"], 5, outputs=q).values()
        errors.append(
            float((exact.eigenvalues - eigen.eigenvalues).sum() / exact.eigenvalues.sum())
        )
        left.append(eigen.provenance["energy_left_out"])
    assert errors == sorted(errors, reverse=True)
    assert left == sorted(left, reverse=True)
    assert errors[-1] < errors[2] < errors[0] / 3


# --- in stages -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_stages_give_what_one_pass_gives(name, monkeypatch):
    # gradients between stages lie in files for every other model
    monkeypatch.setattr(plan, "_SHARE", 4 if MODELS.index(name) % 2 else 10**9)
    model, batch = build(name), tokens(N)
    names = [c for c in kinds_of(model) if c != "blocks.1.*"]
    whole, _ = compressed(model, batch, names)
    counts = []

    def small(task, sites, sizes, room):
        stages = plan_stages(task, sites, sizes, max(sizes.values()))
        counts.append(len(stages))
        return stages

    held = []

    def hold(*args):
        held.append(stages_hold(*args))
        return held[-1]

    monkeypatch.setattr(plan, "plan_stages", small)
    monkeypatch.setattr(plan, "stages_hold", hold)
    staged, _ = compressed(model, batch, names)
    assert counts[0] > 2
    # shortformer adds positions in every block, past the residual stream
    assert held == [name != "hooked:shortformer"]
    bound = 2e-6 if name in ROUNDED else 1e-10
    for component in names:
        expected, found = whole[component].kernel(), staged[component].kernel()
        assert float((found - expected).abs().max()) <= bound * float(expected.abs().max())


def test_factors_that_wait_for_other_weights_of_their_kernel_are_counted():
    weight, tap = nn.Parameter(torch.zeros(1)), Tap(nn.Identity(), "output")
    sites = {name: Site(name, "bias", weight, tap, 1) for name in "abcd"}
    stages = [Stage((sites["d"], sites["c"])), Stage((sites["b"],)), Stage((sites["a"],))]
    sizes = {"a": 1, "b": 10, "c": 100, "d": 1000}

    def most(*kernels):
        chosen = {name: [(sites[one], one) for one in name] for name in kernels}
        return plan._most_held(stages, chosen, sizes)

    assert most("a", "b", "c", "d") == 1100
    assert most("ab", "c", "d") == 1100
    assert most("bd", "c") == 1100
    assert most("bcd", "a") == 1110
    assert most("ac", "b", "d") == 1100
    assert most("abcd") == 1111


# --- what is asked ---------------------------------------------------------------------------


def test_names_globs_and_mappings_are_kernels_of_their_own():
    model, batch = build("native:layer_norm"), tokens(N)
    parts = {"both": ["blocks.0.mlp.W_in", "blocks.0.mlp.W_out"], "late": "blocks.1.*"}
    found = all_eigendirections(model, batch, parts, 3, outputs=12)
    assert list(found) == ["both", "late"]
    for name, components in parts.items():
        exact = tl_entk.top_eigendirections(model, batch, components, 3, tol=1e-7)
        torch.testing.assert_close(found[name].eigenvalues, exact.eigenvalues, rtol=1e-5, atol=1e-9)
    assert found["both"].provenance["component"] == "blocks.0.mlp.W_in, blocks.0.mlp.W_out"


def test_other_readouts_are_compressed_too():
    model, batch = build("native:layer_norm"), tokens(N)
    for readout in ("logits", tl_entk.Readout(lambda z: z[:, :3], name="three")):
        (eigen,) = all_eigendirections(
            model, batch, ["blocks.0.attn.W_O"], 3, outputs=7, readout=readout
        ).values()
        exact = tl_entk.top_eigendirections(
            model, batch, "blocks.0.attn.W_O", 3, readout=readout, tol=1e-7
        )
        torch.testing.assert_close(eigen.eigenvalues, exact.eigenvalues, rtol=1e-5, atol=1e-9)
        assert eigen.space == exact.space == "outputs"


def test_the_unembedding_is_solved_exactly():
    model, batch = build("native:layer_norm"), tokens(N)
    names = ["unembed.W_U", "blocks.0.mlp.W_out"]
    found = all_eigendirections(model, batch, names, 3, outputs=2)
    exact = tl_entk.top_eigendirections(model, batch, "unembed.W_U", 3)
    torch.testing.assert_close(found["unembed.W_U"].eigenvalues, exact.eigenvalues)
    assert list(found) == names


def test_a_compressed_result_is_where_the_exact_solver_starts():
    model, batch = build("native:layer_norm"), tokens(8)
    name = "blocks.0.mlp.W_out"
    (near,) = all_eigendirections(model, batch, [name], 4, outputs=6).values()
    exact = tl_entk.top_eigendirections(model, batch, name, 4, tol=1e-6, start=near)
    plain = tl_entk.top_eigendirections(model, batch, name, 4, tol=1e-6)
    torch.testing.assert_close(exact.eigenvalues, plain.eigenvalues, rtol=1e-5, atol=1e-9)
    assert bool(exact.converged.all())
    with pytest.raises(ValueError, match="pass directions of the same windows and readout"):
        tl_entk.top_eigendirections(model, tokens(7), name, 4, start=near)
    with pytest.raises(ValueError, match="of 'final_hidden', the kernel"):
        tl_entk.top_eigendirections(model, batch, name, 4, start=near, readout="logits")


def test_fewer_pairs_where_there_are_fewer_and_a_kernel_that_is_zero():
    model, batch = build("native:layer_norm"), tokens(N)
    names = ["blocks.0.attn.b_Q[0]", "blocks.0.mlp.W_out"]
    found = all_eigendirections(model, batch, names, 5, outputs=4)
    assert [len(eigen.eigenvalues) for eigen in found.values()] == [4, 5]
    # at the first position there is nothing to attend to: queries change nothing
    found = all_eigendirections(
        model, batch, ["blocks.0.attn.W_Q", *names[1:]], 3, outputs=4, position=0
    )
    assert bool((found["blocks.0.attn.W_Q"].eigenvalues.abs() < 1e-12).all())
    assert all(bool(eigen.residuals.isfinite().all()) for eigen in found.values())


@pytest.mark.parametrize(
    ("name", "components"),
    [
        ("hf:gemma1", ["tied_embedding"]),
        ("hf:gemma1", ["tied_embedding", "blocks.0.mlp.W_out"]),
        ("native:layer_norm", ["blocks.0.mlp.W_out", "blocks.1.*"]),
        *([("hooked:gpt2", ["blocks.1.attn.W_Q[1]", "*W_E"])] if HAS_HOOKED else []),
    ],
)
def test_outputs_are_found_by_products_with_each_examples_own_kernels(name, components):
    """Each over what random vectors say of its trace; a parameter with two roles counts whole."""
    model, batch = build(name), tokens(3)
    requests = {
        one: read_request(adapt_transformer(model), batch, one, check_readout("logits"))
        for one in components
    }
    task = next(iter(requests.values())).task
    names = {one: partition(request.names) for one, request in requests.items()}
    generator = torch.Generator().manual_seed(3)
    found = PooledKernels(task, names, None, torch.float64, 2**30).multiply_random(2, generator)
    vectors = torch.randn(2, *found.shape[:2], generator=torch.Generator().manual_seed(3))
    vectors = vectors.double()
    expected = torch.zeros_like(found)
    for component in components:
        operator = tl_entk.kernel_operator(model, batch, component, readout="logits")
        whole = operator.to_dense().reshape(3, found.shape[1], 3, found.shape[1])
        for n in range(3):
            images = whole[n, :, n] @ vectors[:, n].T
            expected[n] += images / (vectors[:, n].T * images).sum()
    bound = 2e-5 if name in ROUNDED else 1e-10
    assert float((found - expected).abs().max()) <= bound * float(expected.abs().max())


def test_random_products_without_room_for_all_at_once_are_made_in_groups(monkeypatch):
    """Each group over its own traces; no vector is dropped."""
    model, batch = build("native:layer_norm"), tokens(3)
    names = ["blocks.0.mlp.W_out"]
    task = read_request(adapt_transformer(model), batch, names, check_readout("logits")).task
    kernels = PooledKernels(task, {"it": names}, None, torch.float64, 2**30)
    together = kernels.multiply_random(5, torch.Generator().manual_seed(3))
    network = kernels._network
    monkeypatch.setattr(network, "plan", replace(network.plan, columns=2))
    apart = kernels.multiply_random(5, torch.Generator().manual_seed(3))
    assert apart.shape == together.shape == (3, together.shape[1], 5)
    # the same products, but for one factor of each example and group
    ratio = (apart / together).median(1).values
    assert torch.allclose(apart, together * ratio[:, None], rtol=1e-9)
    assert all(torch.allclose(ratio[:, i], ratio[:, j]) for i, j in ((0, 1), (2, 3)))

    def no_room(*_, **__):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(network, "_prepare_chunk", no_room)
    with pytest.raises(torch.OutOfMemoryError, match="single example"):
        kernels.multiply_random(1, torch.Generator())


def test_progress_says_what_it_will_take_where_something_is_compressed(capsys):
    model, batch = build("native:layer_norm"), tokens(N)
    all_eigendirections(model, batch, ["unembed.W_U"], 2, progress=True)
    assert "to find the outputs" not in capsys.readouterr().out
    for readout in ("final_hidden", "logits"):
        all_eigendirections(model, batch, ["*W_out"], 2, outputs=3, readout=readout, progress=True)
        assert "1 kernels: about" in capsys.readouterr().out


def test_what_cannot_be_is_refused():
    model, batch = build("native:layer_norm"), tokens(N)
    with pytest.raises(ValueError, match="no component asked for"):
        all_eigendirections(model, batch, [])
    with pytest.raises(ValueError, match=r"components has 'blocks\.0\.\*' twice: pass each once"):
        all_eigendirections(model, batch, ["blocks.0.*", "blocks.0.*"])
    with pytest.raises(ValueError, match="outputs = 0"):
        all_eigendirections(model, batch, ["blocks.0.*"], outputs=0)
    with pytest.raises(ValueError, match="no component matches"):
        all_eigendirections(model, batch, ["blocks.9.mlp.W_out"])
    with pytest.raises(
        ValueError, match=r"the factors of blocks\.0\.mlp\.W_in take .* memory_budget"
    ):
        all_eigendirections(model, tokens(400), ["blocks.0.mlp.W_in"], memory_budget=2**20)
