"""Reading windows again while blocks are changed: as by whole passes, without the blocks before."""

import pytest
import torch

import tl_entk
from tests.models import HAS_HOOKED, build, tokens
from tl_entk.model.adapters import adapt_transformer
from tl_entk.model.last_logits import last_logits
from tl_entk.model.readouts import LOGITS_READOUT
from tl_entk.model.stages import first_layer
from tl_entk.model.task import Task
from tl_entk.operator.rerun import prepare_rerun
from tl_entk.weight_space.layout import weight_of

N = 5
MODELS = ["native:layer_norm", "hf:gpt2", "hf:gemma3", "hf:pythia"]
MODELS += ["hooked:gpt2", "hooked:gemma3"] if HAS_HOOKED else []

pytestmark = pytest.mark.filterwarnings("ignore:the weights look processed")


def rerun_of(model, layer):
    adapter = adapt_transformer(model)
    batch = tokens(N)
    length = batch.shape[1]
    task = Task(adapter, batch, torch.full((N,), length - 1), LOGITS_READOUT, length)
    return prepare_rerun(task, layer, batch=2)


def read(rerun):
    return torch.cat([found for _, found in rerun.outputs()])


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return build(request.param)


def test_every_weight_is_moved_as_in_a_whole_pass(model):
    adapter = adapt_transformer(model)
    names = [name for name in tl_entk.list_components(model) if "[" not in name]
    reruns = {layer: rerun_of(model, layer) for layer in range(adapter.n_layers)}
    before = {layer: read(rerun) for layer, rerun in reruns.items()}
    for name in names:
        if adapter.tied and name in ("tied_embedding", "embed.W_E", "unembed.W_U"):
            continue
        weight = weight_of(adapter, name)
        generator = torch.Generator().manual_seed(0)
        direction = {name: torch.randn(weight.shape, generator=generator).to(weight)}
        layer = first_layer([name], adapter.n_layers)
        with tl_entk.nudge(model, direction, 0.05):
            found, expected = read(reruns[layer]), last_logits(model, tokens(N))
        assert torch.allclose(found, expected, atol=1e-6), name
        if not name.endswith("b_K"):
            assert float((found - before[layer]).abs().max()) > 1e-4, name


def test_blocks_before_are_run_once(model):
    last = adapt_transformer(model).n_layers - 1
    rerun = rerun_of(model, last)
    assert rerun.suffix.prefix is not None
    calls = []
    first, own = (model.get_submodule(f"blocks.{layer}") for layer in (0, last))
    handles = [
        module.mlp.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, module in (("first", first), ("last", own))
    ]
    try:
        read(rerun)
    finally:
        for handle in handles:
            handle.remove()
    assert calls == ["last"] * 3


def test_what_cannot_be_replayed_is_run_whole(monkeypatch):
    model = build("native:layer_norm")
    from tl_entk.operator import shortcuts

    def refuse(*_):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(shortcuts, "find_prefix", refuse)
    rerun = rerun_of(model, 1)
    assert rerun.suffix.prefix is None
    assert torch.allclose(read(rerun), last_logits(model, tokens(N)))
