"""Bad input is refused with the mend in the message, and the model is left as it was."""

import types

import pytest
import torch

import tl_entk
from tests.models import HAS_HOOKED, V, build, tokens

GOOD = tokens()

pytestmark = pytest.mark.usefixtures("untyped")


@pytest.mark.parametrize(
    ("batch", "error", "mend"),
    [
        ([[1, 2]], TypeError, "integer tensor"),
        (GOOD.float(), ValueError, "torch.int64"),
        (GOOD.bool(), ValueError, "torch.int64"),
        (GOOD[0], ValueError, "tokens\\[None\\]"),
        (GOOD[:, :, None], ValueError, "examples, positions"),
        (GOOD[:1], ValueError, "at least two rows"),
        (GOOD[:, :0], ValueError, "cut the windows"),
        (GOOD.repeat(1, 3), ValueError, "cut the windows"),
        (GOOD + V, ValueError, "out of range"),
        (-GOOD, ValueError, "out of range"),
    ],
)
def test_tokens(model, batch, error, mend):
    with pytest.raises(error, match=mend):
        tl_entk.kernel_blocks(model, batch)


@pytest.mark.parametrize(
    ("arguments", "mend"),
    [
        ({"readout": "logit"}, "pass one of"),
        ({"readout": ("class", 99)}, "classes 0 to 6"),
        ({"readout": ("klass", 1)}, "'class', c"),
        ({"readout": ("class", 0), "class_slice": slice(2, 5)}, "classes 2 to 4"),
        ({"class_slice": slice(50, 60)}, "none of the 7 classes"),
        ({"readout": "target_logit", "targets": torch.tensor([1, 2])}, "one per example"),
        ({"readout": "target_logit", "targets": torch.tensor([1, 2, 3, 9])}, "example 3"),
        ({"readout": "target_logit", "targets": torch.ones(4)}, "integers"),
        ({"readout": "mean_logit", "targets": torch.ones(4).long()}, "leave them out"),
        ({"readout": ("class", 1), "targets": torch.ones(4).long()}, "leave them out"),
        ({"readout": tl_entk.Readout(lambda z: z.sum())}, "return \\(n,\\)"),
        ({"readout": tl_entk.Readout(lambda z: z.argmax(1).float())}, "differentiable"),
        (
            {"readout": tl_entk.Readout(lambda h: h.detach().sum(1), reads="final_hidden")},
            "differentiable",
        ),
        ({"readout": tl_entk.Readout(lambda z: z[:, 0] - z[:, 0].mean())}, "mixes examples"),
        ({"readout": tl_entk.Readout(lambda z: z.softmax(0)[:, 1])}, "mixes examples"),
        ({"readout": tl_entk.Readout(lambda z: z[:, :0])}, "R >= 1"),
        (
            {"readout": tl_entk.Readout(lambda z, y: z[:, 0], per_example=(torch.ones(3),))},
            "one row per example",
        ),
        ({"readout": lambda z: z[:, 0]}, "tl_entk.Readout"),
        ({"class_slice": (0, 3)}, "pass a slice"),
        ({"readout": "target_logit", "targets": [1, 2]}, "one per example"),
        ({"dtype": torch.int64}, "torch.float32 or torch.float64"),
        ({"memory_budget": 0}, "less than 1 MiB"),
        ({"position": None}, "pass an integer"),
        ({"position": "last"}, "pass an integer"),
        ({"position": torch.ones(4).bool()}, "pass an integer"),
        (
            {"readout": tl_entk.Readout(lambda z: z[:, 0]), "class_slice": slice(2)},
            "per_example tensors",
        ),
        ({"components": "blocks.0.attn.W_q"}, "nearest are \\['blocks.0.attn.W_Q"),
        ({"components": []}, "pass names or globs"),
        ({"components": lambda name: False}, "chose none"),
        ({"position": 5}, "positions -5 to 4"),
        ({"position": -6}, "positions -5 to 4"),
        ({"position": torch.tensor([0, 1])}, "one per example"),
        ({"position": 1.5}, "pass an integer"),
        ({"memory_budget": 1000}, "less than 1 MiB"),
    ],
)
def test_arguments(model, arguments, mend):
    before = state(model)
    with pytest.raises(ValueError, match=mend):
        tl_entk.kernel_blocks(model, GOOD, **arguments)
    assert state(model) == before


def test_other_models_are_refused():
    with pytest.raises(TypeError, match="TransformerLens"):
        tl_entk.kernel_blocks(torch.nn.Conv1d(2, 2, 1), GOOD)
    with pytest.raises(TypeError, match="TransformerLens"):
        tl_entk.list_components(torch.nn.Conv1d(2, 2, 1))


def test_a_budget_too_small_for_one_site_says_what_would_do(model):
    with pytest.raises(ValueError, match=r"pass memory_budget=\d+ or fewer examples"):
        tl_entk.kernel_blocks(model, tokens(2500), memory_budget=2**20)


def test_train_mode(model):
    model.train()
    with pytest.raises(ValueError, match=r"model.eval\(\)"):
        tl_entk.kernel_blocks(model, GOOD)


def test_inference_mode(model):
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode"):
        tl_entk.kernel_blocks(model, GOOD)


def test_no_grad_is_no_obstacle(model):
    with torch.no_grad():
        inside = tl_entk.kernel_blocks(model, GOOD, components="embed.W_E")
    outside = tl_entk.kernel_blocks(model, GOOD, components="embed.W_E")
    assert torch.equal(inside.total(), outside.total())


def test_frozen_model(model):
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="requires_grad_"):
        tl_entk.kernel_blocks(model, GOOD)
    assert len(tl_entk.kernel_blocks(model, GOOD, components="embed.W_E")) == 1
    assert not any(p.requires_grad for p in model.parameters())


def test_kernel_that_is_not_finite(model):
    with torch.no_grad():
        model.get_parameter("unembed._original_component.weight")[0, 0] = float("inf")
    with pytest.raises(RuntimeError, match=r"unembed.W_U|not finite"):
        tl_entk.kernel_blocks(model, GOOD)


def test_a_parameter_in_two_places_is_refused(model):
    first, second = (model.blocks[layer].mlp.out._original_component for layer in (0, 1))
    second.weight = first.weight
    with pytest.raises(ValueError, match=r"blocks.0.mlp.W_out and blocks.1.mlp.W_out"):
        tl_entk.kernel_blocks(model, GOOD)


def test_padding_row_of_an_embedding():
    model = build("hf:gemma3")
    batch = GOOD.clone()
    batch[0, 0] = 0
    with pytest.raises(ValueError, match="padding_idx"):
        tl_entk.kernel_blocks(model, batch)
    tl_entk.kernel_blocks(model, batch, components="blocks.*")


@pytest.mark.parametrize(
    ("pad", "eos", "row", "refused"),
    [
        (3, 9, [1, 2, 3, 4, 5], True),  # a pad token of its own, anywhere
        (9, 9, [9, 2, 3, 4, 5], False),  # also the end of text: once is a token
        (9, 9, [9, 9, 3, 4, 5], True),  # twice in front is padding
        (9, 9, [1, 2, 3, 9, 9], True),
        (None, 9, [9, 9, 9, 9, 9], False),
    ],
)
def test_padding(model, pad, eos, row, refused):
    object.__setattr__(
        model,
        "tokenizer",
        types.SimpleNamespace(pad_token_id=pad, eos_token_id=eos, bos_token_id=eos),
    )
    batch = torch.tensor([row, [1, 2, 4, 5, 6]])
    if refused:
        with pytest.raises(ValueError, match="padded"):
            tl_entk.kernel_blocks(model, batch)
    else:
        tl_entk.kernel_blocks(model, batch)


def test_a_hook_that_never_fires(model, monkeypatch):
    # an MLP that goes around its own input projection
    monkeypatch.setattr(type(model.blocks[0].mlp), "forward", lambda self, x, *a, **k: x)
    with pytest.raises(RuntimeError, match=r"blocks.0.mlp.W_in never fired"):
        tl_entk.kernel_blocks(model, GOOD)


def test_an_output_changed_in_place_is_refused(model):
    later = model.blocks[0].mlp.out.hook_out
    handle = later.register_forward_hook(lambda module, args, output: output.mul_(2.0))
    with pytest.raises(RuntimeError, match="in place"):
        tl_entk.kernel_blocks(model, GOOD)
    handle.remove()


def test_an_embedding_that_is_no_look_up_is_refused(model, monkeypatch):
    embed = model.embed._original_component
    look_up = embed.forward
    monkeypatch.setattr(embed, "forward", lambda ids: look_up(ids).tanh())
    with pytest.raises(RuntimeError, match="no multiple"):
        tl_entk.kernel_blocks(model, GOOD)


def test_parameters_that_are_no_site_are_named(model):
    model.original_model.extra = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="extra"):
        tl_entk.kernel_blocks(model, GOOD)
    assert len(tl_entk.kernel_blocks(model, GOOD, components="blocks.*")) > 0


@pytest.mark.filterwarnings("ignore:the weights look processed")
def test_processed_bridge_that_goes_around_its_weights_says_what_to_do():
    model = build("hf:llama", torch.float32)
    model.enable_compatibility_mode(disable_warnings=True)
    with pytest.raises(RuntimeError, match="no_processing=True"):
        tl_entk.kernel_blocks(model, GOOD)
    unprocessed = build("hf:llama", torch.float32)
    unprocessed.enable_compatibility_mode(disable_warnings=True, no_processing=True)
    plain = tl_entk.kernel_blocks(build("hf:llama", torch.float32), GOOD)
    torch.testing.assert_close(tl_entk.kernel_blocks(unprocessed, GOOD).total(), plain.total())


def test_processed_bridge_warns():
    model = build("hf:gpt2", torch.float32)
    model.enable_compatibility_mode(disable_warnings=True)
    with pytest.warns(UserWarning, match="without compatibility mode"):
        tl_entk.kernel_blocks(model, GOOD, components="*.W_in")


@pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has no HookedTransformer")
class TestHooked:
    def test_folded_weights_warn(self):
        with pytest.warns(UserWarning, match="folded"):
            tl_entk.kernel_blocks(build("hooked:folded"), GOOD)

    def test_centered_weights_warn(self):
        model = build("hooked:gpt2")
        with torch.no_grad():
            model.embed.W_E -= model.embed.W_E.mean(-1, keepdim=True)
        with pytest.warns(UserWarning, match="centered"):
            tl_entk.kernel_blocks(model, GOOD)

    @pytest.mark.parametrize(
        ("switch", "mend"),
        [
            ("use_attn_in", "set_use_attn_in"),
            ("use_split_qkv_input", "set_use_split_qkv_input"),
        ],
    )
    def test_switches_that_split_inputs(self, switch, mend):
        model = build("hooked:plain")
        setattr(model.cfg, switch, True)
        with pytest.raises(ValueError, match=mend):
            tl_entk.kernel_blocks(model, GOOD)

    def test_attn_result_is_no_obstacle(self):
        model = build("hooked:plain")
        plain = tl_entk.kernel_blocks(model, GOOD)
        model.set_use_attn_result(True)
        split = tl_entk.kernel_blocks(model, GOOD)
        torch.testing.assert_close(split.total(), plain.total())


def state(model):
    """Everything of a model that an analysis must not change."""
    with torch.no_grad():
        model(GOOD)  # a bridge puts hooks of its own in at its first forward pass
    hooks = {
        name: (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
        for name, m in torch.nn.Module.named_modules(model)
    }
    parameters = {
        name: (p.requires_grad, p.grad is None, p.data_ptr(), p._version, p.detach().sum().item())
        for name, p in model.named_parameters()
    }
    modes = {name: m.training for name, m in torch.nn.Module.named_modules(model)}
    return hooks, parameters, modes, str(torch.is_grad_enabled())


RESTORED = ["native:layer_norm", "hf:gemma3", *(["hooked:gpt2"] if HAS_HOOKED else [])]


@pytest.mark.parametrize("name", RESTORED)
def test_the_model_comes_back_as_it_was(name):
    model = build(name)
    next(model.parameters()).requires_grad_(False)
    before = state(model)
    logits = model(GOOD)
    tl_entk.kernel_blocks(model, GOOD, "class_trace", lambda n: True)
    assert state(model) == before
    assert torch.equal(model(GOOD), logits)


@pytest.mark.parametrize("name", RESTORED)
def test_the_model_comes_back_as_it_was_after_an_error(name):
    model = build(name)
    before = state(model)

    def fails(logits):
        if logits.shape[0] > 1:
            raise ArithmeticError("halfway")
        return logits[:, 0]

    with pytest.raises(ArithmeticError):
        tl_entk.kernel_blocks(model, GOOD, tl_entk.Readout(fails))
    assert state(model) == before
