"""Modules of one's own go through the same kernels as TransformerLens models."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

import tl_entk
from tl_entk.model.merge_outputs import merge_outputs

N, C = 6, 5


class Tied(nn.Module):
    """relu(W^T W x + b), both uses of W seen, with a readout that mixes the outputs."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(0.5 * torch.randn(3, C))
        self.b = nn.Parameter(0.3 * torch.randn(C))
        self.encode = tl_entk.LinearMap(self.W, transposed=True)
        self.decode = tl_entk.LinearMap(self.W)
        self.shift = tl_entk.Bias(self.b)

    def forward(self, x):
        return torch.relu(self.shift(self.decode(self.encode(x))))


class Thrice(nn.Module):
    """One square weight used three times, twice the same way round, with positions mixed."""

    def __init__(self):
        super().__init__()
        self.W = nn.Parameter(0.5 * torch.randn(C, C))
        self.maps = nn.ModuleList(
            tl_entk.LinearMap(self.W, transposed=t) for t in (False, False, True)
        )

    def forward(self, x):  # (n, 2, C)
        x = torch.tanh(self.maps[0](x))
        x = torch.tanh(self.maps[1](x + x.flip(1)))
        return self.maps[2](x[:, 0] * x[:, 1])


class Deep(nn.Module):
    """nn.Linear with biases, one layer called twice."""

    def __init__(self):
        super().__init__()
        self.first, self.again = nn.Linear(C, 7), nn.Linear(7, 7)
        self.last = nn.Linear(7, C, bias=False)

    def forward(self, x):
        x = torch.tanh(self.again(torch.tanh(self.first(x))))
        return self.last(torch.relu(self.again(x)))


CASES = {"tied": (Tied, (N, C)), "thrice": (Thrice, (N, 2, C)), "deep": (Deep, (N, C))}


@pytest.fixture(params=list(CASES))
def case(request):
    torch.manual_seed(0)
    build, shape = CASES[request.param]
    return build().double(), torch.randn(shape, dtype=torch.float64)


def plain_jacobian(model, x):
    """Parameter -> (N, C, P) by torch.func, sharing no code with the kernels."""
    weights = {name: p.detach() for name, p in model.named_parameters()}
    dense = jacrev(lambda given: functional_call(model, given, (x,)))(weights)
    return {name: jacobian.flatten(2) for name, jacobian in dense.items()}


COLLAPSES = {
    "logits": lambda J: J.flatten(0, 1) @ J.flatten(0, 1).T,
    "class_trace": lambda J: torch.einsum("ncp,mcp->nm", J, J) / C,
    "mean_logit": lambda J: J.mean(1) @ J.mean(1).T,
    ("class", 2): lambda J: J[:, 2] @ J[:, 2].T,
}


@pytest.mark.parametrize("readout", list(COLLAPSES), ids=str)
def test_blocks_equal_the_plain_jacobians(case, readout):
    model, x = case
    blocks = tl_entk.kernel_blocks(model, x, readout)
    for name, J in plain_jacobian(model, x).items():
        K = COLLAPSES[readout](J)
        assert (blocks[name] - K).abs().max() < 1e-10 * K.abs().max(), name


def test_total_counts_a_shared_weight_once(case):
    model, x = case
    blocks = tl_entk.kernel_blocks(model, x, "logits")
    whole = torch.cat(list(plain_jacobian(model, x).values()), 2)
    K = COLLAPSES["logits"](whole)
    assert (blocks.total() - K).abs().max() < 1e-10 * K.abs().max()


def test_roles_leave_the_cross_terms_out():
    torch.manual_seed(0)
    model, x = Tied(), torch.randn(N, C)
    assert tl_entk.list_components(model) == ["W", "W@encode", "W@decode", "b"]
    blocks = tl_entk.kernel_blocks(model, x, "class_trace")
    gap = (blocks["W"] - blocks["W@encode"] - blocks["W@decode"]).abs().max()
    assert gap > 0.01 * blocks["W"].abs().max()


@pytest.mark.parametrize("budget", [None, 2**20])
def test_jacobian(case, budget):
    model, x = case
    J = tl_entk.jacobian(model, x, memory_budget=budget)
    plain = plain_jacobian(model, x)
    dense = torch.cat([plain[name] for name in J.columns], 2).flatten(0, 1)
    scale = dense.abs().max()
    assert J.shape == dense.shape
    assert (J.dense() - dense).abs().max() < 1e-12 * scale
    u, v = torch.randn(J.shape[1]).double(), torch.randn(N, C).double()
    assert (J.apply(u).flatten() - dense @ u).abs().max() < 1e-10
    assert (J.adjoint(v) - dense.T @ v.flatten()).abs().max() < 1e-10
    assert (J.gram() - dense.T @ dense).abs().max() < 1e-10 * scale**2
    assert (J.kernel() - dense @ dense.T).abs().max() < 1e-10 * scale**2


def test_jacobian_of_one_component_and_with_weighted_rows(case):
    model, x = case
    name = next(iter(dict(model.named_parameters())))
    factors = torch.rand(C, dtype=torch.float64)
    J = tl_entk.jacobian(model, x, name).weighted(factors)
    dense = (plain_jacobian(model, x)[name] * factors[:, None]).flatten(0, 1)
    assert (J.dense() - dense).abs().max() < 1e-12
    v = torch.randn(N, C).double()
    assert (J.adjoint(v) - dense.T @ v.flatten()).abs().max() < 1e-10


@pytest.mark.parametrize("lanczos", [False, True])
def test_eigendirections_of_the_flattened_kernel(case, lanczos, monkeypatch):
    model, x = case
    if lanczos:
        monkeypatch.setattr("tl_entk.linearization.jacobian._DENSE", 0)
    J = tl_entk.jacobian(model, x)
    eigen = J.eigendecompose(k=4)
    K = COLLAPSES["logits"](torch.cat(list(plain_jacobian(model, x).values()), 2))
    expected = torch.linalg.eigvalsh(K).flip(0)[:4]
    assert torch.allclose(eigen.eigenvalues, expected, rtol=1e-7)
    assert eigen.converged.all()
    flat = eigen.vectors.flatten(0, 1)
    assert torch.allclose(flat.T @ flat, torch.eye(4, dtype=torch.float64), atol=1e-6)
    assert (K @ flat - flat * expected).abs().max() < 1e-6 * expected[0]


def test_jacobian_of_a_transformer_with_heads():
    """The blocks of the flattened kernel of a TransformerLens model, two ways."""
    from tl_entk.experiments import ModularSettings, build_model, modular_data

    settings = ModularSettings(p=5, d_model=8, d_mlp=8, n_heads=2)
    model, tokens = build_model(settings).double(), modular_data(settings).tokens[:6]
    names = ["embed.W_E", "pos_embed.W_pos", "blocks.0.attn.W_Q", "blocks.0.attn.W_O[1]"]
    blocks = tl_entk.kernel_blocks(model, tokens, "logits", names)
    for name in names:
        dense = tl_entk.jacobian(model, tokens, name).dense()
        assert torch.allclose(dense @ dense.T, blocks[name], atol=1e-10)
    J = tl_entk.jacobian(model, tokens, names)
    assert torch.allclose(J.dense() @ J.dense().T, blocks.total(), atol=1e-10)
    operator = tl_entk.kernel_operator(model, tokens, names, readout="logits")
    v = torch.randn(J.shape[0], dtype=torch.float64)
    assert torch.allclose(J.apply(J.adjoint(v.reshape(6, -1))).flatten(), operator @ v, atol=1e-9)


def test_the_model_comes_back_as_it_was(case):
    model, x = case
    next(model.parameters()).requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    tl_entk.jacobian(model, x, "*")
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class Sneaky(nn.Module):
    """Uses its layer's weight once more, where no hook sees it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(C, C)

    def forward(self, x):
        return torch.tanh(self.layer(x)) @ self.layer.weight


class StartsAtZero(nn.Module):
    """A hidden use before an output layer that starts at zero: its gradient vanishes at first."""

    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.Linear(C, C), nn.Linear(C, C)
        nn.init.zeros_(self.last.weight)

    def forward(self, x):
        hidden = torch.tanh(self.layer(x))
        return self.last(hidden @ self.layer.weight) + hidden


class SequenceFirst(nn.Module):
    """A layer whose first axis is not the examples': its uses would be mixed up."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(C, C)

    def forward(self, x):
        y = torch.tanh(self.layer(x.transpose(0, 1)))
        return (y * torch.arange(1.0, 1 + len(y))[:, None, None]).sum(0)


class Wrong(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.layer, self.change = nn.Linear(C, C), change

    def forward(self, x):
        return self.change(self.layer(x))


@pytest.mark.parametrize(
    ("model", "x", "error", "mend"),
    [
        (Sneaky(), torch.randn(N, C), ValueError, "layer.weight is also used.*LinearMap"),
        (StartsAtZero(), torch.randn(N, C), ValueError, "layer.weight is also used.*LinearMap"),
        (SequenceFirst(), torch.randn(N, 3, C), ValueError, "first axis is not.*examples first"),
        (nn.Conv1d(1, 1, 1), torch.randn(N, 1, 1), TypeError, "TransformerLens.*LinearMap"),
        (nn.Linear(C, 2), [1.0], TypeError, "pass a tensor"),
        (nn.Linear(C, 2), torch.randn(1, C), ValueError, "two rows"),
        (nn.Linear(C, 2), torch.full((N, C), torch.nan), ValueError, "not finite"),
        (Wrong(lambda y: (y, y)), torch.randn(N, C), TypeError, "returns a tuple: wrap it"),
        (Wrong(lambda y: y[:, 0]), torch.randn(N, C), ValueError, r"returns \(n, C\)"),
        (Wrong(lambda y: y - y.mean(0)), torch.randn(N, C), ValueError, "mixes examples"),
        (nn.Linear(C, 2), torch.zeros(N, C).int(), ValueError, "cannot take these inputs"),
        (Wrong(nn.Dropout(0.5)), torch.randn(N, C), ValueError, r"model.eval\(\)"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_bad_modules_and_inputs(model, x, error, mend):
    for call in (tl_entk.kernel_blocks, tl_entk.jacobian):
        with pytest.raises(error, match=mend):
            call(model, x)


def test_the_check_moves_no_weight():
    model = Deep()
    before = {name: (p.data_ptr(), p._version, p.clone()) for name, p in model.named_parameters()}
    tl_entk.kernel_blocks(model, torch.randn(N, C))
    for name, p in model.named_parameters():
        place, version, value = before[name]
        assert (p.data_ptr(), p._version) == (place, version)
        assert torch.equal(p, value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_modules_in_half_precision(dtype):
    """Refused only for what is wrong with them, and close to the same module in float64."""
    torch.manual_seed(0)
    model, x = Deep().to(dtype), torch.randn(N, C).to(dtype)
    exact = Deep().double()
    exact.load_state_dict({name: p.double() for name, p in model.state_dict().items()})
    found = tl_entk.kernel_blocks(model, x, "class_trace").total()
    expected = tl_entk.kernel_blocks(exact, x.double(), "class_trace").total()
    assert found.dtype == torch.float32
    assert float((found - expected).norm()) < 0.05 * float(expected.norm())
    with pytest.raises(ValueError, match=r"layer\.weight is also used"):
        tl_entk.kernel_blocks(Sneaky().to(dtype), x)


def test_weights_that_no_map_holds_are_named():
    model = nn.Sequential(nn.Linear(C, C), nn.LayerNorm(C))
    with pytest.raises(ValueError, match=r"1\.weight"):
        tl_entk.kernel_blocks(model, torch.randn(N, C))
    assert "0.weight" in tl_entk.kernel_blocks(model, torch.randn(N, C), components="0.*")


@pytest.mark.usefixtures("untyped")
def test_what_only_transformers_have():
    model, x = nn.Linear(C, C), torch.randn(N, C)
    hidden = tl_entk.Readout(lambda h: h, reads="final_hidden")
    with pytest.raises(ValueError, match="only TransformerLens models have"):
        tl_entk.kernel_blocks(model, x, hidden)
    with pytest.raises(TypeError, match=r"tl_entk\.jacobian"):
        tl_entk.kernel_operator(model, x, "weight")
    with pytest.raises(TypeError, match="TransformerLens"):
        tl_entk.activations_at(model, x, "hook")
    with pytest.raises(ValueError, match="positions -1 to 0"):
        tl_entk.kernel_blocks(model, x, position=3)


@pytest.mark.usefixtures("untyped")
def test_too_large_flattened_kernels_say_what_does_without():
    model, x = nn.Linear(C, 200, bias=False), torch.randn(100, C)
    with pytest.raises(ValueError, match=r"jacobian\(model, inputs\).eigendecompose"):
        tl_entk.kernel_blocks(model, x, "logits", memory_budget=2**24)
    with pytest.raises(ValueError, match="apply, adjoint"):
        tl_entk.jacobian(model, x, memory_budget=2**25).dense()
    with pytest.raises(ValueError, match="at most 1000 nonzero"):
        tl_entk.jacobian(model, x).eigendecompose(1001)
    with pytest.raises(ValueError, match="one per output"):
        tl_entk.jacobian(model, x).weighted(torch.ones(3))
    with pytest.raises(ValueError, match="the factors of 5000 examples"):
        tl_entk.jacobian(model, torch.randn(5000, C), memory_budget=2**20)


@pytest.mark.parametrize("spoil", [False, True])
def test_outputs_are_merged_only_where_they_are_one_pattern(spoil):
    torch.manual_seed(0)
    s, V = torch.randn(8, 6), torch.randn(4, 6)
    s[:, 2] = 0
    g = [s * row for row in V]
    if spoil:
        g[3][5, 4] *= 1.001
    merged = merge_outputs(g)
    if spoil:
        assert merged is None
    else:
        expected = torch.einsum("rnd,rmd->nmd", torch.stack(g), torch.stack(g))
        assert torch.allclose(merged[:, None] * merged, expected, atol=1e-5)


@pytest.mark.usefixtures("untyped")
def test_linear_map_and_bias_want_parameters():
    with pytest.raises(TypeError, match=r"nn\.Parameter"):
        tl_entk.LinearMap(torch.ones(2, 2))
    with pytest.raises(ValueError, match="d_in, d_out"):
        tl_entk.LinearMap(nn.Parameter(torch.ones(2)))
    with pytest.raises(TypeError, match=r"nn\.Parameter"):
        tl_entk.Bias(torch.ones(2))
    with pytest.raises(ValueError, match="vector"):
        tl_entk.Bias(nn.Parameter(torch.ones(2, 2)))
